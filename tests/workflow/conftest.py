"""A copy of the repository for the workflow's tests."""

import shutil
import subprocess
from pathlib import Path

import pytest
from running import ROOT


@pytest.fixture
def repository(tmp_path, data_root) -> Path:
    """A copy of the tree as it is now, with prepared data, and without results.

    Each test has its own: what is planned depends on what was done before, and the order of tests is not fixed.
    """
    return copied_tree(tmp_path / "repository", data_root)


@pytest.fixture(scope="module")
def module_repository(tmp_path_factory, data_root) -> Path:
    """One for the tests of a module, which read what one of its fixtures computed there."""
    return copied_tree(tmp_path_factory.mktemp("module") / "repository", data_root)


def copied_tree(copy: Path, data_root: Path) -> Path:
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in listed.stdout.splitlines():
        if not name.startswith("results/") and (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
    shutil.copytree(data_root / "digits", copy / "data/digits")
    return copy
