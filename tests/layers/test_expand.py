"""One pass for all experts is a pass per expert, and what lies before the first adapted layer runs once."""

import pytest
import timm
import torch
from torch import nn

import mola
from mola.layers.expand import every_expert, expansion_point
from mola.types import BadInput

# model → where; the forks lie in stages, in blocks, in a layer, behind a stem
FAMILIES = {
    "test_resnet": r"layer[3-4]\..*conv\d",
    "test_vit": r"blocks\.([1-9]|1\d)\..*(qkv|proj|fc1|fc2)",
    "test_convnext": r"stages\.[23]\..*fc\d",
    "test_efficientnet": r"blocks\.[3-6]\..*conv_pw",
    "resnet10t": r"conv1\.3",
    "test_listed": r"blocks\.1\.fc",
}


class Listed(nn.Module):
    """Blocks in a ModuleList, which is never called itself, as in timm's BEiT and EVA."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(nn.Sequential() for _ in range(2))
        for block in self.blocks:
            block.add_module("fc", nn.Linear(3, 3))

    def forward(self, x):
        x = x.mean((2, 3))
        for block in self.blocks:
            x = x + block(x)
        return x


def adapted(name, where, experts=3):
    torch.manual_seed(0)
    plain = Listed() if name == "test_listed" else timm.create_model(name, num_classes=0)
    model = mola.adapt(plain, experts=experts, rank=2, where=where)
    for key, parameter in model.named_parameters():
        if key.endswith(".B"):
            nn.init.normal_(parameter, std=0.1)
    return model.double()


def images(model):
    size = 160 if "vit" in type(model).__name__.lower() or "transformer" in type(model).__name__.lower() else 64
    return torch.randn(2, 3, size, size, dtype=torch.float64)


def one_by_one(model, x, experts):
    outputs = []
    for expert in experts:
        with mola.gate(model, torch.full((len(x),), expert)):
            outputs.append(model(x))
    return torch.cat(outputs)


@pytest.mark.parametrize(("name", "where"), FAMILIES.items())
def test_it_is_a_pass_per_expert_in_values_and_gradients(name, where):
    model = adapted(name, where).eval()
    x = images(model).requires_grad_()
    with every_expert(model, 2):
        together = model(x)
    apart = one_by_one(model, x, range(3))
    torch.testing.assert_close(together, apart, rtol=1e-9, atol=1e-9)
    factors = torch.randn_like(apart)
    expected = [x, *model.parameters()]
    for one, other in zip(
        torch.autograd.grad((together * factors).sum(), expected, allow_unused=True),
        torch.autograd.grad((apart * factors).sum(), expected, allow_unused=True),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-8)


def test_some_experts():
    model = adapted("test_resnet", r"layer3\..*conv\d").eval()
    x = images(model)
    with every_expert(model, 2, [0, 2]):
        torch.testing.assert_close(model(x), one_by_one(model, x, [0, 2]), rtol=1e-9, atol=1e-9)


def test_what_lies_before_the_first_adapter_runs_once_on_the_batch_alone():
    model = adapted("test_resnet", r"layer3\..*conv\d").train()
    sizes = {}
    for name in ("layer1", "layer2", "layer3", "layer4"):
        model.get_submodule(name).register_forward_hook(
            lambda module, args, output, name=name: sizes.setdefault(name, []).append(len(output))
        )
    with every_expert(model, 2):
        model(images(model))
    assert sizes == {"layer1": [2], "layer2": [2], "layer3": [6], "layer4": [6]}
    assert int(model.bn1.num_batches_tracked) == 1
    assert expansion_point(model) is model.layer3[0]


def test_the_gate_is_closed_behind_it_and_models_run_as_before():
    model = adapted("test_resnet", r"layer3\..*conv\d").eval()
    x = images(model)
    with pytest.raises(BadInput, match="expected one entry per sample, found 3 for 4 samples"), every_expert(model, 3):
        model(torch.cat([x, x]))
    with pytest.raises(RuntimeError, match="needs an open gate"):
        model(x)
    with mola.gate(model, torch.tensor([0, 1])):
        assert len(model(x)) == 2
    with every_expert(model, 2), mola.gate(model, torch.tensor([0, 1])):  # the inner one counts
        assert len(model(x)) == 2


def test_experts_out_of_order_are_refused():
    model = adapted("test_listed", r"blocks\.1\.fc")
    for experts in ([2, 0], [1, 1], []):
        with pytest.raises(BadInput, match="expected experts in ascending order"), every_expert(model, 1, experts):
            pass


def test_a_model_without_adapters_is_refused():
    with pytest.raises(BadInput, match="expected a model that was adapted once"), every_expert(nn.Linear(2, 2), 1):
        pass


def test_mixtures_are_a_pass_per_mixture():
    model, x = adapted("test_resnet", FAMILIES["test_resnet"]), torch.randn(4, 3, 32, 32, dtype=torch.double)
    weights = torch.rand(2, 3, dtype=torch.double)
    model.eval()
    with every_expert(model, 4, weights):
        actual = model(x)
    for mixture, part in zip(weights, actual.chunk(2), strict=True):
        with mola.gate(model, mixture.expand(4, 3)):
            torch.testing.assert_close(part, model(x))
