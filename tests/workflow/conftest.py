"""A copy of the repository for the workflow's tests."""

import shutil
import subprocess
from pathlib import Path

import pytest
from running import ROOT


@pytest.fixture(scope="module")
def repository(tmp_path_factory, data_root) -> Path:
    """A copy of the tree as it is now, with prepared data, and without results."""
    copy = tmp_path_factory.mktemp("repository")
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in listed.stdout.splitlines():
        if not name.startswith("results/") and (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
    shutil.copytree(data_root / "digits", copy / "data/digits")
    return copy
