"""Give a model low-rank adapters, in place, by the names of its modules."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from typing import Literal, TypeVar

from torch import nn

from mola.layers.adapter import (
    LowRank,
    LowRankConv2d,
    LowRankLinear,
    adapted_layers,
    check_alpha,
    check_number,
    is_same_padded,
    largest_rank,
)
from mola.layers.frozen import is_frozen
from mola.layers.fusing import forbid_fusing
from mola.layers.gates import GateSlot
from mola.layers.hooks import move_hooks
from mola.layers.norms import TaskBatchNorm
from mola.layers.plans.dispatch import as_plan
from mola.layers.weight_reads import reader_of
from mola.types import BadInput, Factorisation, Plan, Rank

log = logging.getLogger(__name__)
Model = TypeVar("Model", bound=nn.Module)
# with weights that a name under `where` could mean, and that are not adapted
OTHER_KINDS = (nn.Conv1d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d, nn.Bilinear)


def adapt(
    model: Model,
    *,
    experts: int | Sequence[str],
    rank: Rank,
    alpha: float = 16.0,
    where: str | Sequence[str] = r".*",
    factorisation: Factorisation = "loralib",
    plan: Plan | Literal["auto"] = "auto",
) -> Model:
    """Replace convolutions and linear layers by ones with E adapters; returns the same model.

    experts:       E, the number of adapters in each layer; or the names of the experts, such as those of tasks, which
                   ``mola.gate``, ``mola.merge`` and ``mola.export`` then take, too.
    rank:          r of every layer, or a mapping from regular expressions to ranks: the first that matches the whole
                   name counts.
    where:         regular expression that the whole dotted module name must match, e.g. ``layer[2-4]\\..*conv\\d``;
                   or a list of them, of which one must match.
    alpha:         α, a positive number: an update is ΔW_e = α/r · B_e A_e.
    factorisation: "loralib", the paper's, or "two_conv", PEFT's; see :class:`LowRankConv2d`.
    plan:          forces one execution plan, see :mod:`mola.layers.plans.dispatch`; all compute the same.

    The shared weights keep their names and values, and stay trainable, so a state of the plain model still loads
    before or, with ``strict=False``, after. Hooks on the replaced layers stay in force.
    Afterwards the model runs under ``mola.gate`` only. All experts of a layer are one parameter, so an optimiser with
    momentum or weight decay also moves an expert that no sample of a batch chose.
    Raises BadInput, with nothing changed, for names that match nothing, a rank larger than a layer allows, and layers
    that can't be adapted exactly: of another class, with a weight that something else computes or shares, or that
    something reads past the layer.
    """
    if adapted_layers(model):
        raise BadInput("adapt: the model has adapters already")
    if factorisation not in ("loralib", "two_conv"):
        raise BadInput(f"factorisation: expected loralib or two_conv, found '{factorisation}'")
    number, names = _experts(experts)
    check_alpha(alpha)
    layers = _matching(model, where)
    ranks = {name: _rank(name, layer, rank, factorisation) for name, layer in layers.items()}
    slot, forced = GateSlot(number, names), as_plan(plan)
    replacements: dict[nn.Module, LowRank] = {}
    for name, layer in layers.items():
        if layer in replacements:
            continue
        adapted: LowRank
        if isinstance(layer, nn.Conv2d):
            adapted = LowRankConv2d(layer, number, ranks[name], alpha, factorisation)
        else:
            adapted = LowRankLinear(layer, number, ranks[name], alpha)
        adapted.slot, adapted.plan = slot, forced
        replacements[layer] = adapted
    for plain, adapted in replacements.items():
        move_hooks(plain, adapted)
    for name, layer in layers.items():
        model.set_submodule(name, replacements[layer])
    for module in model.modules():
        if isinstance(module, TaskBatchNorm):
            module.gate_slot = slot
    model.register_forward_pre_hook(slot.check_inputs, with_kwargs=True)
    for module in model.modules():
        if not getattr(module, "batch_first", True):
            module.register_forward_pre_hook(slot.check_batch_first, with_kwargs=True)
        if adapted_layers(module):
            forbid_fusing(module)
    added = sum(adapted.A.numel() + adapted.B.numel() for adapted in replacements.values())
    rank_list = ", ".join(map(str, sorted(set(ranks.values()))))
    message = "adapted %d layers with %d experts of rank %s: %d parameters added"
    log.info(message, len(replacements), number, rank_list, added)
    return model


def _experts(experts: object) -> tuple[int, tuple[str, ...] | None]:
    """How many experts there are, and their names."""
    if isinstance(experts, Sequence) and not isinstance(experts, str):
        names = tuple(experts)
        if not names or not all(isinstance(name, str) and name for name in names) or len(set(names)) < len(names):
            raise BadInput(f"experts: expected names that all differ, found {list(names)}")
        return len(names), names
    check_number("experts", experts, 1)
    assert isinstance(experts, int)
    return experts, None


def _matching(model: nn.Module, where: str | Sequence[str]) -> dict[str, nn.Conv2d | nn.Linear]:
    """The layers to adapt, by name; a layer used under two names is replaced under both."""
    patterns = [_compiled(each, "where") for each in ([where] if isinstance(where, str) else where)]
    modules = {name: module for name, module in model.named_modules(remove_duplicate=False) if name}
    candidates = {n: m for n, m in modules.items() if isinstance(m, nn.Conv2d | nn.Linear) and not is_frozen(m)}
    chosen = {layer for name, layer in candidates.items() if any(each.fullmatch(name) for each in patterns)}
    for name, module in modules.items():
        if isinstance(module, OTHER_KINDS) and any(each.fullmatch(name) for each in patterns):
            kind = type(module).__name__
            raise BadInput(f"where: layer '{name}' is a {kind}; only Conv2d and Linear can be adapted: leave it out")
    layers = {name: layer for name, layer in candidates.items() if layer in chosen}
    if not layers:
        some = ", ".join(list(candidates)[:4]) or "none"
        raise BadInput(
            f"where: '{where}' matches no convolution or linear layer as a whole name; the model has {some} …"
        )
    for name, layer in layers.items():
        exact = type(layer) in (nn.Conv2d, nn.Linear) or (isinstance(layer, nn.Conv2d) and is_same_padded(layer))
        # Else a hook computes its weight (pruning, torch.nn.utils.weight_norm), or its forward is another's.
        unchanged = layer._parameters.keys() == {"weight", "bias"} and not layer._buffers
        unchanged = unchanged and "forward" not in vars(layer)
        others = (n for n, m in modules.items() if m is not layer and layer.weight in {*m._parameters.values()})
        if (other := next(others, None)) is not None:
            raise BadInput(f"where: layer '{name}' shares its weight with another layer, '{other}'; leave it out")
        if not exact or not unchanged or hasattr(layer, "parametrizations"):
            kind = f"{'changed ' if exact else ''}{type(layer).__module__}.{type(layer).__name__}"
            raise BadInput(f"where: layer '{name}' is a {kind}, which can't be adapted exactly; leave it out")
        if (reader := reader_of(model, name)) is not None:
            raise BadInput(
                f"where: layer '{name}' can't be adapted: {reader} reads its weight past the layer; leave it out"
            )
    return layers


def _rank(name: str, layer: nn.Conv2d | nn.Linear, rank: Rank, factorisation: Factorisation) -> int:
    if isinstance(rank, Mapping):
        chosen = next((r for pattern, r in rank.items() if _compiled(pattern, "rank").fullmatch(name)), None)
        if chosen is None:
            raise BadInput(f"rank: no pattern matches layer '{name}'; it has {', '.join(rank)}")
    else:
        chosen = rank
    largest = largest_rank(layer, factorisation)
    if not isinstance(chosen, int) or isinstance(chosen, bool) or not 1 <= chosen <= largest:
        raise BadInput(f"rank: layer '{name}' allows 1 to {largest}, found {chosen!r}")
    if isinstance(layer, nn.Conv2d) and factorisation == "loralib" and layer.kernel_size[0] != layer.kernel_size[1]:
        raise BadInput(
            f"where: layer '{name}' has a {layer.kernel_size} kernel; loralib needs a square one, or take two_conv"
        )
    return chosen


def _compiled(pattern: str, key: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except TypeError:
        raise BadInput(f"{key}: expected a regular expression, found {pattern!r}") from None
    except re.error as error:
        raise BadInput(f"{key}: '{pattern}' is no regular expression: {error}") from None
