"""A copy of the repository for the workflow's tests."""

import shutil
from pathlib import Path

import pytest
from running import copied_tree


@pytest.fixture
def repository(tmp_path, data_root) -> Path:
    """A copy of the tree as it is now, with prepared data, and without results.

    Each test has its own: what is planned depends on what was done before, and the order of tests is not fixed.
    """
    return with_digits(copied_tree(tmp_path / "repository"), data_root)


@pytest.fixture(scope="module")
def module_repository(tmp_path_factory, data_root) -> Path:
    """One for the tests of a module, which read what one of its fixtures computed there."""
    return with_digits(copied_tree(tmp_path_factory.mktemp("module") / "repository"), data_root)


def with_digits(copy: Path, data_root: Path) -> Path:
    shutil.copytree(data_root / "digits", copy / "data/digits")
    return copy
