"""Methods, balancers and benchmarks beside a suite are found, described and read as the package's own are."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import user_folder

from mola import config, faults, plugins, registry
from mola.types import BadInput


@pytest.fixture
def folder(tmp_path):
    """A user's folder that this process looks in, and leaves again."""
    registry.look_in(user_folder.fill(tmp_path / "mine"))
    yield tmp_path / "mine"
    registry.look_in(None)


def test_names_and_descriptions_have_what_lies_beside(folder):
    assert "task_bias" in registry.names("methods") and "shared" in registry.names("methods")
    assert "_helper" not in registry.names("methods")
    assert registry.plugin("methods", "task_bias").origin == "methods/task_bias.py"
    assert registry.plugin("methods", "shared") is None
    assert registry.describe("methods", "task_bias") == ("Hard sharing with a learnt bias per task.", "a test.")
    assert registry.module("balancers", "twice") == "balancers.twice"
    registry.look_in(None)
    assert "task_bias" not in registry.names("methods")


def test_options_are_inherited_and_shared_options_reach_them(folder, data_root):
    suite = config.load(user_folder.suite(folder, data_root))
    options = suite.settings("digits", "task_bias").method_options
    assert options["scale"] == 2.0 and options["rank"] == 2 and options["alpha"] == 16.0
    with pytest.raises(BadInput, match=r"methods\.task_bias\.scael: unknown option of task_bias, did you mean 'scale'"):
        config.load(user_folder.suite(folder, data_root, methods={"task_bias": {"scael": 1}}))


def test_planning_imports_neither_torch_nor_the_file(folder, data_root):
    other = "from methods.task_bias import TaskBias\n\n\nclass Other(TaskBias):\n    pass\n"
    user_folder.fill(folder, methods__other=other)
    path = user_folder.suite(folder, data_root, methods={"shared": None, "other": {"scale": 3.0, "alpha": 2.0}})
    code = (
        "import sys, pathlib; from mola.config import load; from mola.experiment.spec import experiments\n"
        "every = experiments(load(pathlib.Path(sys.argv[1])))\n"
        "assert all(e.fingerprint['all'] for e in every)\n"
        "assert 'torch' not in sys.modules and 'methods.task_bias' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_name_of_the_package_is_refused_where_it_is_used(folder, data_root):
    (folder / "methods/shared.py").write_text("class Shared: pass\n")
    config.load(user_folder.suite(folder, data_root, methods={"task_bias": None}))
    message = "method 'shared': expected one of this name, found built in and methods/shared.py; rename one"
    with pytest.raises(BadInput, match=message):
        config.load(user_folder.suite(folder, data_root, methods={"shared": None}))


def test_a_name_that_python_cannot_import_is_refused(folder):
    (folder / "methods/my-method.py").write_text("class MyMethod: pass\n")
    with pytest.raises(BadInput, match=r"methods/my-method.py: expected a name of letters, digits and _"):
        registry.options_of("methods", "my-method")


def test_a_package_of_the_same_name_that_hides_the_folder_is_named(folder, tmp_path, monkeypatch):
    other = tmp_path / "other/methods"
    other.mkdir(parents=True)
    (other / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(other.parent))
    registry.look_in(None)
    registry.look_in(folder)
    with pytest.raises(
        BadInput, match=r"methods/task_bias.py: expected to be imported as methods.task_bias, found none"
    ):
        registry.load("methods", "task_bias")


def test_another_suite_has_other_files_of_the_same_names(folder, tmp_path):
    first = registry.load("methods", "task_bias")
    other = user_folder.BIAS.replace("scale: PositiveFloat = Field(1.0", "scale: PositiveFloat = Field(3.0")
    registry.look_in(user_folder.fill(tmp_path / "other", methods__task_bias=other))
    second = registry.load("methods", "task_bias")
    assert (first.Options().scale, second.Options().scale) == (1.0, 3.0)
    assert registry.options_of("methods", "task_bias")().scale == 3.0


def test_the_folder_hides_nothing_that_is_installed(folder):
    (folder / "pydantic.py").write_text("raise ImportError('hidden')\n")
    assert sys.path[-1] == str(folder)
    assert plugins.module_file("pydantic") != folder / "pydantic.py"
    assert registry.load("methods", "task_bias").__name__ == "TaskBias"


PACKAGED = """[mola.methods]
packaged = their_package.methods:Given
[mola.balancers]
twice_packaged = their_package.balancers:Twice
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package with entry points, as pip installs it."""
    site = tmp_path / "site-packages"
    (site / "their_package").mkdir(parents=True)
    (site / "their_package/__init__.py").touch()
    (site / "their_package/helper.py").write_text(user_folder.HELPER)
    text = user_folder.BIAS.replace("methods._helper", "their_package.helper").replace("TaskBias", "Given")
    (site / "their_package/methods.py").write_text(text)
    (site / "their_package/balancers.py").write_text(user_folder.BALANCER)
    info = site / "their_package-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-package\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(PACKAGED)
    monkeypatch.syspath_prepend(str(site))
    plugins._installed.cache_clear()
    yield site
    plugins._installed.cache_clear()
    for name in [name for name in sys.modules if name.startswith("their_package")]:
        del sys.modules[name]


def test_installed_packages_offer_plugins_by_entry_points(package, digits):
    from mola.conformance.examples import small_backbone
    from mola.experiment.fingerprint import closure

    assert registry.plugin("methods", "packaged").origin == "their-package 1.2"
    assert registry.option_names("methods", "packaged")[-1] == "scale"
    assert "their_package.methods" not in sys.modules, "options are read from the source"
    method = registry.create("methods", "packaged", digits.tasks, small_backbone(), options={"rank": 2})
    assert type(method).__name__ == "Given" and method.bias.shape[0] == 4
    files = closure([registry.module("methods", "packaged")])
    assert {"their_package", "their_package.methods", "their_package.helper"} <= set(files)
    assert registry.load("balancers", "twice_packaged").__name__ == "Twice"


def test_a_package_may_not_take_a_name_of_this_one(package):
    (package / "their_package-1.2.dist-info/entry_points.txt").write_text(PACKAGED.replace("packaged =", "shared ="))
    plugins._installed.cache_clear()
    with pytest.raises(BadInput, match="method 'shared': expected one of this name, found built in and their-package"):
        registry.load("methods", "shared")
    assert registry.load("methods", "mola_grad")


def test_errors_of_others_are_no_plugins(folder, monkeypatch):
    """Not even where the suite's folder is the working folder, or holds the environment."""
    monkeypatch.chdir(folder)
    script = folder / "bin/mola"
    script.parent.mkdir()
    script.write_text("import json\njson.loads('{')\n")

    def line(code, name):
        try:
            exec(compile(code, name, "exec"), {})
        except ValueError as error:
            return faults.line_of(error)

    assert line(script.read_text(), str(script)) is None
    assert line(script.read_text(), "<frozen runpy>") is None
    registry.look_in(Path(json.__file__).parent.parent)
    assert line("import json\njson.loads('{')\n", "<string>") is None
    registry.look_in(folder)
    ours = folder / "methods/task_bias.py"
    assert line("import json\njson.loads('{')\n", str(ours)).startswith("methods/task_bias.py:2: JSONDecodeError")
    assert "torch" in sys.modules, "to leave a folder forgets its modules alone; torch.ops lies in a file '_ops.py'"
