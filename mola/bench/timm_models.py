"""Workloads of any timm model: its image size, and which of its layers can have adapters."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from mola.bench.workloads import Workload
from mola.layers.adapter import is_same_padded, largest_rank
from mola.layers.frozen import is_frozen
from mola.layers.weight_reads import reader_of
from mola.registry import did_you_mean
from mola.types import BadInput, Rank

BATCH, RANK = 8, 4


def timm_workload(
    name: str, named: Iterable[str], batch: int | None, size: int | None, where: str | None, rank: Rank | None
) -> Workload:
    """A timm model with random weights, at its own image size unless ``size`` is given.

    named: the workloads that have names of their own, for the message.
    where: by default all convolutions and linear layers that adapters of this rank fit, but for the classifier.
    Raises BadInput for an unknown name, and for a batch or size that the model does not take.
    """
    import timm

    if not timm.is_model(name):
        known = [*named, *timm.list_models()]
        wish = f"a timm model, or one of {', '.join(named)}"
        raise BadInput(f"--model: expected {wish}, found '{name}'{did_you_mean(name, known)}")
    config = timm.models.get_pretrained_cfg(name)
    side = size or (config.input_size[-1] if config else 224)
    options: tuple[tuple[str, Any], ...] = ()
    if size is not None and config and config.fixed_input_size:
        options = (("img_size", size),)
    work = Workload(name, batch or BATCH, side, where or ".*", RANK if rank is None else rank, options)
    model, observed = _checked(work)
    if where is not None:
        return work
    heads = config.classifier if config else ()
    least = min(work.rank.values()) if isinstance(work.rank, Mapping) else work.rank
    fit = {name for name, layer in observed.items() if adaptable(model, name, layer, least)}
    for head in [heads] if isinstance(heads, str) else heads:
        fit = {name for name in fit if name != head and not name.startswith(f"{head}.")}
    if not fit:
        raise BadInput(f"--rank: expected one that fits a layer of {name}, found {least}")
    return replace(work, where=pattern(fit, _layers(model)))


def adaptable(model: nn.Module, name: str, layer: nn.Module, rank: int) -> bool:
    """Whether an adapter of this rank fits the layer exactly. Grouped convolutions are left out: adapters of low rank
    join their groups at full cost.
    """
    if isinstance(layer, nn.Conv2d):
        square = layer.kernel_size[0] == layer.kernel_size[1]
        fits = (type(layer) is nn.Conv2d or is_same_padded(layer)) and square and layer.groups == 1
    else:
        fits = type(layer) is nn.Linear
    return fits and largest_rank(layer) >= rank and not is_frozen(layer) and reader_of(model, name) is None


def pattern(names: Iterable[str], of: Iterable[str]) -> str:
    """An expression that matches these names of ``of`` and no other; numbers stand for all of their kind where that is
    so.
    """
    names, of = set(names), list(of)
    expressions: dict[str, None] = {}
    for name in sorted(names):
        short = re.sub(r"\d+", r"\\d+", re.escape(name))
        exact = all(other in names for other in of if re.fullmatch(short, other))
        expressions[short if exact else re.escape(name)] = None
    return "|".join(expressions)


def _layers(model: nn.Module) -> dict[str, nn.Conv2d | nn.Linear]:
    return {name: layer for name, layer in model.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)}


def _checked(work: Workload) -> tuple[nn.Module, dict[str, nn.Module]]:
    """The model, once it took images of that size in a training batch, and its layers that saw each image as one row.

    Raises BadInput.
    """
    # two images tell what a larger batch would
    images = min(work.batch, 2)
    observed: dict[str, nn.Module] = {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = work.plain(10)
        hooks = [
            layer.register_forward_pre_hook(_look(observed, name, images)) for name, layer in _layers(model).items()
        ]
        with torch.no_grad():
            answer = model(torch.randn(images, 3, work.size, work.size))
    except (AssertionError, RuntimeError, TypeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        wish = f"that {work.model} takes in training, found {work.batch} of {work.size} pixels: {reason}"
        raise BadInput(f"--batch, --size: expected images {wish}") from None
    for hook in hooks:
        hook.remove()
    if not isinstance(answer, torch.Tensor) or answer.shape != (images, 10):
        raise BadInput(f"--model: expected a classifier, found '{work.model}', which gives something else")
    return model, observed


def _look(observed: dict[str, nn.Module], name: str, images: int) -> Callable[[nn.Module, tuple[Any, ...]], None]:
    def hook(layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        if inputs[0].shape[0] == images:
            observed[name] = layer

    return hook
