"""Weights that saw what a benchmark tests are refused for it, when the experiments are planned."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from mola.benchmarks.scenes import Scenes
from mola.config import load
from mola.experiment import spec
from mola.pretrained import TINY, metadata
from mola.types import BadInput, Source


@pytest.fixture
def planned(suite_file, tmp_path):
    """A function that plans a benchmark with weights whose metadata say what they saw."""

    def plan(saw, benchmark="digits", **entries):
        file = tmp_path / "w.safetensors"
        save_file({"weight": torch.zeros(2)}, file, metadata=entries | ({} if saw is None else {"saw": saw}))
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
        # data that no benchmark reads
        ("coco, cifar10, other:digit, other:fmnist", "digits"),
    ],
)
def test_what_is_not(planned, saw, benchmark):
    assert len(planned(saw, benchmark)) == 1


@pytest.mark.parametrize(
    ("saw", "message"),
    [
        ("digit", "which no benchmark has, did you mean 'digits'? For other data write 'other:digit'"),
        ("imagenet, Digits", "'Digits', which no benchmark has, did you mean 'digits'?"),
        ("pac", "did you mean 'pacs'?"),
        ("optdigit", "did you mean 'optdigits'?"),
        ("glyph.letters", "did you mean 'glyphs.letters'?"),
        (
            "glyphs.leters",
            "'glyphs.leters', which is no task of it, did you mean 'letters'?; it has letters",
        ),
        ("emoji.smileys", "which is no task of it; it has twemoji"),
    ],
)
def test_what_is_misspelt_is_refused_whatever_the_benchmark(planned, saw, message):
    for benchmark in ("scenes", "medmnist"):
        with pytest.raises(BadInput, match=r"^backbone\.weights: .*w\.safetensors saw '") as error:
            planned(saw, benchmark)
        assert message in str(error.value) and "\n" not in str(error.value)


def test_weights_are_refused_for_what_is_drawn_from_their_packages(planned, suite_file, monkeypatch):
    trained_on = json.dumps([{"name": "@iconify-json/noto"}, {"name": "npm-of-nobody"}])
    expected = r"w\.safetensors was trained on '@iconify-json/noto', from which 'emoji' is drawn; expected weights"
    with pytest.raises(BadInput, match=expected):
        planned(None, "emoji", trained_on=trained_on)
    assert planned(None, "digits", trained_on=trained_on)
    for other in ("photographs", "[1]", "[{}]", json.dumps([{"name": "@iconify-json/not"}])):
        assert planned("imagenet", "emoji", trained_on=other)
    package = json.loads(metadata(TINY)["trained_on"])[0]["name"]
    icons = Source("icons", f"npm: {package} 9.9.9", "MIT", "0" * 64)
    monkeypatch.setattr(Scenes, "sources", (replace(icons, origin="npm: elsewhere"), icons))
    tiny = suite_file(benchmarks={"scenes": {}}, backbone={"name": "resnet10t", "weights": "tiny"})
    with pytest.raises(BadInput, match=f"^backbone.weights: tiny was trained on '{package}', from which 'scenes' is"):
        spec.experiments(load(tiny))


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
