"""Norms of gradients that are not made equal those of gradients that are."""

import pytest
import torch
from torch import nn

from mola.balancers import _norms
from mola.balancers._norms import gradient_norms


def losses_of(y, tasks=3):
    heads = torch.randn(tasks, y[0].numel(), dtype=y.dtype)
    samples = torch.arange(len(y)) % tasks
    return [(y.flatten(1) @ heads[t]).tanh()[samples == t].sum() for t in range(tasks)]


def plain(losses, weight):
    return torch.stack([torch.autograd.grad(loss, weight, retain_graph=True)[0].norm() for loss in losses])


def short(monkeypatch):
    """Counts how often the short way was taken."""
    taken, way = [], _norms._of_convolution
    monkeypatch.setattr(_norms, "_of_convolution", lambda *a: taken.append(1) or way(*a))
    return taken


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 3, "padding": 1},
        {"kernel_size": (3, 2), "padding": (1, 0), "stride": (2, 1)},
        {"kernel_size": 3, "padding": 2, "dilation": 2},
        {"kernel_size": 1, "stride": 3},
        {"kernel_size": 3, "padding": "same"},
        {"kernel_size": 2, "padding": (1, 0), "padding_mode": "reflect"},
    ],
)
def test_of_a_convolution_with_few_positions(options, monkeypatch):
    taken = short(monkeypatch)
    layer = nn.Conv2d(64, 48, **options, bias=False).double()
    before = nn.Conv2d(3, 64, 1).double()
    norm = nn.BatchNorm2d(48).double()  # mixes the samples of the tasks
    losses = losses_of(norm(layer(before(torch.randn(6, 3, 3, 4).double()).relu())).relu())
    result = gradient_norms(losses, [layer.weight])
    assert taken and not result.requires_grad
    torch.testing.assert_close(result, plain(losses, layer.weight))
    sum(losses).backward()  # the graph is still there


def test_a_loss_of_another_branch_has_none(monkeypatch):
    taken = short(monkeypatch)
    layer = nn.Conv2d(64, 48, 3)
    x = torch.randn(4, 64, 3, 3, requires_grad=True)
    losses = [layer(x).square().sum(), x.sum()]
    result = gradient_norms(losses, [layer.weight])
    assert taken and result[1] == 0
    torch.testing.assert_close(result[:1], plain(losses[:1], layer.weight))


@pytest.mark.parametrize(
    "run",
    [
        lambda x, w: nn.functional.conv2d(x, w, padding=9),  # more positions than pay
        lambda x, w: nn.functional.conv2d(x, w[:, :32], groups=2),
        lambda x, w: nn.functional.conv_transpose2d(x, w),
        lambda x, w: nn.functional.conv2d(x, w, padding=1) + nn.functional.conv2d(x, w.flip(-1), padding=1),
        lambda x, w: nn.functional.conv2d(nn.functional.conv2d(x, w, padding=1), w, padding=1),
        lambda x, w: nn.functional.conv2d(w, x.mean(0, keepdim=True).expand(9, -1, -1, -1)),
        lambda x, w: nn.functional.conv2d(w, w),
        lambda x, w: nn.functional.linear(x.mean((2, 3)), w[..., 0, 0]),
        lambda x, w: nn.functional.conv1d(x.flatten(2), w[..., 0]),
    ],
    ids=[
        "many",
        "groups",
        "transposed",
        "twice, once changed",
        "shared twice",
        "input",
        "input and weight",
        "linear",
        "1-D",
    ],
)
def test_of_anything_else(run, monkeypatch):
    taken = short(monkeypatch)
    weight = nn.Parameter(torch.randn(64, 64, 3, 3).double() / 24)
    losses = losses_of(run(torch.randn(6, 64, 3, 3).double(), weight))
    torch.testing.assert_close(gradient_norms(losses, [weight]), plain(losses, weight))
    assert not taken


def test_a_hook_on_the_weight_is_heard():
    layer = nn.Conv2d(64, 48, 3)
    losses = losses_of(layer(torch.randn(4, 64, 3, 3)))
    once = gradient_norms(losses, [layer.weight])
    layer.weight.register_hook(lambda gradient: 2 * gradient)
    torch.testing.assert_close(gradient_norms(losses, [layer.weight]), 2 * once)


def test_of_several_weights():
    layers = nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 3))
    weights = [layer.weight for layer in layers]
    losses = losses_of(layers(torch.randn(6, 4)))
    expected = torch.stack([plain(losses, weight) for weight in weights]).norm(dim=0)
    torch.testing.assert_close(gradient_norms(losses, weights), expected)


def test_a_gradient_of_zero_has_a_small_norm():
    """The sum behind a BatchNorm says nothing about what lies before: rounding alone is left, of either sign."""
    layer = nn.Conv2d(64, 48, 3)
    y = nn.functional.batch_norm(layer(torch.randn(4, 64, 3, 3)), None, None, training=True)
    result = gradient_norms([y.sum(), (2 * y).sum()], [layer.weight])
    assert result.isfinite().all() and (result < 1e-2).all()
