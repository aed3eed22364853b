"""The plan "fused": its tests in Triton's interpreter, whether GPUs could run its kernel, and where it is refused."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from networks import MODELS
from reference import filled
from torch import nn

import mola
from mola.layers.adapter import LowRankConv2d, LowRankLinear
from mola.layers.gate_kinds import as_gate
from mola.layers.plans import dispatch, fused
from mola.types import BadInput

HAS_TRITON = importlib.util.find_spec("triton") is not None
needs_triton = pytest.mark.skipif(not HAS_TRITON, reason="triton is not installed")
HERE = Path(__file__).parent
GATE = torch.rand(3, 4)


def python(*arguments, **environment):
    settings = {**os.environ, **environment}
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=settings, cwd=HERE)


def forced(layer):
    filled(layer).plan = "fused"
    return layer


def run(layer, x, gate=GATE):
    with mola.gate(layer, gate):
        return layer(x)


@pytest.mark.slow
@needs_triton
def test_in_tritons_interpreter():
    """Triton decides when it is imported whether it interprets, so that takes a process."""
    command = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "--show-capture=no", "interpreted_fused.py")
    process = python(*command, TRITON_INTERPRET="1")
    assert process.returncode == 0, process.stdout
    assert " passed" in process.stdout and "skipped" not in process.stdout


def test_importing_the_layers_imports_no_triton():
    process = python("-c", "import sys, mola.layers.adapt; print('triton' in sys.modules)", TRITON_INTERPRET="1")
    assert process.stdout == "False\n", process.stderr


KINDS = {torch.float32: "*fp32", torch.bfloat16: "*bf16", torch.float16: "*fp16"}
NUMBERS = ["rows", "positions", "inputs", "outputs", "width", "rank", "experts", "weight_by_output", "weight_by_input"]


@needs_triton
@pytest.mark.parametrize(
    ("dtype", "width", "capability"),
    [
        (torch.float32, fused.LARGEST_WIDTH, 80),
        (torch.bfloat16, 16, 80),
        (torch.bfloat16, fused.LARGEST_WIDTH, 90),
        (torch.float16, 64, 90),
    ],
    ids=str,
)
def test_the_kernel_compiles_for_gpus(dtype, width, capability, tmp_path, monkeypatch):
    """Down to a GPU's own code, without a GPU; with what every GPU from this capability on has of shared memory."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, compile

    from mola.layers.plans import triton_rows

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    kernel, sizes = triton_rows.gated_rows_kernel, triton_rows.tiles(width, dtype.itemsize)
    options = {key: sizes.pop(key) for key in ("num_warps", "num_stages")}
    for backward in (False, True):
        # a contiguous weight, or a transposed one, whose short stride is 1 either way; no bias in the backward pass
        short = "weight_by_output" if backward else "weight_by_input"
        constants = {**sizes, "WIDEN": False, short: 1, **({"bias": None} if backward else {})}
        pointers = dict.fromkeys(("x", "weight", "down", "up", "y", "inner"), KINDS[dtype])
        kinds = {**pointers, "bias": "*fp32", "gamma": "*fp32", **dict.fromkeys(NUMBERS, "i32")}
        signature = {name: "constexpr" if name in constants else kinds[name] for name in kernel.arg_names}
        # as for layers whose sides are multiples of 16, so that tiles are copied ahead into shared memory
        aligned = [i for i, name in enumerate(kernel.arg_names) if name not in ("positions", "rank", "experts")]
        attributes = {(i,): [["tt.divisibility", 16]] for i in aligned if kernel.arg_names[i] not in constants}
        source = ASTSource(kernel, signature, constants, attributes)
        compiled = compile(source, GPUTarget("cuda", capability, 32), options)
        assert compiled.asm["cubin"]
        # 99 KiB: of capability 8.6 and 8.9, the least of those from 8.0 on
        assert compiled.metadata.shared <= 99 * 1024


@pytest.fixture
def no_triton(monkeypatch):
    monkeypatch.setitem(sys.modules, "triton", None)
    fused._has_triton.cache_clear()
    yield
    fused._has_triton.cache_clear()


