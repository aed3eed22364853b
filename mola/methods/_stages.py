"""What methods share that stop several backbones between their stages."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import Parameter

from mola.models.stages import PausedPass, Stage, run_stage


def advance(backbone: nn.Module, paused: PausedPass, done: int, cuts: Sequence[Stage]) -> PausedPass:
    """Run on until ``done`` stages have ended; one more than there are is the end of the pass."""
    while paused.stages_done < done:
        paused = run_stage(backbone, paused, cuts)
    return paused


def channel_axis(backbone: nn.Module, value: Tensor) -> int:
    """Where a stage's output has its channels: 1 for (B, C, h, w), −1 for (B, h, w, C) and tokens (B, n, C)."""
    return 1 if value.dim() == 4 and getattr(backbone, "output_fmt", "NCHW") == "NCHW" else -1


def parameters_after(backbone: nn.Module, stage: Stage) -> list[Parameter]:
    """The parameters that a forward pass meets only after a stage has ended.

    Parameters that stand directly in a module with children (a class token, positions) are before all stages.
    """
    return [p for module in modules_after(backbone, stage) for p in module.parameters()]


def modules_after(backbone: nn.Module, stage: Stage) -> list[nn.Module]:
    """The modules that a forward pass meets only after a stage has ended; they are taken to run in the order of their
    registration, as timm's do.
    """
    after: list[nn.Module] = []
    module = backbone
    for part in stage.name.split("."):
        names = [name for name, _ in module.named_children()]
        after += [module.get_submodule(later) for later in names[names.index(part) + 1 :]]
        module = module.get_submodule(part)
    return after
