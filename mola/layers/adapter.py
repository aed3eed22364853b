"""Convolution and linear layers with a shared weight and E low-rank adapters, all trained together.

Source: arXiv 2406.09679, Section 3; the convolution's parameterisation is that of loralib (Hu et al. 2022, arXiv
2106.09685).
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn import Parameter

from mola.layers.gate_kinds import Gate
from mola.layers.gates import GateSlot
from mola.layers.plans import dispatch
from mola.layers.plans.operations import Convolve, Multiply, no_autocast
from mola.types import BadInput, Factorisation, Plan

Shape = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class MergedWeight:
    """What ``mola.merge`` did to a layer's weight.

    title: which expert, or which mixture, was added, in words.
    added: the number of that expert, or the weights (E,) of the mixture.
    kept:  the weight before.
    """

    title: str
    added: int | Tensor
    kept: Tensor


class LowRank(nn.Module):
    """What both layers have.

    weight:        the plain layer's parameter: shared by all samples and trainable.
    bias:          the plain layer's.
    A, B:          the E adapters, stacked over experts.
    slot:          where the open gate lies.
    plan:          the execution plan that is forced; None chooses by :func:`mola.layers.plans.dispatch.choose`.
    last_plan:     what ran last.
    merged:        what ``mola.merge`` did to the weight; then the layer is a plain one.
    """

    weight: Tensor
    bias: Tensor | None
    A: Tensor
    B: Tensor
    experts: int
    rank: int
    alpha: float
    slot: GateSlot
    plan: Plan | None = None
    last_plan: Plan | None = None
    merged: MergedWeight | None = None

    def _take_over(
        self, layer: nn.Conv2d | nn.Linear, experts: int, rank: int, alpha: float, a: Shape, b: Shape
    ) -> None:
        """Use the parameters of a plain layer, and start adapters of shapes ``a`` and ``b``: A uniform within
        ±1/√fan-in, which is Kaiming-uniform with a = √5 of one expert's matrix; B zero.
        """
        self.weight, self.bias, self.training = layer.weight, layer.bias, layer.training
        self.experts, self.rank, self.alpha, self.slot = experts, rank, alpha, GateSlot(experts)
        self.A, self.B = Parameter(self.weight.new_empty(a)), Parameter(self.weight.new_empty(b))
        self.reset_adapters()

    @torch.no_grad()
    def reset_adapters(self) -> None:
        """Start the adapters anew: A uniform within ±1/√fan-in, B zero."""
        bound = self.A.shape[2] ** -0.5
        self.A.uniform_(-bound, bound)
        self.B.zero_()

    def reset_parameters(self) -> None:
        """The plain layer's, and the adapters': what deferred initialisation calls after ``to_empty``."""
        super().reset_parameters()  # type: ignore[misc]
        # the plain layer's constructor calls it, before there are adapters
        if "A" in self._parameters:
            self.reset_adapters()

    def __setattr__(self, name: str, value: Any) -> None:
        """Refuse another weight, which the adapters would not follow, from anyone but torch (which swaps parameters for
        FSDP, pruning …) and this package. ``fuse_conv_bn_eval`` is the exception there: it scales W alone.
        """
        if name == "weight" and isinstance(value, Parameter) and "A" in vars(self).get("_parameters", {}):
            caller = sys._getframe(1).f_globals.get("__name__", "")
            if not caller.startswith(("torch.", "mola.")) or caller == "torch.nn.utils.fusion":
                raise BadInput(
                    f"weight: expected no other weight for an adapted {type(self).__name__}, whose adapters would not "
                    "follow; change it in place under torch.no_grad(), or export an expert first"
                )
        super().__setattr__(name, value)

    def delta(self) -> Tensor:
        """ΔW of every expert, α/r included: (E, *weight.shape). Autocast has no effect: it would round small updates
        away.
        """
        with no_autocast(self.weight):
            product = torch.bmm((self.alpha / self.rank) * self.B, self.A)
            return product.view(self.experts, *self.weight.shape)

    def gate(self, size: int) -> Gate:
        """The open gate, for this many samples. Raises RuntimeError where there is none, BadInput where it is for
        another number.
        """
        gate = self.slot.current()
        if gate is None:
            raise RuntimeError("an adapted model needs an open gate: call it inside `with mola.gate(model, gate):`")
        if gate.size != size:
            raise BadInput(
                f"gate: expected one entry per sample, found {gate.size} for {size} of a {type(self).__name__} "
                "(a layer behind a reshape that merges samples with positions can't be adapted)"
            )
        return gate

    def extra_repr(self) -> str:
        """The plain layer's, then experts, rank and α."""
        merged = "" if self.merged is None else f", merged={self.merged.title}"
        adapters = f"experts={self.experts}, rank={self.rank}, alpha={self.alpha:g}"
        return f"{super().extra_repr()}, {adapters}{merged}"

    def _save_to_state_dict(self, *args: Any, **kwargs: Any) -> None:
        if self.merged is not None:
            raise BadInput("state_dict: the model is merged, which a state can't tell; unmerge it first, or export it")
        super()._save_to_state_dict(*args, **kwargs)

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        if self.merged is not None:
            raise BadInput("load_state_dict: the model is merged, so the weights would be mixed up; unmerge it first")
        super()._load_from_state_dict(*args, **kwargs)

    def _replicate_for_data_parallel(self) -> Any:
        replica = super()._replicate_for_data_parallel()  # type: ignore[no-untyped-call]
        # Replicas run in threads: each opens a gate of its own, inside its forward.
        replica.slot = GateSlot(self.experts)
        return replica


