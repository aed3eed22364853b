"""The plan "fused" on the CPU, in Triton's interpreter. Triton decides for it when it is imported, so that these tests
need a process of their own, which ``test_fused.py`` starts. By hand: ``TRITON_INTERPRET=1 pytest`` and this file.
"""

import warnings

import pytest
import timm
import torch
from reference import filled, output_by_samples
from torch import nn

import mola
from mola.layers.adapter import LowRankConv2d, LowRankLinear, adapted_layers
from mola.layers.gate_kinds import as_gate
from mola.layers.plans import dispatch, fused
from mola.types import BadInput

CPU = torch.device("cpu")
# Of the largest number. The interpreter rounds to bfloat16 by cutting off; fp32 differs by the order of sums.
TOLERANCE = {torch.float32: 1e-6, torch.float16: 1e-3, torch.bfloat16: 1.6e-2}
# B, L, C_in, C_out, E, r: no side a multiple of a tile's, one tile exactly, several tiles, nothing but ones
SIZES = [
    (3, 50, 75, 150, 3, 5),
    (1, 64, 32, 128, 4, 4),
    (5, 31, 140, 260, 5, 20),
    (1, 1, 1, 1, 1, 1),
    (7, 1, 9, 200, 2, 64),
]


def close(value, expected, tolerance):
    """Within a part of the largest number that is expected."""
    error = float((value.double() - expected.double()).abs().max())
    assert error <= tolerance * float(expected.abs().max()), f"{error / float(expected.abs().max()):.1e}"


def drawn(sizes, dtype):
    """x, weight, bias, down, up, gamma of the operator."""
    torch.manual_seed(0)
    samples, positions, inputs, outputs, experts, rank = sizes
    shapes = (samples, positions, inputs), (outputs, inputs), (experts * rank, inputs), (experts * rank, outputs)
    x, weight, down, up = (torch.randn(shape).to(dtype) for shape in shapes)
    return x, weight, torch.randn(outputs), down, up, torch.randn(samples, experts)


