"""The stages of a backbone, and forward passes that stop at them.

Names, widths and strides are timm's own (``feature_info``); nothing is known about any family.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from mola.types import BadInput

PARTS = 4  # of a backbone that is one column of equal blocks, and the usual number of stages of the others
STEM = 4  # the stride that ends the stem
FROZEN = "frozen_stages"  # a backbone's attribute: how many of its first stages are frozen


@dataclass(frozen=True)
class Stage:
    """A stage of a backbone: the module whose output ends it, how many channels that has, and its stride in pixels."""

    name: str
    channels: int
    stride: int


def stages(backbone: nn.Module) -> list[Stage]:
    """The stages of a timm model that are not frozen, in the order in which they run: a method that joins or parts
    between stages leaves those alone which stay as they are. Raises BadInput where there is none.
    """
    result = every_stage(backbone)
    if getattr(backbone, FROZEN, 0) == len(result):
        message = f"expected at most {len(result) - 1} for a method that works between stages, found {len(result)}"
        raise BadInput(f"backbone.freeze_stages: {message}")
    return result[getattr(backbone, FROZEN, 0) :]


def every_stage(backbone: nn.Module) -> list[Stage]:
    """The stages of a timm model, frozen ones too.

    What comes before a stride of 4 is the stem and belongs to the first stage. A column of equal blocks (a plain vision
    transformer) is cut into four parts. What comes behind the last stage (norm, last convolution, pooling) is no stage.
    Raises BadInput for a model whose stages timm does not name.
    """
    feature_info = getattr(backbone, "feature_info", None)
    if not feature_info:
        raise BadInput(f"backbone.name: expected a model with stages; timm names none of {title(backbone)}")
    result = [
        Stage(entry["module"], entry["num_chs"], entry["reduction"])
        for entry in (feature_info if isinstance(feature_info, list) else feature_info.info)
    ]
    result = [stage for stage in result if stage.stride >= STEM] or result
    if len(result) > PARTS and len({(stage.channels, stage.stride) for stage in result}) == 1:
        result = [result[(part + 1) * len(result) // PARTS - 1] for part in range(PARTS)]
    modules = dict(backbone.named_modules())
    for stage in result:
        if not stage.name or not _is_called(modules.get(stage.name)):
            raise BadInput(
                f"backbone.name: expected stages that are modules; of {title(backbone)}, '{stage.name}' is none"
            )
    return result


def title(backbone: nn.Module) -> str:
    """timm's name of a backbone, for messages."""
    config = getattr(backbone, "pretrained_cfg", None) or {}
    return str(config.get("architecture") or type(backbone).__name__)


@contextmanager
def at_stages(backbone: nn.Module, on_output: Callable[[int, Tensor], Tensor | None]) -> Iterator[None]:
    """``with at_stages(backbone, on_output): y = backbone(x)`` calls ``on_output(i, output)`` as stage i ends.

    What that returns, unless None, takes the output's place.
    """

    def hook(number: int) -> Callable[[nn.Module, Any, Any], Any]:
        return lambda module, args, output: on_output(number, _tensor(backbone, output))

    handles = [
        backbone.get_submodule(stage.name).register_forward_hook(hook(number))
        for number, stage in enumerate(stages(backbone))
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@dataclass(frozen=True)
class PausedPass:
    """Where a forward pass stands: before the first stage, between two, or at its end.

    value:       the images at the start, then what the last stage gave, at the end the backbone's features.
                 :meth:`with_value` puts another in its place; it may have other rows.
    stages_done: how many stages have run.
    outputs:     what each module on the way gave, in the order of the calls.
    """

    value: Tensor
    stages_done: int
    image: Tensor
    outputs: tuple[Any, ...]

    def with_value(self, value: Tensor) -> PausedPass:
        """The same place in the pass with another value."""
        return replace(self, value=value, image=value) if self.stages_done == 0 else replace(self, value=value)


def start_pass(x: Tensor) -> PausedPass:
    """(B, C, H, W) → the start of a pass."""
    return PausedPass(x, 0, x, ())


def run_stage(backbone: nn.Module, paused: PausedPass, cuts: Sequence[Stage] | None = None) -> PausedPass:
    """Run the next stage, or behind the last one the rest. ``paused`` may come from another backbone of the same kind.

    cuts: what :func:`stages` gives, to save finding it again.

    The model's own forward runs, in which each module that has run before hands out what it gave then: no module and no
    hook runs twice, and what the forward does between modules (adding positions, reshaping) is kept, whatever it is.
    Raises BadInput where a stage gives no tensor.
    """
    cuts = stages(backbone) if cuts is None else cuts
    known = (*paused.outputs[:-1], paused.value) if paused.stages_done else ()
    stop = backbone.get_submodule(cuts[paused.stages_done].name) if paused.stages_done < len(cuts) else None
    log: list[Any] = []

    def patched(module: nn.Module, call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            output = known[len(log)] if len(log) < len(known) else call(*args, **kwargs)
            log.append(output)
            if module is stop:
                raise _StopAtStage
            return output

        return run

    units = _units(backbone, [stage.name.split(".") for stage in cuts])
    try:
        for unit in units:
            unit._call_impl = patched(unit, unit._call_impl)  # type: ignore[method-assign]  # forward with its hooks
        value = backbone(paused.image)
    except _StopAtStage:
        return PausedPass(_tensor(backbone, log[-1]), paused.stages_done + 1, paused.image, tuple(log))
    finally:
        for unit in units:
            unit.__dict__.pop("_call_impl", None)
    return PausedPass(value, paused.stages_done + 1, paused.image, ())


class _StopAtStage(Exception):  # no error: it leaves the forward that it interrupts
    pass


def _units(module: nn.Module, cuts: list[list[str]]) -> list[nn.Module]:
    """The largest modules that are called and hold no cut inside; the cuts are among them."""
    units: dict[nn.Module, None] = {}
    for name, child in module.named_children():
        inside = [path[1:] for path in cuts if path[0] == name and len(path) > 1]
        if inside or not _is_called(child):
            units |= dict.fromkeys(_units(child, inside))
        else:
            units[child] = None
    return list(units)


def _is_called(module: nn.Module | None) -> bool:
    """Not so a ``nn.ModuleList``, unless a subclass has a forward."""
    return module is not None and type(module).forward is not nn.Module.forward


def _tensor(backbone: nn.Module, output: object) -> Tensor:
    if not isinstance(output, Tensor):
        kind = type(output).__name__
        raise BadInput(f"backbone.name: expected stages that give a tensor; those of {title(backbone)} give {kind}")
    return output