class LowRankConv2d(LowRank, nn.Conv2d):
    """y_i = (W + Σ_e γ_ie ΔW_e) * x_i + b, with k × k kernels.

    weight: (C_out, C_in/groups, k, k).
    "loralib" (the paper's): A (E, r·k, C_in·k), B (E, C_out/groups·k, r·k), ΔW_e = reshape(B_e A_e, W.shape) · α/r.
        The row-major reshape mixes the axes for k > 1: the update is no sequence of two convolutions, and its rank is
        r·k², not r.
    "two_conv" (PEFT's): A (E, r, C_in/groups·k·k), B (E, C_out, r), ΔW_e[o] = Σ_s B_e[o, s] A_e[s] · α/r.
    A starts Kaiming-uniform with a = √5 per expert, B at zero: a fresh layer computes what the convolution did.
    """

    def __init__(
        self, conv: nn.Conv2d, experts: int, rank: int, alpha: float = 16.0, factorisation: Factorisation = "loralib"
    ) -> None:
        """Take over the parameters of ``conv``. Raises BadInput for a rank above :func:`largest_rank` and for a kernel
        that ``factorisation`` doesn't take.
        """
        _check(conv, experts, rank, alpha, largest_rank(conv, factorisation))
        if factorisation == "loralib" and conv.kernel_size[0] != conv.kernel_size[1]:
            raise BadInput(f"loralib: expected a square kernel, found {conv.kernel_size}; two_conv takes it")
        same = {key: getattr(conv, key) for key in ("stride", "padding", "dilation", "groups", "padding_mode")}
        sizes, biased = (conv.in_channels, conv.out_channels, conv.kernel_size), conv.bias is not None
        super().__init__(*sizes, bias=biased, device="meta", **same)  # type: ignore[arg-type]
        self.factorisation, self.dynamic_same = factorisation, is_same_padded(conv)
        k, outputs, flat = conv.kernel_size[0], conv.out_channels, conv.weight[0].numel()
        if factorisation == "loralib":
            a, b = (experts, rank * k, conv.in_channels * k), (experts, outputs // conv.groups * k, rank * k)
        else:
            a, b = (experts, rank, flat), (experts, outputs, rank)
        self._take_over(conv, experts, rank, alpha, a, b)

    def pad(self, x: Tensor) -> tuple[Tensor, tuple[int, ...]]:
        """The input, padded where a convolution can't do it itself, and the padding that is left to it."""
        if self.dynamic_same:
            return F.pad(x, _same_padding(x, self)), (0, 0)
        if self.padding_mode != "zeros":
            return F.pad(x, self._reversed_padding_repeated_twice, mode=self.padding_mode), (0, 0)
        if self.padding == "same":
            left, right, top, bottom = self._reversed_padding_repeated_twice
            if (top, left) == (bottom, right):
                return x, (top, left)
            return F.pad(x, [left, right, top, bottom]), (0, 0)
        return x, (0, 0) if isinstance(self.padding, str) else self.padding

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) → (B, C_out, H', W'), under an open gate."""
        if x.dim() != 4:
            raise BadInput(f"LowRankConv2d: expected an input (B, C, H, W), found {tuple(x.shape)}")
        gate = None if self.merged is not None else self.gate(x.shape[0])
        x, padding = self.pad(x)
        operation = Convolve(self.stride, padding, self.dilation, self.groups)
        if gate is None:
            return operation(x, self.weight, self.bias)
        return self.slot.count_backward(dispatch.run(self, operation, x, gate))

    def extra_repr(self) -> str:
        """The convolution's, then experts, rank, α and the factorisation."""
        return f"{super().extra_repr()}, factorisation={self.factorisation}"