def written(x, weight, bias, down, up, gamma):
    """In fp64, from the numbers as they are."""
    x, weight, down, up, gamma = (tensor.double() for tensor in (x, weight, down, up, gamma))
    inner = x @ down.t()
    gates = gamma.repeat_interleave(down.shape[0] // gamma.shape[1], 1)[:, None]
    y = x @ weight.t() + (inner * gates) @ up
    return (y if bias is None else y + bias.double()), inner


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_the_kernel_is_the_formula(sizes, dtype):
    inputs = drawn(sizes, dtype)
    for bias in (inputs[2], None):
        inputs = (*inputs[:2], bias, *inputs[3:])
        for value, expected in zip(fused.gated_rows(*inputs), written(*inputs), strict=True):
            assert value.dtype == dtype and value.shape == expected.shape
            close(value, expected, TOLERANCE[dtype])


def test_a_transposed_weight_as_the_backward_pass_hands_it_over():
    x, weight, *rest = drawn(SIZES[0], torch.float32)
    y, inner = fused.gated_rows(x, weight.t().contiguous().t(), *rest)
    close(y, written(x, weight, *rest)[0], 1e-6)
    close(inner, written(x, weight, *rest)[1], 1e-6)


def test_no_samples_and_no_positions():
    _, weight, bias, down, up, gamma = drawn(SIZES[0], torch.float32)
    for samples, positions in ((0, 50), (3, 0)):
        x = torch.zeros(samples, positions, 75)
        y, inner = fused.gated_rows(x, weight, bias, down, up, gamma[:samples])
        assert y.shape == (samples, positions, 150) and inner.shape == (samples, positions, 15)


@pytest.mark.parametrize("biased", [True, False])
def test_the_operator_is_registered_as_torch_wants_it(biased):
    x, weight, bias, *rest = drawn((2, 3, 5, 4, 2, 2), torch.float32)
    torch.library.opcheck(fused.gated_rows, (x, weight, bias if biased else None, *rest))


def row_layer():
    return LowRankLinear(nn.Linear(21, 34), 4, 3), torch.randn(3, 23, 21)


def map_layer(factorisation="loralib", last=True, **options):
    conv = nn.Conv2d(21, 34, 1, **options)
    x = torch.randn(3, 21, 6, 5)
    x = x.to(memory_format=torch.channels_last) if last else x
    return LowRankConv2d(conv, 4, 3, factorisation=factorisation), x


LAYERS = {
    "linear": row_layer,
    "linear, no bias": lambda: (LowRankLinear(nn.Linear(21, 34, bias=False), 4, 3), torch.randn(3, 2, 21)),
    "1x1, channels last": map_layer,
    "1x1, two_conv, no bias": lambda: map_layer("two_conv", bias=False),
    "1x1, strided": lambda: map_layer(stride=(2, 3)),
    "1x1, same": lambda: map_layer(padding="same"),
    "1x1, another layout": lambda: map_layer(last=False),
}


def layer_of(name, gate="all"):
    """A layer with the plan, its input, the gate that is opened, all weights (B, E), and what has gradients."""
    torch.manual_seed(0)
    layer, x = LAYERS[name]()
    filled(layer).plan = "fused"
    x.requires_grad_()
    weights = torch.randn(3, 4).requires_grad_()
    if gate == "all":
        return layer, x, weights, weights, [x, weights, *layer.parameters()]
    # expert 1 is used by no sample
    chosen = torch.tensor([[0, 2], [3, 0], [2, 3]])
    best = torch.randn(3, 2).requires_grad_()
    return layer, x, (best, chosen), torch.zeros(3, 4).scatter(1, chosen, best), [x, best, *layer.parameters()]


def output(layer, x, gate):
    with mola.gate(layer, gate):
        return layer(x)


def gradients(y, asked, **options):
    return torch.autograd.grad(y, asked, torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view(y.shape), **options)


@pytest.mark.parametrize("gate", ["all", "sparse"])
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_and_all_its_gradients(name, gate):
    layer, x, opened, weights, asked = layer_of(name, gate)
    y, expected = output(layer, x, opened), output_by_samples(layer, x, weights)
    assert layer.last_plan == "fused"
    close(y, expected.detach(), 1e-6)
    if x.dim() == 4:
        layout = torch.channels_last if "layout" not in name else torch.contiguous_format
        assert y.is_contiguous(memory_format=layout)
    for one, other in zip(gradients(y, asked), gradients(expected, asked), strict=True):
        close(one, other, 3e-6)


@pytest.mark.parametrize("frozen", ["x", "weight bias", "A B", "gate", "x gate weight bias A"])
def test_what_is_frozen_changes_no_other_gradient(frozen):
    layer, x, gate, _, asked = layer_of("linear")
    expected = dict(
        zip(["x", "gate", *dict(layer.named_parameters())], gradients(output(layer, x, gate), asked), strict=True)
    )
    tensors = {"x": x, "gate": gate, **dict(layer.named_parameters())}
    for name, tensor in tensors.items():
        tensor.requires_grad_(name not in frozen.split())
    asked = {name: tensor for name, tensor in tensors.items() if tensor.requires_grad}
    for name, value in zip(asked, gradients(output(layer, x, gate), list(asked.values())), strict=True):
        close(value, expected[name], 1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("name", ["linear", "1x1, channels last"])
def test_under_autocast(name, dtype):
    """Against the formula in fp64, on numbers that are the same in half precision."""
    layer, x, gate, _, asked = layer_of(name)
    with torch.no_grad():
        for tensor in asked:
            tensor.copy_(tensor.to(torch.bfloat16))
    with torch.autocast("cpu", dtype):
        y = output(layer, x, gate)
    assert y.dtype == dtype
    expected = output_by_samples(layer, x, gate)
    close(y, expected.detach(), 2 * TOLERANCE[dtype])
    for tensor, one, other in zip(asked, gradients(y, asked), gradients(expected, asked), strict=True):
        assert one.dtype == tensor.dtype
        close(one, other, 3 * TOLERANCE[dtype])


@pytest.mark.parametrize("name", ["linear", "1x1, channels last"])
def test_gradients_of_several_losses_at_once(name):
    layer, x, gate, _, asked = layer_of(name)
    y = output(layer, x, gate)
    upstream = torch.randn(3, *y.shape)
    one_by_one = [torch.autograd.grad(y, asked, each, retain_graph=True) for each in upstream]
    expected = [torch.stack(rows) for rows in zip(*one_by_one, strict=True)]
    batched = torch.autograd.grad(y, asked, upstream, retain_graph=True, is_grads_batched=True)
    mapped = torch.vmap(lambda each: torch.autograd.grad(y, asked, each, retain_graph=True))(upstream)
    for together in (batched, mapped):
        for one, other in zip(together, expected, strict=True):
            close(one, other, 1e-6)


@pytest.mark.parametrize("name", ["linear", "1x1, channels last"])
def test_gradients_of_gradients(name):
    layer, x, gate, _, asked = layer_of(name)
    penalties = []
    for y in (output(layer, x, gate), output_by_samples(layer, x, gate)):
        first = torch.autograd.grad(y.sin().sum(), asked, create_graph=True)
        penalties.append(torch.autograd.grad(sum(g.square().sum() for g in first), asked))
    for one, other in zip(*penalties, strict=True):
        close(one, other, 1e-5)


def small_vit(plan):
    torch.manual_seed(0)
    vit = timm.create_model("vit_tiny_patch16_224", num_classes=5, img_size=32, depth=2, embed_dim=48)
    model = mola.adapt(vit, experts=3, rank=4, where=r"blocks\..*(qkv|proj|fc1|fc2)", plan=plan)
    for layer in adapted_layers(model).values():
        filled(layer)
    return model


@pytest.mark.parametrize("gate", ["all", "sparse"])
def test_a_vision_transformer(gate):
    torch.manual_seed(1)
    x, weights = torch.randn(4, 3, 32, 32), torch.rand(4, 3).softmax(1)
    best = weights.topk(1)
    opened = weights if gate == "all" else (best.values, best.indices)
    results = []
    for plan in ("factored", "fused"):
        model = small_vit(plan)
        y = output(model, x, opened)
        assert {layer.last_plan for layer in adapted_layers(model).values()} == {plan}
        results.append([y.detach(), *torch.autograd.grad(y.square().sum(), list(model.parameters()))])
    for one, other in zip(*results, strict=True):
        close(one, other, 1e-5)


@pytest.mark.parametrize("name", ["linear", "1x1, channels last"])
def test_compiled_in_one_piece(name):
    layer, x, gate, _, asked = layer_of(name)
    torch.compiler.reset()
    graphs = []
    compiled = torch.compile(layer, backend=lambda graph, _: graphs.append(graph) or graph, fullgraph=True)
    expected = output(layer, x, gate)
    with torch.no_grad():
        close(output_of(compiled, layer, x, gate), expected, 1e-6)
    assert "mola.gated_rows" in graphs[0].print_readable(print_output=False)
    torch.compiler.reset()
    y = output_of(torch.compile(layer, backend="aot_eager", fullgraph=True), layer, x, gate)
    for one, other in zip([y, *gradients(y, asked)], [expected, *gradients(expected, asked)], strict=True):
        close(one, other.detach(), 1e-6)


def output_of(compiled, layer, x, gate):
    with mola.gate(layer, gate), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return compiled(x)


def test_what_can_be_forced():
    gate = as_gate(torch.rand(3, 4), 4, CPU)
    assert dispatch.applicable(LAYERS["linear"]()[0], gate) == ("factored", "fused", "stacked", "merged")
    assert "fused" not in dispatch.applicable(LAYERS["linear"]()[0], as_gate(torch.tensor([0, 1, 2]), 4, CPU))
    layer, x, *_ = layer_of("linear")
    layer.plan = None
    output(layer, x, torch.rand(3, 4))
    assert layer.last_plan == "factored"


def test_other_precisions_are_refused():
    layer, x, gate, *_ = layer_of("linear")
    with pytest.raises(BadInput, match="plan: fused computes in float32, bfloat16 and float16, found float64"):
        output(layer.double(), x.double(), gate)
