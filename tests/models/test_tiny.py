"""`backbone.weights: tiny` loads into the backbone that it was trained in, and into no other."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from mola.models.backbones import builder
from mola.pretrained import TINY
from mola.types import BadInput

QUARTER = {"channels": [16, 32, 64, 128], "stem_width": 16}


@pytest.mark.parametrize("options", [QUARTER, {**QUARTER, "output_stride": 8}], ids=["classes", "dense"])
def test_every_tensor_comes_from_the_file_whatever_the_seed(options):
    build = builder("resnet10t", options, weights="tiny", dense="output_stride" in options)
    stored = load_file(TINY)
    for seed in (0, 1):
        torch.manual_seed(seed)
        state = build().state_dict()
        assert state.keys() == stored.keys()
        assert all(torch.equal(value, stored[key]) for key, value in state.items())


def test_features_are_finite_and_differ_from_those_of_random_weights():
    images = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        trained = builder("resnet10t", QUARTER, weights="tiny")().eval()(images)
        random = builder("resnet10t", QUARTER)().eval()(images)
    assert trained.isfinite().all()
    assert trained.std(0).min() >= 0 and trained.std(0).max() > 0.01, "features tell images apart"
    assert not torch.allclose(trained, random, atol=0.01)


@pytest.mark.parametrize(
    ("name", "options"),
    [("resnet10t", {}), ("resnet10t", {**QUARTER, "in_chans": 1}), ("resnet14t", QUARTER), ("test_resnet", {})],
)
def test_another_architecture_is_refused_with_the_one_that_fits(name, options):
    with pytest.raises(BadInput, match=r"^backbone\.weights: tiny: expected .*; these weights fit .*resnet10t") as e:
        builder(name, options, weights="tiny")()
    line = str(e.value)
    assert "\n" not in line and len(line) < 300 and str(QUARTER["channels"]) in line
