"""Hooks that others registered on a layer outlive its replacement, in both directions."""

import copy

import pytest
import torch
from reference import filled
from torch import nn
from torch.nn.utils import prune

import mola
from mola.layers.adapter import LowRank
from mola.types import BadInput

REGISTER = {
    "forward_pre": lambda layer, hook: layer.register_forward_pre_hook(hook),
    "forward_pre, keywords": lambda layer, hook: layer.register_forward_pre_hook(hook, with_kwargs=True),
    "forward": lambda layer, hook: layer.register_forward_hook(hook),
    "forward, always": lambda layer, hook: layer.register_forward_hook(hook, with_kwargs=True, always_call=True),
    "backward_pre": lambda layer, hook: layer.register_full_backward_pre_hook(hook),
    "backward": lambda layer, hook: layer.register_full_backward_hook(hook),
    "state_dict_pre": lambda layer, hook: layer.register_state_dict_pre_hook(hook),
    "state_dict_post": lambda layer, hook: layer.register_state_dict_post_hook(hook),
    "load_pre": lambda layer, hook: layer.register_load_state_dict_pre_hook(hook),
    "load_post": lambda layer, hook: layer.register_load_state_dict_post_hook(hook),
}


class Kept:
    """A hook that notes which layer it was called for, and with how many arguments."""

    def __init__(self):
        self.calls = []

    def __call__(self, module, *args):
        self.calls.append((module, len(args)))

    def __deepcopy__(self, memo):
        return self  # as functions are


def lived(model):
    """A training step and a state's way out and in, which call every hook once."""
    model(torch.randn(2, 4, 5, 5).requires_grad_()).sum().backward()
    model.load_state_dict(model.state_dict())


@pytest.mark.parametrize("kind", REGISTER)
def test_a_hook_outlives_adapt_and_export(kind):
    plain = nn.Sequential(nn.Conv2d(4, 6, 3), nn.Flatten(2), nn.Linear(9, 3))
    hooks, handles = (Kept(), Kept()), []
    for layer, hook in zip((plain[0], plain[2]), hooks, strict=True):
        handles.append(REGISTER[kind](layer, hook))
    lived(plain)
    counts = [hook.calls.pop()[1] for hook in hooks]
    assert not any(hook.calls for hook in hooks)

    model = mola.adapt(plain, experts=2, rank=2)
    layers = filled(model[0]), filled(model[2])
    with mola.gate(model, torch.tensor([1, 0])):
        lived(model)
    exported = mola.export(model, 1)
    assert not any(isinstance(module, LowRank) for module in exported.modules())
    lived(exported)
    twin = copy.deepcopy(model)
    with mola.gate(twin, torch.tensor([1, 0])):
        lived(twin)
    for position, hook, count in zip((0, 2), hooks, counts, strict=True):
        owners = [model[position], exported[position], twin[position]]
        assert hook.calls == [(owner, count) for owner in owners]

    for handle in handles:
        handle.remove()
    with mola.gate(model, torch.tensor([1, 0])):
        lived(model)
    assert [len(hook.calls) for hook in hooks] == [3, 3]
    assert layers == (model[0], model[2])


def test_a_hook_changes_what_the_adapted_layer_gives():
    plain = nn.Sequential(nn.Linear(4, 3))
    plain[0].register_forward_hook(lambda module, args, y: y + 1)
    x, expected = (x := torch.randn(2, 4)), plain(x)
    model = mola.adapt(plain, experts=2, rank=1)
    with mola.gate(model, torch.tensor([1, 0])):
        torch.testing.assert_close(model(x), expected)
    torch.testing.assert_close(mola.export(model, 0)(x), expected)


def normalised(layer):
    with pytest.warns(FutureWarning):
        return nn.utils.weight_norm(layer)


def pruned(layer):
    return prune.l1_unstructured(layer, "weight", 0.5)


def overridden(layer):
    layer.forward = lambda x: x
    return layer


@pytest.mark.parametrize("change", [normalised, pruned, overridden])
def test_a_layer_that_is_no_longer_its_class_is_refused(change):
    model = nn.Sequential(change(nn.Linear(4, 4)))
    with pytest.raises(BadInput, match=r"layer '0' is a changed torch\.nn\.modules\.linear\.Linear, which can't be ad"):
        mola.adapt(model, experts=2, rank=1)
    assert type(model[0]) is nn.Linear
