"""Edits and what they make stale: too little keeps results of other code, too much trains the same again."""

from __future__ import annotations

import hashlib
import importlib
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from mola.experiment import fingerprint as fp
from mola.types import BadInput

START = ["mola.experiment.run", "mola.benchmarks.digits", "mola.methods.mola_grad", "mola.balancers.sum"]

# A package in small, with one module for every way that code reaches a run.
SYNTHETIC = {
    "mola/__init__.py": '''"""Layers."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mola.layers.adapt import adapt

__version__ = "1"
__all__ = ["adapt"]
HOMES = {"adapt": "mola.layers.adapt"}


def __getattr__(name):
    return getattr(import_module(HOMES[name]), name)
''',
    "mola/types.py": "class Task: ...\n",
    "mola/config.py": "from mola.registry import load\nEPOCHS = 1\n",
    "mola/registry.py": "import mola.unused\n",
    "mola/unused.py": "",
    "mola/hinted.py": "class Hint: ...\n",
    "mola/cli/__init__.py": "",
    "mola/cli/train.py": "",
    "mola/layers/__init__.py": "",
    "mola/layers/adapt.py": "from mola.layers import gates\ndef adapt(): return gates\n",
    "mola/layers/gates.py": "import logging\nlog = logging.getLogger(__name__)\n",
    "mola/layers/weighted.py": "",
    "mola/tuning/__init__.py": "",
    "mola/tuning/budget.py": "from mola.tuning import store\n",
    "mola/tuning/store.py": "",
    "mola/experiment/__init__.py": "",
    "mola/experiment/fingerprint.py": "",
    "mola/experiment/run.py": """import json
from typing import TYPE_CHECKING

from mola import config
from mola.experiment import fingerprint
from mola.training import fit
from mola.types import Task

if TYPE_CHECKING:
    from mola.hinted import Hint


def run(task):
    from mola.training.checkpoint import save

    return save(fit.fit(task))
""",
    "mola/training/__init__.py": "",
    "mola/training/fit.py": '''"""The loop."""

import logging
import math

log = logging.getLogger(__name__)


def fit(task):
    "Fit."; return 1.0


def steps(size):
    if size > 1:
        log.info("fitting %d", size)
    return size // 2 + math.ceil(size)


class Training:
    lr: float = Field(1e-4, description="learning rate")
''',
    "mola/training/checkpoint.py": "",
    "mola/training/probes.py": "",
    "mola/methods/__init__.py": "ALL = 1\n",
    "mola/methods/base.py": "SCALE = 1\n",
    "mola/methods/deep/__init__.py": "from ..base import SCALE\n",
    "mola/methods/deep/up.py": "from .. import sideways\nfrom . import down\n",
    "mola/methods/deep/down.py": "",
    "mola/methods/sideways.py": "",
    "mola/methods/relative.py": "from .base import SCALE\nfrom .deep.up import sideways\n",
    "mola/methods/dynamic.py": """import importlib
from importlib import import_module
a = import_module("mola.dynamic_a")
b = importlib.import_module(".dynamic_b", "mola")
c = importlib.import_module(".dynamic_c", package=__package__)
d = __import__("mola.dynamic_d")
""",
    "mola/methods/dynamic_names.py": """from importlib import import_module as fetch
from mola import registry
NAME = "mola.dynamic_a"
a = fetch(NAME)
b = fetch("mola.dynamic_b")
c = registry.load("methods", "dynamic_c")
""",
    "mola/methods/dynamic_c.py": "",
    "mola/dynamic_a.py": "",
    "mola/dynamic_b.py": "",
    "mola/dynamic_d.py": "",
    "mola/methods/outside.py": "import own_helper\nfrom own_package.sub import f\nimport own_space.inside\n",
    "mola/methods/root.py": "import mola\nmola.adapt()\n",
    "own_helper.py": "import own_beside\n",
    "own_beside.py": "",
    "own_package/__init__.py": "",
    "own_package/sub.py": "def f(): ...\n",
    "own_package/other.py": "",
    "own_space/inside.py": "",
}
RUN = ["mola.experiment.run"]
METHODS = "mola.methods."


def append(text: str):
    return lambda source: source + text


def replace(before: str, after: str):
    def edit(source: str) -> str:
        assert before in source
        return source.replace(before, after)

    return edit


NEW = append("\nNEW = 1\n")
CODE = append("\nimport torch\ntorch.set_default_dtype(torch.float64)\n")
FUNCTION = append("\ndef _setup():\n    import torch\n    torch.set_default_dtype(torch.float64)\n\n\n_setup()\n")

