"""What stands for a shared parameter while gradients are split by task: a rule for each function that takes one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._pytree import tree_any, tree_leaves, tree_map

from mola.balancers._rows import NotApplicable, Rows, Rule
from mola.layers.gate_kinds import Gate, IndexGate, WeightGate, as_gate
from mola.layers.plans import dispatch
from mola.layers.plans.operations import Multiply, Operation

if TYPE_CHECKING:
    from mola.balancers._rows import Split

aten = torch.ops.aten
# shape or type of a parameter, not the order of its numbers
VIEWS = {"reshape", "view", "unsqueeze", "squeeze", "flatten", "unflatten", "to", "type", "type_as", "float"}
ELEMENTWISE = {name for op in ("add", "sub", "mul") for name in (op, f"{op}_", f"__{op}__", f"__r{op}__", f"__i{op}__")}


class Splitting(Tensor):
    """A parameter's numbers, without its gradient: functions that take it have their outputs watched.

    number:  of the parameter.
    layer:   the name of the module that has it.
    origin:  the pass whose gradients are split.
    """

    number: int
    layer: str
    origin: Split

    @classmethod
    def of(cls, tensor: Tensor, layer: str, number: int, origin: Split) -> Self:
        """What stands for a parameter, or for a view of it."""
        result: Self = torch.Tensor._make_subclass(cls, tensor.detach())  # type: ignore[attr-defined]
        result.layer, result.number, result.origin = layer or "the model", number, origin
        return result

    @property
    def plain(self) -> Tensor:
        """The numbers."""
        with torch._C.DisableTorchFunctionSubclass():
            return self.as_subclass(Tensor)

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Compute, and see to it that the parameters' gradients are split. Raises NotApplicable for an unknown use."""
        kwargs = kwargs or {}
        with torch._C.DisableTorchFunctionSubclass():
            name, first = getattr(func, "__name__", str(func)), args[0] if args else None
            if (rule := RULES.get(func)) and not isinstance(first, cls):
                return rule(*args, **kwargs)
            if name in ELEMENTWISE and len(args) == 2 and all(isinstance(each, Tensor) for each in args):
                return _elementwise(func, *args, **kwargs)
            if name == "expand" and isinstance(first, cls):
                return _expanded(first, *args[1:])
            result = func(*tree_map(_plain, args), **tree_map(_plain, kwargs))
            if name in VIEWS and isinstance(first, cls):
                return cls.of(result, first.layer, first.number, first.origin)
            if name != "detach" and tree_any(lambda leaf: isinstance(leaf, Tensor), result):
                layer = next(leaf.layer for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, cls))
                raise NotApplicable(f"{layer} computes with a parameter by {name}")
            return result


def _plain(value: Any) -> Any:
    return value.plain if isinstance(value, Splitting) else value


def _watch(y: Tensor, parameters: Sequence[Any], rule: Rule, *kept: Tensor) -> Tensor:
    """``y``, watched for those of the parameters whose gradients are split."""
    split = next(p.origin for p in parameters if isinstance(p, Splitting))
    places = [i for i, p in enumerate(parameters) if isinstance(p, Splitting)]

    def asked(*arguments: Any) -> list[Tensor | None]:
        gradients = rule(*arguments)
        return [gradients[i] for i in places]

    return split.watch(y, [parameters[i].number for i in places], asked, *kept)


def _elementwise(func: Callable[..., Any], left: Tensor, right: Tensor, **kwargs: Any) -> Tensor:
    """A parameter (…) with (B, …), or (1, …) with (B, …): each sample gets a copy of its own, whose gradient is its
    own.
    """
    parameter, other = (left, right) if isinstance(left, Splitting) else (right, left)
    assert isinstance(parameter, Splitting)
    missing, name = other.dim() - parameter.dim(), func.__name__
    if isinstance(other, Splitting) or missing < 0 or (missing == 0 and len(parameter) != 1):
        raise NotApplicable(f"{parameter.layer} computes with a parameter that is not one for all samples")
    in_place = name.startswith("__i") or (name.endswith("_") and not name.startswith("__"))
    if parameter is left and in_place:
        raise NotApplicable(f"{parameter.layer} changes a parameter")
    copies = _copies(parameter, parameter.plain.reshape(*(1,) * missing, *parameter.shape), len(other))
    result: Tensor = func(copies, other, **kwargs) if parameter is left else func(other, copies, **kwargs)
    return result