def test_without_triton(no_triton):
    layer = forced(LowRankLinear(nn.Linear(5, 6), 4, 2))
    with pytest.raises(
        BadInput, match=r"plan: fused needs the package triton, .* is not installed: LowRankLinear"
    ) as caught:
        run(layer, torch.randn(3, 2, 5))
    assert "\n" not in str(caught.value)
    assert dispatch.applicable(layer, as_gate(GATE, 4, torch.device("cpu"))) == ("factored", "stacked", "merged")
    layer.plan = None
    assert run(layer, torch.randn(3, 2, 5)).shape == (3, 2, 6)


@needs_triton
def test_on_a_cpu_without_the_interpreter(monkeypatch):
    layer = forced(LowRankLinear(nn.Linear(5, 6), 4, 2))
    message = r"plan: fused runs on CUDA, elsewhere in Triton's interpreter alone \(TRITON_INTERPRET=1\), found cpu"
    with pytest.raises(BadInput, match=message):
        run(layer, torch.randn(3, 2, 5))
    with pytest.raises(BadInput, match=message):
        # what a compiled graph calls
        fused.gated_rows(*(torch.randn(shape) for shape in ((3, 2, 5), (6, 5), (6,), (8, 5), (8, 6), (3, 4))))
    # too late, as Triton was imported without it
    import mola.layers.plans.triton_rows  # noqa: F401

    monkeypatch.setenv("TRITON_INTERPRET", "1")
    with pytest.raises(BadInput, match=message):
        run(layer, torch.randn(3, 2, 5))


@needs_triton
def test_an_old_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert fused.unavailable(torch.device("cuda")) == "needs a GPU of compute capability 8.0, found 7.5"
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (12, 0))
    assert fused.unavailable(torch.device("cuda")) is None


@pytest.mark.parametrize(
    "conv",
    [nn.Conv2d(4, 6, 3), nn.Conv2d(4, 6, 1, groups=2), nn.Conv2d(4, 6, 1, padding=1), nn.Conv2d(4, 6, (1, 3))],
    ids=["3x3", "groups", "padded", "1x3"],
)
def test_other_convolutions(conv):
    layer = forced(LowRankConv2d(conv, 4, 2, factorisation="two_conv"))
    with pytest.raises(BadInput, match="plan: fused takes linear layers, and 1 × 1 convolutions without groups and"):
        run(layer, torch.randn(3, 4, 5, 5))


def test_an_index_and_too_many_columns():
    layer = forced(LowRankLinear(nn.Linear(40, 40), 4, 2))
    with pytest.raises(BadInput, match="takes grouped, separate, stacked, merged with an index gate"):
        run(layer, torch.randn(3, 2, 40), torch.tensor([0, 1, 2]))
    layer = forced(LowRankLinear(nn.Linear(40, 40), 4, 33))
    with pytest.raises(BadInput, match=r"takes at most 128 for experts × rank, found 4 × 33 = 132: LowRankLinear"):
        run(layer, torch.randn(3, 2, 40))


def test_the_choice_is_never_fused(monkeypatch):
    """Its speed was not measured."""
    monkeypatch.setattr(fused, "unavailable", lambda device: None)
    layer = LowRankLinear(nn.Linear(5, 6), 4, 2)
    gate = as_gate(GATE, 4, torch.device("cpu"))
    assert "fused" in dispatch.applicable(layer, gate)
    assert {dispatch.choose(layer, gate, positions) for positions in (1, 100, 10_000)} == {"factored"}


def test_operations_are_counted_without_triton(no_triton):
    """On "meta", where nothing runs: two for each multiplication, forward and twice as many backward."""
    from mola.bench.measure import flops
    from mola.training.flops import flop_counter

    with torch.device("meta"):
        layer, x = LowRankLinear(nn.Linear(40, 50), 4, 2), torch.zeros(3, 7, 40, requires_grad=True)
        gate = torch.zeros(3, 4)
    layer.plan = "fused"
    counted = flops(lambda: torch.autograd.backward(run(layer, x, gate).sum()))
    forward = 2 * 3 * 7 * (40 * 50 + 4 * 2 * (40 + 50))
    assert counted == 3 * forward
    # as a record has it
    with torch.no_grad(), flop_counter() as counter:
        run(layer, x, gate)
    assert counter.get_total_flops() == forward


def test_a_model_that_cannot_have_it_says_so_at_its_first_batch():
    make, where, size = MODELS["resnet18"]
    model = mola.adapt(make(), experts=4, rank=2, where=where, plan="fused")
    with pytest.raises(BadInput, match="plan: fused takes linear layers"):
        run(model, torch.randn(3, 3, size, size))