# (what starts the run, edited file, edit, whether the run is stale after it)
EDITS = {
    # noticed
    "the trainer": (RUN, "mola/training/fit.py", NEW, True),
    "what a function imports": (RUN, "mola/training/checkpoint.py", NEW, True),
    "an absolute import": (RUN, "mola/types.py", NEW, True),
    "a package on the way": ([METHODS + "base"], "mola/methods/__init__.py", NEW, True),
    "another package on the way": (RUN, "mola/experiment/__init__.py", NEW, True),
    "a parent by a relative import": ([METHODS + "relative"], "mola/methods/base.py", NEW, True),
    "a module by two dots": ([METHODS + "deep.up"], "mola/methods/sideways.py", NEW, True),
    "a module by one dot": ([METHODS + "deep.up"], "mola/methods/deep/down.py", NEW, True),
    "an attribute by two dots": ([METHODS + "deep"], "mola/methods/base.py", NEW, True),
    "parents of parents": ([METHODS + "relative"], "mola/methods/deep/down.py", NEW, True),
    "import_module": ([METHODS + "dynamic"], "mola/dynamic_a.py", NEW, True),
    "import_module from a package": ([METHODS + "dynamic"], "mola/dynamic_b.py", NEW, True),
    "import_module beside": ([METHODS + "dynamic"], "mola/methods/dynamic_c.py", NEW, True),
    "__import__": ([METHODS + "dynamic"], "mola/dynamic_d.py", NEW, True),
    "import_module of a constant": ([METHODS + "dynamic_names"], "mola/dynamic_a.py", NEW, True),
    "import_module by another name": ([METHODS + "dynamic_names"], "mola/dynamic_b.py", NEW, True),
    "a method by its registered name": ([METHODS + "dynamic_names"], "mola/methods/dynamic_c.py", NEW, True),
    "a helper outside the package": ([METHODS + "outside"], "own_helper.py", NEW, True),
    "a helper of the helper": ([METHODS + "outside"], "own_beside.py", NEW, True),
    "a package outside": ([METHODS + "outside"], "own_package/sub.py", NEW, True),
    "the start of a package outside": ([METHODS + "outside"], "own_package/__init__.py", NEW, True),
    "a namespace package outside": ([METHODS + "outside"], "own_space/inside.py", NEW, True),
    "the root runs code": (RUN, "mola/__init__.py", CODE, True),
    "the root calls its function": (RUN, "mola/__init__.py", FUNCTION, True),
    "the root imports a module": (RUN, "mola/__init__.py", append("\nimport mola.unused\n"), True),
    "what the root offers": ([METHODS + "root"], "mola/layers/gates.py", NEW, True),
    "planning that computes": (["mola.tuning.budget"], "mola/tuning/budget.py", NEW, True),
    "code on a docstring's line": (RUN, "mola/training/fit.py", replace("return 1.0", "return 2.0"), True),
    "a constant": (RUN, "mola/training/fit.py", replace("// 2", "// 3"), True),
    "a default": (RUN, "mola/training/fit.py", replace("1e-4", "1e-3"), True),
    "a field": (RUN, "mola/training/fit.py", append("    epochs: int\n"), True),
    # not noticed
    "a comment": (RUN, "mola/training/fit.py", replace("def fit", "# why\ndef fit"), False),
    "a docstring": (RUN, "mola/training/fit.py", replace("The loop.", "Loops."), False),
    "a docstring with code on its line": (RUN, "mola/training/fit.py", replace('"Fit."', '"Fits."'), False),
    "parentheses": (RUN, "mola/training/fit.py", replace("return 1.0", "return (1.0)"), False),
    "a wrapped line": (
        RUN,
        "mola/training/fit.py",
        replace("math.ceil(size)", "math.ceil(\n        size,\n    )"),
        False,
    ),
    "quotes": (RUN, "mola/training/fit.py", replace('"learning rate"', "'learning rate'"), False),
    "newlines at the end": (RUN, "mola/training/fit.py", append("\n\n"), False),
    "order of imports": (
        RUN,
        "mola/training/fit.py",
        replace("import logging\nimport math", "import math\nimport logging"),
        False,
    ),
    "a log text": (RUN, "mola/training/fit.py", replace("fitting %d", "%d samples"), False),
    "annotations": (
        RUN,
        "mola/training/fit.py",
        replace("def steps(size):", "def steps(size: int) -> int:"),
        False,
    ),
    "an import for annotations": (
        RUN,
        "mola/training/fit.py",
        replace("import math", "import math\nfrom torch import Tensor as T\nfrom mola.types import Task"),
        False,
    ),
    "a type in a field": (RUN, "mola/training/fit.py", replace("lr: float", "lr: float | None"), False),
    "a description": (RUN, "mola/training/fit.py", replace("learning rate", "step"), False),
    "an import for types": (RUN, "mola/hinted.py", NEW, False),
    "the configuration": (RUN, "mola/config.py", NEW, False),
    "what the configuration imports": (RUN, "mola/unused.py", NEW, False),
    "the fingerprint": (RUN, "mola/experiment/fingerprint.py", NEW, False),
    "the command line": (RUN, "mola/cli/train.py", NEW, False),
    "probes that are off": (RUN, "mola/training/probes.py", NEW, False),
    "layers that a method leaves alone": ([*RUN, METHODS + "base"], "mola/layers/adapt.py", NEW, False),
    "another layer": ([METHODS + "root"], "mola/layers/weighted.py", NEW, False),
    "another method": ([METHODS + "base"], "mola/methods/relative.py", NEW, False),
    "planning of tuning": (["mola.tuning.budget"], "mola/tuning/store.py", NEW, False),
    "another module of an outer package": ([METHODS + "outside"], "own_package/other.py", NEW, False),
    "the root offers a name": (
        RUN,
        "mola/__init__.py",
        lambda source: (
            source.replace('["adapt"]', '["adapt", "merge"]')
            .replace('{"adapt"', '{"merge": "mola.layers.adapt", "adapt"')
            .replace("import adapt\n", "import adapt, merge\n")
        ),
        False,
    ),
    "the root's version": (RUN, "mola/__init__.py", replace('"1"', '"2"'), False),
    "a function of the root": (RUN, "mola/__init__.py", append("\ndef __dir__():\n    return __all__\n"), False),
}