def _expanded(parameter: Splitting, *sizes: Any) -> Tensor:
    """(1, …) → (B, …)."""
    size = [*sizes[0]] if len(sizes) == 1 and not isinstance(sizes[0], int) else [*sizes]
    if len(size) != parameter.dim() or parameter.shape[0] != 1 or size[0] < 1:
        raise NotApplicable(f"{parameter.layer} expands a parameter that is not one for all samples")
    return _copies(parameter, parameter.plain, size[0]).expand(size)


def _copies(parameter: Splitting, value: Tensor, size: int) -> Tensor:
    """(1, …) → (size, …), one for each sample."""
    copies = value.expand(size, *value.shape[1:])
    if not torch.is_grad_enabled():
        return copies
    # a new view, as the gradient of a leaf is watched
    return parameter.origin.watch(copies.detach().requires_grad_(), [parameter.number], _summed)


def _summed(rows: Rows, grad: Tensor) -> list[Tensor]:
    return [grad.sum(0)]


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    y = F.linear(x, _plain(weight), _plain(bias))
    return _watch(y, (weight, bias), _linear_rule(bias is not None), x)


def _linear_rule(biased: bool) -> Rule:
    def rule(rows: Rows, grad: Tensor, x: Tensor) -> tuple[Tensor | None, ...]:
        grad = grad.reshape(-1, grad.shape[-1])
        weight = grad.t() @ x.reshape(-1, x.shape[-1]).to(grad.dtype)
        return weight, grad.sum(0) if biased else None

    return rule


