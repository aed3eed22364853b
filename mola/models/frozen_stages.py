"""A backbone whose first stages are frozen, and its two parts: the frozen prefix, and the tail that goes on from there.

Modules are taken to run in the order of their registration, as timm's do.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from mola.layers.frozen import freeze, is_frozen
from mola.models.stages import FROZEN, every_stage, run_stage, start_pass, title
from mola.types import BadInput

TOLERANCE = 1e-4  # of the largest feature


def freeze_stages(backbone: nn.Module, number: int) -> None:
    """Freeze the stem and the first ``number`` stages; :func:`mola.models.stages.stages` then gives the rest alone.

    Raises BadInput where there are not so many.
    """
    cuts = every_stage(backbone)
    if number > len(cuts):
        message = f"expected at most {len(cuts)}, the stages of {title(backbone)}, found {number}"
        raise BadInput(f"backbone.freeze_stages: {message}")
    for parent, names in _prefix(backbone, cuts[number - 1].name):
        for name in names:
            freeze(parent.get_submodule(name))
        # positions and class tokens, which stand beside the modules
        for parameter in parent.parameters(recurse=False):
            parameter.requires_grad_(False)
    setattr(backbone, FROZEN, number)


def prefix_state(backbone: nn.Module) -> dict[str, Tensor]:
    """The parameters and buffers of the frozen modules, by name."""
    return {
        f"{name}.{key}": value.detach()
        for name, module in backbone.named_modules()
        if is_frozen(module)
        for key, value in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False))
    }


def prefix_output(backbone: nn.Module, x: Tensor) -> Tensor:
    """(B, C, H, W) → what the last frozen stage of a backbone gives, (B, C', h, w) of most."""
    last = every_stage(backbone)[getattr(backbone, FROZEN) - 1]
    return run_stage(backbone, start_pass(x), [last]).value


def tail(backbone: nn.Module) -> nn.Module:
    """Turn a backbone with frozen stages, in place, into one that takes the output of the last of them.

    What is frozen becomes ``nn.Identity``; all other modules keep their names.
    """
    last = every_stage(backbone)[getattr(backbone, FROZEN) - 1].name
    for parent, names in _prefix(backbone, last):
        for name in names:
            setattr(parent, name, nn.Identity())
    return backbone


@torch.no_grad()
def check_tail(whole: nn.Module, rest: nn.Module, x: Tensor) -> None:
    """Raise BadInput where a backbone on images ``x`` (B, C, H, W) is not its tail on its prefix's output: something
    happens between its modules, such as the adding of positions.
    """
    whole.eval()
    rest.eval()
    reason = ""
    try:
        expected, actual = whole(x), rest(prefix_output(whole, x))
        if actual.shape != expected.shape:
            reason = f"features of shape {tuple(actual.shape[1:])} instead of {tuple(expected.shape[1:])}"
        elif not float((actual - expected).abs().max()) <= TOLERANCE * float(expected.abs().max()):
            reason = "other features"
    except Exception as error:  # whatever the model's forward does with what it does not expect
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
    if reason:
        message = f"expected a backbone that can go on from its stage {getattr(whole, FROZEN)}"
        raise BadInput(f"backbone.cached_views: {message}, found that {title(whole)} then gives {reason}")


def _prefix(backbone: nn.Module, last: str) -> Iterator[tuple[nn.Module, list[str]]]:
    """The modules on the way to the one of the dotted name ``last``, each with the names of its children up to there,
    the last one among them.
    """
    parent, path = backbone, last.split(".")
    for depth, step in enumerate(path, start=1):
        names = [name for name, _ in parent.named_children()]
        yield parent, names[: names.index(step) + (depth == len(path))]
        parent = parent.get_submodule(step)
