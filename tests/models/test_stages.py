"""Stages are those that timm names; a pass that stops at each of them is the plain pass."""

import pytest
import torch

from mola.models.backbones import builder
from mola.models.stages import at_stages, run_stage, stages, start_pass
from mola.types import BadInput

FAMILIES = {
    "test_resnet": {},
    "resnet10t": {"channels": [4, 8, 8, 16], "stem_width": 8},
    "test_convnext": {},
    "test_efficientnet": {},
    "test_vit": {"img_size": (32, 32)},
    "swin_tiny_patch4_window7_224": {"img_size": 32, "embed_dim": 8, "depths": (1, 1, 2, 1), "num_heads": (1, 1, 2, 2)},
    "regnetx_002": {},
    "densenet121": {"block_config": (1, 1, 1, 1)},
}


def build(name, dense=False):
    torch.manual_seed(0)
    return builder(name, FAMILIES[name], dense=dense)()


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("name", FAMILIES)
def test_step_by_step_is_the_plain_pass(name, dense):
    x = torch.randn(2, 3, 32, 32)
    plain, stepped = build(name, dense), build(name, dense)
    outputs = []
    with at_stages(plain, lambda number, output: outputs.append(output)):
        torch.manual_seed(1)  # for stochastic depth
        expected = plain(x)
    torch.manual_seed(1)
    paused = start_pass(x)
    for number, stage in enumerate(stages(stepped)):
        paused = run_stage(stepped, paused)
        assert paused.stages_done == number + 1
        assert stage.channels in paused.value.shape[1:]
        torch.testing.assert_close(paused.value, outputs[number])
    torch.testing.assert_close(run_stage(stepped, paused).value, expected)
    for (key, one), other in zip(plain.state_dict().items(), stepped.state_dict().values(), strict=True):
        assert torch.equal(one, other), key  # BatchNorm has seen the batch once
    assert not any("_call_impl" in vars(module) for module in stepped.modules())


@pytest.mark.parametrize("name", ["test_resnet", "test_convnext", "test_efficientnet", "regnetx_002"])
def test_four_stages_behind_the_stem(name):
    assert [stage.stride for stage in stages(build(name))] == [4, 8, 16, 32]


def test_a_column_of_blocks_has_four_parts():
    backbone = build("test_vit")
    assert len(backbone.blocks) % 4 != 0  # also where they can't be equal
    assert len(stages(backbone)) == 4
    assert stages(backbone)[-1].name == f"blocks.{len(backbone.blocks) - 1}"


def test_what_is_seen_may_be_replaced():
    x, backbone = torch.randn(2, 3, 32, 32), build("test_resnet").eval()
    with at_stages(backbone, lambda number, output: 0 * output if number == 3 else None):
        assert (backbone(x) == 0).all()
    assert not (backbone(x) == 0).all()


def test_a_pass_goes_on_in_another_backbone_with_other_rows():
    x, one = torch.randn(3, 3, 32, 32), build("test_resnet").eval()
    torch.manual_seed(5)
    other = builder("test_resnet")().eval()
    paused = run_stage(one, run_stage(one, start_pass(x)))
    paused = paused.with_value(paused.value[1:])
    mixed = run_stage(other, run_stage(other, run_stage(other, paused))).value
    one.layer3, one.layer4 = other.layer3, other.layer4
    torch.testing.assert_close(mixed, one(x[1:]))


def test_hooks_run_once():
    x, backbone = torch.randn(2, 3, 32, 32), build("test_resnet")
    outputs = []
    for name in ("conv1", "layer1", "layer1.0", "layer4"):
        backbone.get_submodule(name).register_forward_hook(lambda *args, name=name: outputs.append(name))
    backbone.layer2.register_forward_hook(lambda module, args, output: 2 * output)
    paused = start_pass(x)
    for _ in range(len(stages(backbone)) + 1):
        paused = run_stage(backbone, paused)
    assert outputs == ["conv1", "layer1.0", "layer1", "layer4"]
    torch.testing.assert_close(paused.value, backbone(x))


def test_gradients_and_untouched_stages():
    x, backbone = torch.randn(2, 3, 32, 32), build("test_resnet")
    paused = run_stage(backbone, start_pass(x))
    value = paused.value.detach().requires_grad_()
    run_stage(backbone, paused.with_value(value)).value.sum().backward()
    reached = {name.split(".")[0] for name, p in backbone.named_parameters() if p.grad is not None}
    assert reached == {"layer2"}
    assert value.grad.abs().sum() > 0


def test_models_without_named_stages_are_refused():
    with pytest.raises(BadInput, match=r"backbone.name: expected a model with stages; timm names none of Linear"):
        stages(torch.nn.Linear(2, 2))
    with pytest.raises(BadInput, match=r"stages that are modules; of twins_svt_small, 'block.0' is none"):
        stages(builder("twins_svt_small")())
