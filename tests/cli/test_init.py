"""`mola init` lays out a project that plans as it stands, and overwrites nothing."""

import pytest
import yaml

from mola.cli.init import init
from mola.config import load
from mola.experiment.spec import experiments
from mola.shipped import SUITES
from mola.types import BadInput

SHIPPED = sorted(path.stem for path in SUITES.glob("*.yaml"))


@pytest.mark.parametrize("suite", [None, *SHIPPED])
def test_every_suite_of_the_package_begins_a_project(tmp_path, monkeypatch, suite):
    monkeypatch.chdir(tmp_path)
    init(tmp_path / "shop", suite)
    monkeypatch.chdir(tmp_path / "shop")
    planned = load(tmp_path / "shop/config/config.yaml")
    assert experiments(planned) and planned.suite == ("shop" if suite is None else planned.suite)
    assert planned.paper_numbers is None or planned.paper_numbers.is_file()
    project = yaml.safe_load((tmp_path / "shop/dvc.yaml").read_text())
    assert [*project["stages"]["results"]["outs"][0]] == [str(planned.folder)]
    # parts of the user's own are looked for in the project, and not beside its suites
    assert planned.plugins is not None and planned.plugins.resolve() == tmp_path / "shop"


def test_what_the_folder_has_is_part_of_the_suite_and_stays(tmp_path):
    (tmp_path / "methods").mkdir()
    (tmp_path / "methods/mine.py").write_text("")
    (tmp_path / "README.md").write_text("mine")
    with pytest.raises(BadInput, match=r"README.md: expected a new file, found one; nothing was written"):
        init(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "methods"]
    (tmp_path / "README.md").unlink()
    init(tmp_path)
    assert "mine" in yaml.safe_load((tmp_path / "config/config.yaml").read_text())["methods"]


@pytest.mark.parametrize(
    ("folder", "suite", "message"),
    [
        ("a b", None, "FOLDER: expected a name that can be a folder"),
        ("shop", "papers", "--suite: expected one of ablations, .*, tuned, found 'papers'"),
    ],
)
def test_bad_input_is_refused_and_writes_nothing(tmp_path, folder, suite, message):
    with pytest.raises(BadInput, match=message):
        init(tmp_path / folder, suite)
    assert list(tmp_path.iterdir()) == []


def test_weights_and_other_large_files_stay_out_of_git_and_dvc_as_in_a_clone(tmp_path):
    init(tmp_path / "new", None)
    for name in (".gitignore", ".dvcignore"):
        listed = {
            line for line in (SUITES.parent / name).read_text().splitlines() if "results/**" in line or "dvc" in name
        }
        assert listed <= set((tmp_path / "new" / name).read_text().splitlines())