# The same for the package itself: (edited file, whether a run of MoLA-Grad is stale after it)
REAL = {
    "training/fit.py": True,
    "training/evaluate.py": True,
    "methods/mola_grad.py": True,
    "methods/__init__.py": True,
    "layers/plans/dispatch.py": True,
    "layers/gates.py": True,
    "benchmarks/digits.py": True,
    "balancers/sum.py": True,
    "losses.py": True,
    "types.py": True,
    "experiment/run.py": True,
    "config.py": False,
    "registry.py": False,
    "terminal.py": False,
    "files.py": False,
    "experiment/fingerprint.py": False,
    "experiment/status.py": False,
    "methods/mola_router.py": False,
    "balancers/pcgrad.py": False,
    "benchmarks/medmnist.py": False,
    "tuning/study.py": False,
    "__init__.py": False,
}


@pytest.fixture
def fresh():
    fp.forget()
    yield
    fp.forget()


@pytest.fixture
def tree(tmp_path, monkeypatch, fresh) -> Path:
    """A folder with the package in small, and modules of other people beside it."""
    for name, source in SYNTHETIC.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    monkeypatch.setattr(fp, "ROOT", tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def code(modules: list[str]) -> str:
    fp.forget()
    return fp.fingerprint({}, modules, "")["code"]


@pytest.mark.parametrize(("modules", "file", "edit", "stale"), EDITS.values(), ids=EDITS)
def test_edits(tree, modules, file, edit, stale):
    before, path = code(modules), tree / file
    source = path.read_text()
    path.write_text(edit(source))
    assert path.read_text() != source
    assert (code(modules) != before) == stale


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("copy")
    shutil.copytree(fp.ROOT / "mola", root / "mola", ignore=shutil.ignore_patterns("__pycache__"))
    return root


@pytest.mark.parametrize(("file", "stale"), REAL.items())
def test_edits_of_the_package(package, monkeypatch, fresh, file, stale):
    monkeypatch.setattr(fp, "ROOT", package)
    before, path = code(START), package / "mola" / file
    source = path.read_text()
    path.write_text(f"{source}\nNEW = 1\n")
    after = code(START)
    path.write_text(source)
    assert (after != before) == stale
    assert code(START) == before


def test_the_closure_of_a_run_names_files_and_neither_tables_nor_commands(fresh):
    files = fp.closure(START)
    assert {"mola", "mola.methods", "mola.training.fit", "mola.losses"} <= set(files)
    assert not any(name.startswith(("mola.reporting", "mola.cli", "mola.bench.")) for name in files)
    assert all(path.is_file() for path in files.values())
    assert list(files) == sorted(files)


def test_what_is_installed_or_belongs_to_python_is_left_out(tree, monkeypatch):
    installed = tree / "lib" / "site-packages"
    (installed / "bought").mkdir(parents=True)
    (installed / "bought" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(installed))
    (tree / "own_helper.py").write_text("import bought, json, sys, torch.nn, nowhere.at_all")
    assert Path(sysconfig.get_path("stdlib"), "json").is_dir()
    assert set(fp.closure(["own_helper"])) == {"own_helper"}


def test_modules_are_looked_for_on_the_path_as_it_is_now(tree, tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("methods")
    (folder / "mine.py").write_text("import my_helper")
    (folder / "my_helper.py").write_text("")
    with monkeypatch.context() as path:
        path.syspath_prepend(str(folder))
        assert set(fp.closure(["mine"])) == {"mine", "my_helper"}
    assert fp.closure(["mine"]) == {}, "nothing can import it"


def test_circles_end(tree):
    (tree / "own_helper.py").write_text("import own_beside")
    (tree / "own_beside.py").write_text("import own_helper")
    assert set(fp.closure(["own_helper"])) == {"own_helper", "own_beside"}


@pytest.mark.parametrize("content", [b"def (", b"a = '\0'", b"\xff\xfe", b"# coding: nonsense\n", b"(" * 5000])
def test_a_source_that_is_no_python_counts_as_it_is(tree, content):
    (tree / "own_beside.py").write_bytes(content)
    before = code(["own_helper"])
    (tree / "own_beside.py").write_bytes(content + b"x")
    assert code(["own_helper"]) != before


def test_settings_and_manifest_count_and_order_does_not():
    one = fp.fingerprint({"a": 1, "b": 2}, [], "m")
    assert set(one) == {"code", "settings", "manifest", "all"}
    assert one == fp.fingerprint({"b": 2, "a": 1}, [], "m")
    assert one["all"] != fp.fingerprint({"a": 2, "b": 2}, [], "m")["all"]
    assert one["all"] != fp.fingerprint({"a": 1, "b": 2}, [], "n")["all"]


def test_the_content_of_files_counts_and_their_place_does_not(tmp_path, fresh):
    weights = tmp_path / "w.pth"
    weights.write_bytes(b"1" * 3_000_000)
    moved = weights.with_name("other.pth")
    moved.write_bytes(weights.read_bytes())
    before = fp.fingerprint({}, [], "", {"backbone.weights": weights})
    assert before == fp.fingerprint({}, [], "", {"backbone.weights": moved})
    assert before["all"] != fp.fingerprint({}, [], "")["all"]
    weights.write_bytes(b"1" * 2_999_999 + b"2")
    fp.forget()
    after = fp.fingerprint({}, [], "", {"backbone.weights": weights})
    assert {key for key in before if before[key] != after[key]} == {"files", "all"}


def test_a_missing_file_is_one_line(tmp_path, fresh):
    with pytest.raises(BadInput, match=r"^backbone.weights: expected a file .*w\.pth"):
        fp.fingerprint({}, [], "", {"backbone.weights": tmp_path / "w.pth"})
    with pytest.raises(BadInput, match=r"^backbone.weights: expected a file, found /dev/zero"):
        fp.fingerprint({}, [], "", {"backbone.weights": Path("/dev/zero")})


def test_an_edit_between_planning_and_import_is_refused(tree):
    path = tree / "mola/training/fit.py"
    before = path.read_text()
    for edit, refused in [("The loop.", False), ("// 2", True)]:
        path.write_text(before)
        fp.forget()
        fp.fingerprint({}, RUN, "")
        path.write_text(before.replace(edit, "3"))
        if refused:
            with pytest.raises(BadInput, match=r"^\S*training/fit\.py: [^\n]*$"):
                fp.check_unchanged(RUN)
        else:
            fp.check_unchanged(RUN)
    path.unlink()
    with pytest.raises(BadInput, match=r"fit\.py"):
        fp.check_unchanged(RUN)


def test_all_that_a_run_executes_is_imported_at_the_check():
    code = (
        "import sys; from mola.experiment import fingerprint as fp\n"
        "run = ['mola.experiment.run', 'mola.benchmarks.digits', 'mola.methods.mola_grad', 'mola.balancers.sum']\n"
        "assert 'torch' not in sys.modules\n"
        "fp.check_unchanged(run)\n"
        "assert set(fp.closure(run)) <= set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=fp.ROOT)


def test_an_edit_after_the_import_is_the_next_process_s_business(tree, monkeypatch):
    before = fp.fingerprint({}, ["own_package.other"], "")
    for name in ("own_package", "own_package.other"):
        monkeypatch.setitem(sys.modules, name, importlib.import_module(name))
    fp.check_unchanged(["own_package.other"])
    (tree / "own_package/other.py").write_text("NEW = 1")
    fp.check_unchanged(["own_package.other"])
    assert fp.fingerprint({}, ["own_package.other"], "") == before


def test_weights_that_change_after_planning_are_refused(tmp_path, fresh):
    weights = tmp_path / "w.pth"
    weights.write_bytes(b"1")
    files = {"backbone.weights": weights}
    fp.fingerprint({}, [], "", files)
    fp.check_unchanged([], files)
    weights.write_bytes(b"2")
    with pytest.raises(BadInput, match=r"^backbone.weights: .*w\.pth"):
        fp.check_unchanged([], files)


def test_a_hash_is_of_the_text_that_is_written_down(fresh):
    assert fp.fingerprint({}, [], "")["settings"] == hashlib.sha256(b"{}").hexdigest()