def _convolution(axes: int, transposed: bool = False) -> Callable[..., Tensor]:
    """The rule of a convolution over so many axes."""
    function = getattr(F, f"conv_transpose{axes}d" if transposed else f"conv{axes}d")

    def each(value: Any) -> list[int]:
        return [value] * axes if isinstance(value, int) else [*value] * (axes if len(value) == 1 else 1)

    def ordinary(
        x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
        groups: int = 1,
    ) -> Tensor:  # fmt: skip
        y = function(x, _plain(weight), _plain(bias), stride, padding, dilation, groups)
        stride, dilation = each(stride), each(dilation)
        if padding == "same":
            total = [d * (k - 1) for d, k in zip(dilation, weight.shape[2:], strict=True)]
            x = F.pad(x, [side for t in reversed(total) for side in (t // 2, t - t // 2)])
        padding = [0] * axes if isinstance(padding, str) else each(padding)
        settings = (stride, padding, dilation, False, [0] * axes, groups)
        return _watch(y, (weight, bias), _convolution_rule(_plain(weight), bias is not None, settings), x)

    def transposing(
        x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0,
        output_padding: Any = 0, groups: int = 1, dilation: Any = 1,
    ) -> Tensor:  # fmt: skip
        y = function(x, _plain(weight), _plain(bias), stride, padding, output_padding, groups, dilation)
        settings = (each(stride), each(padding), each(dilation), True, each(output_padding), groups)
        return _watch(y, (weight, bias), _convolution_rule(_plain(weight), bias is not None, settings), x)

    return transposing if transposed else ordinary


def _convolution_rule(weight: Tensor, biased: bool, settings: tuple[Any, ...]) -> Rule:
    """settings: stride, padding, dilation, transposed, output_padding, groups."""
    stride, padding, _, transposed, _, groups = settings
    outputs = weight.shape[1] * groups if transposed else weight.shape[0]
    is_product = weight[0, 0].numel() == 1 and groups == 1 and not transposed and not any(padding)

    def rule(rows: Rows, grad: Tensor, x: Tensor) -> tuple[Tensor | None, ...]:
        x = x.to(grad.dtype)
        if is_product:
            # of a few samples, torch's convolution takes a CPU twice as long
            read: tuple[Any, ...] = (..., *(slice(None, None, step) for step in stride))
            x = x[read]
            return by_channel(grad) @ by_channel(x).t(), grad.flatten(2).sum((0, 2)) if biased else None
        _, of_weight, of_bias = aten.convolution_backward(
            grad, x, weight.to(grad.dtype), [outputs] if biased else None, *settings, [False, True, biased]
        )
        return of_weight, of_bias

    return rule


def by_channel(maps: Tensor) -> Tensor:
    """(B, C, …) → (C, B·…)."""
    if maps.stride(1) == 1:
        # channels last: a view
        return maps.movedim(1, -1).reshape(-1, maps.shape[1]).t()
    return maps.transpose(0, 1).reshape(maps.shape[1], -1)


def _layer_norm(
    x: Tensor, shape: Sequence[int], weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    if torch.is_autocast_enabled(x.device.type):
        # as autocast does
        x = x.float()
    w, b = _plain(weight), _plain(bias)
    y, mean, rstd = torch.native_layer_norm(x, shape, w, b, eps)

    def rule(rows: Rows, grad: Tensor, x: Tensor, mean: Tensor, rstd: Tensor) -> Sequence[Tensor | None]:
        requested = [False, w is not None, b is not None]
        gradients: Sequence[Tensor | None] = aten.native_layer_norm_backward(
            grad, x, shape, mean, rstd, w, b, requested
        )
        return gradients[1:]

    return _watch(y, (weight, bias), rule, x, mean, rstd)


def _group_norm(
    x: Tensor, groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    if torch.is_autocast_enabled(x.device.type):
        x = x.float()
    w, b = _plain(weight), _plain(bias)
    channels, positions = x.shape[1], x[0, 0].numel()
    last = x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last)
    layout = torch.channels_last if last else torch.contiguous_format
    x = x.contiguous(memory_format=layout)
    y, mean, rstd = torch.native_group_norm(x, w, b, len(x), channels, positions, groups, eps)

    def rule(rows: Rows, grad: Tensor, x: Tensor, mean: Tensor, rstd: Tensor) -> Sequence[Tensor | None]:
        gradients: Sequence[Tensor | None] = aten.native_group_norm_backward(
            grad.contiguous(memory_format=layout), x, mean, rstd, w, len(x), channels, positions, groups,
            [False, w is not None, b is not None],
        )  # fmt: skip
        return gradients[1:]

    return _watch(y, (weight, bias), rule, x, mean, rstd)


def _adapted(layer: Any, operation: Operation, x: Tensor, gate: Gate) -> Tensor:
    """An adapted layer. Where the adapters are shared, too, each task's part is computed once more, as a checkpoint
    does.
    """
    parameters = layer._parameters
    standing = {key: p for key, p in parameters.items() if isinstance(p, Splitting)}

    def run(values: Mapping[str, Tensor], x: Tensor, gate: Gate) -> Tensor:
        parameters.update(values)
        try:
            return dispatch.run(layer, operation, x, gate)
        finally:
            parameters.update(before)

    before = dict(parameters)
    y = run({key: p.plain for key, p in standing.items()}, x, gate)
    if not {"A", "B"} & standing.keys():
        biased = layer.bias is not None
        if isinstance(operation, Multiply):
            rule = _linear_rule(biased)
        else:
            settings = ([*operation.stride], [*operation.padding], [*operation.dilation], False, [0, 0])
            rule = _convolution_rule(_plain(layer.weight), biased, (*settings, operation.groups))
        return _watch(y, (layer.weight, layer.bias), rule, x)

    split = next(iter(standing.values())).origin
    fixed_gate = gate if isinstance(gate, IndexGate) else _of_samples(gate, Tensor.detach)

    def again(rows: Rows, grad: Tensor, x: Tensor) -> Sequence[Tensor | None]:
        part = _gate_of(fixed_gate, lambda tensor: split.part(tensor, rows), layer.experts, x.device)
        leaves = {key: p.plain.detach().requires_grad_() for key, p in standing.items()}
        with torch.enable_grad():
            y = run(leaves, x, part)
        return torch.autograd.grad(y, [*leaves.values()], grad.to(y.dtype), allow_unused=True)

    return split.watch(y, [p.number for p in standing.values()], again, x)


def _gate_of(gate: Gate, part: Callable[[Tensor], Tensor], experts: int, device: torch.device) -> Gate:
    """The gate of some of the samples."""
    if isinstance(gate, IndexGate):
        return as_gate(part(gate.index), experts, device)
    return _of_samples(gate, part)


def _of_samples(gate: WeightGate, change: Callable[[Tensor], Tensor]) -> WeightGate:
    """The gate with what is of samples changed."""
    chosen = gate.chosen and (change(gate.chosen[0]), change(gate.chosen[1]))
    return WeightGate(change(gate.weights), gate.experts, chosen)


RULES: dict[Callable[..., Any], Callable[..., Tensor]] = {
    F.linear: _linear,
    F.layer_norm: _layer_norm,
    F.group_norm: _group_norm,
    dispatch.run: _adapted,
    **{getattr(F, f"conv{axes}d"): _convolution(axes) for axes in (1, 2, 3)},
    **{getattr(F, f"conv_transpose{axes}d"): _convolution(axes, transposed=True) for axes in (1, 2, 3)},
}
