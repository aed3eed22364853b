"""Give a model low-rank adapters, in place, by the names of its modules."""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Mapping
from typing import Literal, TypeVar

from torch import nn

from mola.layers.adapter import LowRank, LowRankConv2d, LowRankLinear, adapted_layers, is_same_padded, largest_rank
from mola.layers.frozen import is_frozen
from mola.layers.gates import GateSlot
from mola.layers.hooks import move_hooks
from mola.layers.norms import TaskBatchNorm
from mola.layers.plans.dispatch import as_plan
from mola.types import BadInput, Factorisation, Plan, Rank

log = logging.getLogger(__name__)
Model = TypeVar("Model", bound=nn.Module)


def adapt(
    model: Model,
    *,
    experts: int,
    rank: Rank,
    alpha: float = 16.0,
    where: str = r".*",
    factorisation: Factorisation = "loralib",
    plan: Plan | Literal["auto"] = "auto",
) -> Model:
    """Replace convolutions and linear layers by ones with E adapters; returns the same model.

    experts:       E, the number of adapters in each layer.
    rank:          r of every layer, or a mapping from regular expressions to ranks: the first that matches the whole
                   name counts.
    where:         regular expression that the whole dotted module name must match, e.g. ``layer[2-4]\\..*conv\\d``.
    factorisation: "loralib", the paper's, or "two_conv", PEFT's; see :class:`LowRankConv2d`.
    plan:          forces one execution plan, see :mod:`mola.layers.plans.dispatch`; all compute the same.

    The shared weights keep their names and values, and stay trainable, so a state of the plain model still loads
    before or, with ``strict=False``, after. Hooks on the replaced layers stay in force.
    Afterwards the model runs under ``mola.gate`` only. Raises BadInput, with nothing changed, for names that match
    nothing, a rank larger than a layer allows, and layers that can't be adapted exactly.
    """
    if adapted_layers(model):
        raise BadInput("adapt: the model has adapters already")
    if factorisation not in ("loralib", "two_conv"):
        raise BadInput(f"factorisation: expected loralib or two_conv, found '{factorisation}'")
    if not isinstance(experts, int) or experts < 1:
        raise BadInput(f"experts: expected at least 1, found {experts!r}")
    layers = _matching(model, where)
    ranks = {name: _rank(name, layer, rank, factorisation) for name, layer in layers.items()}
    slot, forced = GateSlot(experts), as_plan(plan)
    replacements: dict[nn.Module, LowRank] = {}
    for name, layer in layers.items():
        if layer in replacements:
            continue
        adapted: LowRank
        if isinstance(layer, nn.Conv2d):
            adapted = LowRankConv2d(layer, experts, ranks[name], alpha, factorisation)
        else:
            adapted = LowRankLinear(layer, experts, ranks[name], alpha)
        adapted.slot, adapted.plan = slot, forced
        replacements[layer] = adapted
    for plain, adapted in replacements.items():
        move_hooks(plain, adapted)
    for name, layer in layers.items():
        model.set_submodule(name, replacements[layer])
    for module in model.modules():
        if isinstance(module, TaskBatchNorm):
            module.gate_slot = slot
    model.register_forward_pre_hook(slot.sort_inputs, with_kwargs=True)
    model.register_forward_hook(slot.restore_output, always_call=True)
    added = sum(adapted.A.numel() + adapted.B.numel() for adapted in replacements.values())
    rank_list = ", ".join(map(str, sorted(set(ranks.values()))))
    message = "adapted %d layers with %d experts of rank %s: %d parameters added"
    log.info(message, len(replacements), experts, rank_list, added)
    return model


def _matching(model: nn.Module, where: str) -> dict[str, nn.Conv2d | nn.Linear]:
    """The layers to adapt, by name; a layer used under two names is replaced under both."""
    pattern = _compiled(where, "where")
    modules = model.named_modules(remove_duplicate=False)
    candidates = {n: m for n, m in modules if n and isinstance(m, nn.Conv2d | nn.Linear) and not is_frozen(m)}
    chosen = {layer for name, layer in candidates.items() if pattern.fullmatch(name)}
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
        if sum(other.weight is layer.weight for other in set(candidates.values())) > 1:
            raise BadInput(f"where: layer '{name}' shares its weight with another layer; leave it out")
        if not exact or not unchanged or hasattr(layer, "parametrizations"):
            kind = f"{'changed ' if exact else ''}{type(layer).__module__}.{type(layer).__name__}"
            raise BadInput(f"where: layer '{name}' is a {kind}, which can't be adapted exactly; leave it out")
        parent, _, child = name.rpartition(".")
        owner = model.get_submodule(parent)
        if _reads_weight(owner, child):
            raise BadInput(
                f"where: layer '{name}' can't be adapted: {type(owner).__name__} reads its weight past the layer; "
                "leave it out"
            )
    return layers


def _reads_weight(owner: nn.Module, child: str) -> bool:
    """Whether a module's forward uses a child's weight without calling the child, so that adapters would silently have
    no effect: qkv of timm's BEiT, EVA and Swin v2; the fast path of torch's TransformerEncoderLayer in evaluation.
    """
    try:
        source = inspect.getsource(type(owner).forward)
    except (OSError, TypeError):
        return False
    return re.search(rf"self\.{re.escape(child)}\.weight\b(?!\.(dtype|device|shape))", source) is not None


def _rank(name: str, layer: nn.Conv2d | nn.Linear, rank: Rank, factorisation: Factorisation) -> int:
    if isinstance(rank, Mapping):
        chosen = next((r for pattern, r in rank.items() if _compiled(pattern, "rank").fullmatch(name)), None)
        if chosen is None:
            raise BadInput(f"rank: no pattern matches layer '{name}'; it has {', '.join(rank)}")
    else:
        chosen = rank
    largest = largest_rank(layer, factorisation)
    if not isinstance(chosen, int) or not 1 <= chosen <= largest:
        raise BadInput(f"rank: layer '{name}' allows 1 to {largest}, found {chosen!r}")
    if isinstance(layer, nn.Conv2d) and factorisation == "loralib" and layer.kernel_size[0] != layer.kernel_size[1]:
        raise BadInput(
            f"where: layer '{name}' has a {layer.kernel_size} kernel; loralib needs a square one, or take two_conv"
        )
    return chosen


def _compiled(pattern: str, key: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise BadInput(f"{key}: '{pattern}' is no regular expression: {error}") from None
