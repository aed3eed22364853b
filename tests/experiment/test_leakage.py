"""Weights that saw what a benchmark tests are refused for it, when the experiments are planned."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file

from mola.config import load
from mola.experiment import spec
from mola.types import BadInput


@pytest.fixture
def planned(suite_file, tmp_path):
    """A function that plans a benchmark with weights whose metadata say what they saw."""

    def plan(saw, benchmark="digits"):
        file = tmp_path / "w.safetensors"
        save_file({"weight": torch.zeros(2)}, file, metadata=None if saw is None else {"saw": saw})
        suite = load(suite_file(benchmarks={benchmark: {}}, backbone={"name": "test_resnet", "weights": str(file)}))
        return spec.experiments(suite)

    return plan


@pytest.mark.parametrize(
    ("saw", "benchmark"),
    [
        ("digits", "digits"),
        ("imagenet, digits", "digits"),
        ("digits.mnist", "digits"),
        # the benchmark's sources
        ("fonts", "glyphs"),
        ("optdigits", "digits"),
        # a benchmark that shares a source with this one
        ("digits", "glyphs"),
        ("glyphs", "digits"),
        ("pacs", "pacs"),
    ],
)
def test_what_is_refused(planned, saw, benchmark):
    with pytest.raises(BadInput, match=r"^backbone\.weights: .*w\.safetensors saw test images of '.*' in its pre") as e:
        planned(saw, benchmark)
    assert "\n" not in str(e.value) and f"'{benchmark}' tests" in str(e.value)


@pytest.mark.parametrize(
    ("saw", "benchmark"),
    [
        (None, "digits"),
        ("", "digits"),
        ("imagenet", "digits"),
        # letters are tested by glyphs alone, although digits reads the same fonts
        ("glyphs.letters", "digits"),
        ("digits", "scenes"),
        ("pacs", "digits"),
    ],
)
def test_what_is_not(planned, saw, benchmark):
    assert len(planned(saw, benchmark)) == 1


def test_tiny_serves_every_packaged_benchmark(suite_file):
    backbone = {"name": "resnet10t", "weights": "tiny"}
    for benchmark in ("digits", "glyphs", "emoji", "scenes"):
        spec.experiments(load(suite_file(benchmarks={benchmark: {}}, backbone=backbone)))


def test_training_ends_in_one_line_before_anything_is_written(suite_file, tmp_path):
    file = tmp_path / "w.safetensors"
    save_file({"weight": torch.zeros(2)}, file, metadata={"saw": "digits"})
    config = suite_file(backbone={"name": "test_resnet", "weights": str(file)})
    done = subprocess.run(
        [sys.executable, "-m", "mola.cli", "train", "-c", str(config)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stderr
    assert "saw test images of 'digits'" in " ".join(done.stderr.split()) and "Traceback" not in done.stderr
    assert not (tmp_path / "results").exists()


def test_planning_checks_without_torch(suite_file, tmp_path):
    file = tmp_path / "w.safetensors"
    save_file({"weight": torch.zeros(2)}, file, metadata={"saw": "imagenet"})
    config = suite_file(backbone={"name": "test_resnet", "weights": str(file)})
    code = (
        "import sys; from pathlib import Path; from mola.config import load; from mola.experiment import spec; "
        f"spec.experiments(load(Path({str(config)!r}))); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
