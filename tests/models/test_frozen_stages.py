"""Frozen stages: what stays, what a tail computes, and which backbones have none."""

import pytest
import torch
from torch import nn

from mola.layers.adapt import adapt
from mola.layers.adapter import adapted_layers
from mola.layers.frozen import is_frozen
from mola.models.backbones import builder
from mola.models.frozen_stages import check_tail, prefix_output, prefix_state, tail
from mola.models.stages import every_stage, run_stage, stages, start_pass
from mola.types import BadInput

FAMILIES = {
    "test_resnet": {},
    "resnet10t": {"channels": [4, 8, 8, 16], "stem_width": 8},
    "test_convnext": {},
    "test_efficientnet": {},
    "swin_tiny_patch4_window7_224": {"img_size": 32, "embed_dim": 8, "depths": (1, 1, 2, 1), "num_heads": (1, 1, 2, 2)},
    "regnetx_002": {},
    "densenet121": {"block_config": (1, 1, 1, 1)},
}


def build(name, number, options=None):
    torch.manual_seed(0)
    backbone = builder(name, FAMILIES.get(name, {}) | (options or {}), freeze_stages=number)()
    for module in backbone.modules():
        # as after training; timm's last BatchNorm of a block starts at 0, which would hide the block
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return backbone


@pytest.mark.parametrize("number", [1, 2, 3, 4])
@pytest.mark.parametrize("name", FAMILIES)
def test_a_tail_goes_on_where_the_prefix_ends(name, number):
    x = torch.randn(2, 3, 32, 32)
    whole, rest = build(name, number).eval(), tail(build(name, number)).eval()
    with torch.no_grad():
        expected, features = whole(x), prefix_output(whole, x)
        torch.testing.assert_close(rest(features), expected, rtol=0, atol=0)
        assert not torch.equal(rest(1.1 * features), expected)
    check_tail(whole, rest, x)
    kept = {key: value for key, value in whole.state_dict().items() if key not in prefix_state(whole)}
    assert list(rest.state_dict()) == list(kept), "names are those of the whole"
    assert 0 < len(kept) < len(whole.state_dict()) or (number == 4 and not kept)


@pytest.mark.parametrize("name", FAMILIES)
def test_what_is_frozen_is_what_the_prefix_depends_on(name):
    backbone = build(name, 2)
    frozen = {key for key, p in backbone.named_parameters() if not p.requires_grad}
    for parameter in backbone.parameters():
        parameter.requires_grad_()
    value = prefix_output(backbone, torch.randn(2, 3, 32, 32))
    names, parameters = zip(*backbone.named_parameters(), strict=True)
    gradients = torch.autograd.grad(value.sum(), parameters, allow_unused=True)
    assert frozen == {key for key, gradient in zip(names, gradients, strict=True) if gradient is not None}
    assert frozen == {key for key in prefix_state(backbone) if key in names}


def test_positions_of_a_transformer_are_frozen_and_it_has_no_tail():
    backbone = build("test_vit", 2, {"img_size": (32, 32)})
    assert not backbone.pos_embed.requires_grad and not backbone.blocks[2].mlp.fc1.weight.requires_grad
    assert backbone.blocks[3].mlp.fc1.weight.requires_grad
    rest = tail(build("test_vit", 2, {"img_size": (32, 32)}))
    with pytest.raises(BadInput, match=r"^backbone\.cached_views: .* go on from its stage 2, found that test_vit then"):
        check_tail(backbone, rest, torch.randn(2, 3, 32, 32))


def test_a_tail_that_computes_something_else_is_refused():
    whole, rest = build("resnet10t", 2), tail(build("resnet10t", 2))
    rest.layer4[0].conv1.weight.data *= 1.01
    with pytest.raises(BadInput, match="resnet10t then gives other features"):
        check_tail(whole, rest, torch.randn(2, 3, 32, 32))


def test_methods_meet_the_stages_that_learn():
    backbone = build("resnet10t", 2)
    assert [stage.name for stage in stages(backbone)] == ["layer3", "layer4"]
    assert [stage.name for stage in every_stage(backbone)] == ["layer1", "layer2", "layer3", "layer4"]
    x = torch.randn(2, 3, 32, 32)
    paused = run_stage(backbone.eval(), start_pass(x))
    cut = run_stage(tail(build("resnet10t", 2)).eval(), start_pass(prefix_output(backbone, x)))
    torch.testing.assert_close(paused.value, cut.value, rtol=0, atol=0)
    with pytest.raises(BadInput, match=r"freeze_stages: expected at most 3 for a method that works between .* found 4"):
        stages(build("resnet10t", 4))


def test_more_stages_than_there_are():
    with pytest.raises(
        BadInput, match=r"backbone\.freeze_stages: expected at most 4, the stages of resnet10t, found 5"
    ):
        build("resnet10t", 5)


def test_frozen_layers_get_no_adapters():
    backbone = adapt(build("resnet10t", 2), experts=2, rank=2, where=r".*conv\d")
    assert {name.split(".")[0] for name in adapted_layers(backbone)} == {"layer3", "layer4"}
    assert is_frozen(backbone.layer2) and not is_frozen(backbone.layer3)
    with pytest.raises(BadInput, match=r"where: 'layer1.*' matches no convolution .* has layer3"):
        adapt(build("resnet10t", 2), experts=2, rank=2, where=r"layer1\..*")
