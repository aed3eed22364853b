"""A tiny suite that tunes."""

import pytest
import torch

from mola.config import load


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def suite_of(suite_file):
    """A tiny suite that tunes ``shared``; keyword arguments replace top-level keys."""

    def write(**changes):
        training = {"epochs": 1, "batch_size": 16, "lr": 0.002}
        return load(suite_file(**{"training": training, "tune": {"trials": 3}, "methods": {"shared": None}, **changes}))

    return write