class LowRankLinear(LowRank, nn.Linear):  # type: ignore[misc]
    """y_i = (W + Σ_e γ_ie ΔW_e) x_i + b; A (E, r, C_in), B (E, C_out, r), ΔW_e = B_e A_e · α/r."""

    def __init__(self, linear: nn.Linear, experts: int, rank: int, alpha: float = 16.0) -> None:
        """Take over the parameters of ``linear``. Raises BadInput for a rank above min(C_in, C_out)."""
        _check(linear, experts, rank, alpha, largest_rank(linear))
        super().__init__(linear.in_features, linear.out_features, linear.bias is not None, device="meta")
        a, b = (experts, rank, linear.in_features), (experts, linear.out_features, rank)
        self._take_over(linear, experts, rank, alpha, a, b)

    def forward(self, x: Tensor) -> Tensor:
        """(B, …, C_in) → (B, …, C_out), under an open gate; the gate counts along the first axis."""
        if self.merged is not None:
            return super().forward(x)
        gate = self.gate(x.shape[0])
        flat = x.reshape(x.shape[0], math.prod(x.shape[1:-1]), x.shape[-1])
        y = dispatch.run(self, Multiply(), flat, gate)
        return self.slot.count_backward(y.view(*x.shape[:-1], self.out_features))


def adapted_layers(model: nn.Module) -> dict[str, LowRank]:
    """The adapted layers of a model by name; a layer that has two names stands under both."""
    return {name: m for name, m in model.named_modules(remove_duplicate=False) if isinstance(m, LowRank)}


def adapter_parameters(model: nn.Module) -> list[Parameter]:
    """What A and B of a model's adapted layers are made of: themselves, or what they are parametrised by."""
    layers = [module for module in model.modules() if isinstance(module, LowRank)]
    return [p for layer in layers for p in layer.parameters() if p is not layer.weight and p is not layer.bias]


def largest_rank(layer: nn.Module, factorisation: Factorisation = "loralib") -> int:
    """The largest rank that a layer can have, from which on an adapter would be a full matrix."""
    if isinstance(layer, nn.Linear):
        return min(layer.in_features, layer.out_features)
    assert isinstance(layer, nn.Conv2d)
    if factorisation == "two_conv":
        return min(layer.out_channels, layer.weight[0].numel())
    return min(layer.in_channels, layer.out_channels // layer.groups)


def is_same_padded(conv: nn.Conv2d) -> bool:
    """Whether it is timm's ``Conv2dSame``, which pads by the size of its input. By name: timm takes seconds to
    import.
    """
    return type(conv).__name__ == "Conv2dSame" and type(conv).__module__.startswith("timm.")


def check_number(key: str, value: object, low: int, high: int | None = None) -> None:
    """Raise BadInput for what is no whole number from ``low`` to ``high``."""
    if not isinstance(value, int) or isinstance(value, bool) or value < low or (high is not None and value > high):
        wish = f"at least {low}" if high is None else f"{low} to {high} for this layer"
        raise BadInput(f"{key}: expected {wish}, found {value!r}")


def check_alpha(alpha: object) -> None:
    """Raise BadInput for what is no positive number."""
    is_number = isinstance(alpha, int | float) and not isinstance(alpha, bool)
    if not is_number or not 0 < alpha < math.inf:  # type: ignore[operator]
        raise BadInput(f"alpha: expected a positive number, found {alpha!r}")


def _check(layer: nn.Module, experts: int, rank: int, alpha: float, largest: int) -> None:
    check_number("experts", experts, 1)
    check_number("rank", rank, 1, largest)
    check_alpha(alpha)
    weight = layer.weight
    if not weight.is_floating_point():  # type: ignore[operator]
        kind = str(weight.dtype).removeprefix("torch.")
        raise BadInput(f"adapt: expected a weight of real floating-point numbers, found {kind}")


def _same_padding(x: Tensor, conv: nn.Conv2d) -> list[int]:
    """left, right, top, bottom, as TensorFlow's "same": the output has ⌈size/stride⌉ positions."""
    padding: list[int] = []
    for axis in (1, 0):
        size, k, stride, dilation = x.shape[2 + axis], conv.kernel_size[axis], conv.stride[axis], conv.dilation[axis]
        total = max((-(-size // stride) - 1) * stride + (k - 1) * dilation + 1 - size, 0)
        padding += [total // 2, total - total // 2]
    return padding
