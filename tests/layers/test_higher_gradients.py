"""Gradients of gradients and torch.func's transforms, on every plan, against the written formula."""

import pytest
import torch
from reference import filled, output_by_samples
from test_plans import CPU, GATES, LAYERS, inputs
from torch import nn
from torch.autograd import forward_ad
from torch.func import functional_call

import mola
from mola.layers.gate_kinds import as_gate
from mola.layers.plans import dispatch

SOME = ["3x3 strided", "1x1 strided", "two_conv", "grouped", "linear", "linear, no bias"]
EVERY_GATE = {"mixed": GATES["mixed"], "one expert": GATES["one expert"], "weights": GATES["weights"], "top-k": None}


def drawn(name, gate):
    """A layer, its input, its gate, and the same as weights."""
    torch.manual_seed(0)
    layer = filled(LAYERS[name]().double())
    x = inputs(layer, 4).requires_grad_()
    if gate == "top-k":
        weights = torch.rand(4, 4, dtype=torch.float64)
        best, chosen = weights.topk(2)
        return layer, x, (best, chosen), torch.zeros_like(weights).scatter(1, chosen, best)
    gate = EVERY_GATE[gate]
    if not gate.is_floating_point():
        return layer, x, gate, nn.functional.one_hot(gate, 4).double()
    # a leaf of its own: other tests may ask for gradients of the shared one
    gate = gate.detach().double().clone().requires_grad_()
    return layer, x, gate, gate


def penalties(compute, asked, inputs):
    """Gradients of the length of the gradients ``asked``, by each of torch's ways; zero where there is none."""
    first = torch.autograd.grad(compute().sin().sum(), asked, create_graph=True)
    by_grad = torch.autograd.grad(sum(g.square().sum() for g in first), inputs, materialize_grads=True)
    torch.autograd.backward(compute().sin().sum(), create_graph=True, inputs=asked)
    penalty = sum(tensor.grad.square().sum() for tensor in asked)
    by_backward = torch.autograd.grad(penalty, inputs, materialize_grads=True)
    for tensor in asked:
        tensor.grad = None
    return [*by_grad, *by_backward]


@pytest.mark.filterwarnings("ignore:Using backward.. with create_graph")
@pytest.mark.parametrize("gate", EVERY_GATE)
@pytest.mark.parametrize("name", SOME)
def test_gradients_of_gradients_are_the_formulas(name, gate):
    """Of the input, W, bias, A, B and the gate; the gradient that is penalised is of all, of W or of A alone."""
    layer, x, gate, weights = drawn(name, gate)
    parameters = [*layer.parameters()]
    free = [gate] if isinstance(gate, torch.Tensor) and gate.requires_grad else []
    everything = [x, *parameters, *free]

    def compute():
        with mola.gate(layer, gate):
            return layer(x)

    for asked in (everything, [layer.weight], [layer.A]):
        expected = penalties(lambda: output_by_samples(layer, x, weights), asked, everything)
        for plan in (None, *dispatch.applicable(layer, as_gate(gate, 4, CPU))):
            layer.plan = plan
            for one, other in zip(penalties(compute, asked, everything), expected, strict=True):
                torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("gate", ["mixed", "weights"])
@pytest.mark.parametrize("name", ["1x1 strided", "linear"])
def test_numerically_too(name, gate):
    layer, x, gate, _ = drawn(name, gate)
    free = [gate] if gate.requires_grad else []

    def function(x, a, b, *free):
        with mola.gate(layer, free[0] if free else gate):
            return functional_call(layer, {"A": a, "B": b}, (x,))

    x = x[:, :2, :3].detach() if x.dim() == 3 else x.detach()
    x = (x if x.dim() == 4 else torch.randn(4, 2, 5, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradgradcheck(function, (x, layer.A, layer.B, *free), fast_mode=True)


@pytest.mark.parametrize("gate", EVERY_GATE)
@pytest.mark.parametrize("name", SOME)
def test_transforms_of_torch_func(name, gate):
    """grad, vmap over models, jvp and hessian-vector products."""
    layer, x, gate, weights = drawn(name, gate)
    gate = tuple(part.detach() for part in gate) if isinstance(gate, tuple) else gate.detach()
    x, weights, parameters = x.detach(), weights.detach(), {k: p.detach() for k, p in layer.named_parameters()}
    tangents = {key: torch.randn_like(p) for key, p in parameters.items()}

    def plans(parameters, x=x):
        with mola.gate(layer, gate):
            return functional_call(layer, parameters, (x,)).sin().sum()

    class Formula(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = layer

        def forward(self, x):
            return output_by_samples(self.layer, x, weights)

    formula = Formula()

    def written(parameters, x=x):
        return functional_call(formula, {f"layer.{k}": p for k, p in parameters.items()}, (x,)).sin().sum()

    for transform in (
        lambda f: torch.func.grad(f)(parameters),
        lambda f: torch.func.grad(f, argnums=1)(parameters, x),
        lambda f: torch.func.jvp(f, (parameters,), (tangents,)),
        lambda f: torch.func.jvp(torch.func.grad(f), (parameters,), (tangents,)),
        lambda f: torch.func.grad(lambda p: torch.func.grad(f)(p)["A"].square().sum())(parameters),
    ):
        torch.testing.assert_close(transform(plans), transform(written), rtol=1e-8, atol=1e-8)
    stacked = {key: torch.stack([p, p + tangents[key]]) for key, p in parameters.items()}
    each = [plans({key: p[i] for key, p in stacked.items()}) for i in range(2)]
    torch.testing.assert_close(torch.vmap(plans)(stacked), torch.stack(each))
    with forward_ad.dual_level():
        dual = {key: forward_ad.make_dual(p, tangents[key]) for key, p in parameters.items()}
        tangent = forward_ad.unpack_dual(plans(dual)).tangent
    torch.testing.assert_close(tangent, torch.func.jvp(written, (parameters,), (tangents,))[1], rtol=1e-8, atol=1e-8)
