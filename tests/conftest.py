"""Shared by all tests: prepared data once per test run, a small backbone, repeatable randomness."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from browsing import browser  # noqa: F401 (a fixture of every test that looks at a page)
from filelock import FileLock
from hypothesis import settings

settings.register_profile("any machine", deadline=None)  # a test's result must not depend on its time
settings.load_profile("any machine")
# a shell's jobs in the background ignore it, and so would the processes that tests interrupt
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def data_root(tmp_path_factory) -> Path:
    """A data folder with every benchmark prepared, downloaded ones from miniatures; made once, also when several
    workers run.
    """
    import archives

    from mola import registry

    root = tmp_path_factory.getbasetemp().parent / "mola-data"
    with FileLock(f"{root}.lock"):
        for name in registry.names("benchmarks"):
            benchmark = archives.benchmark(name, root)
            if name in archives.BUILDERS:
                benchmark.place(archives.BUILDERS[name](root / "archives"))
            benchmark.prepare()
    return root


@pytest.fixture
def digits(data_root):
    """Digits with 24 images per task and split."""
    from mola.benchmarks.digits import Digits

    return Digits.create(data_root, limit=24)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    import torch

    torch.manual_seed(0)
    torch.use_deterministic_algorithms(False)  # a run under test turns it on for its process


@pytest.fixture
def suite_file(tmp_path, data_root):
    """Writes a configuration of a tiny suite and returns its path; keyword arguments replace top-level keys."""
    import yaml

    def write(**changes) -> Path:
        content = {
            "suite": "tiny",
            "results": str(tmp_path / "results"),
            "data": str(data_root),
            "device": "cpu",
            "seeds": [0],
            "reference": None,
            "benchmarks": {"digits": {"limit": 16}},
            "training": {"epochs": 2, "batch_size": 16, "lr": 0.002},
            "backbone": {"name": "test_resnet"},
            "shared_options": {"where": r"layer[1-4]\..*conv\d", "router_width": 4, "router_pool": 2},
            "methods": {"shared": None},
        }
        path = tmp_path / "suite.yaml"
        path.write_text(yaml.safe_dump({**content, **changes}, sort_keys=False))
        return path

    return write
