"""Methods: how one model serves all tasks. There is one file for each; the file's name is the method's name.

A method knows tasks and a backbone, never the benchmark; the loop knows a method only through :class:`Method`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar, Self

from pydantic import Field, field_validator
from torch import Tensor, nn
from torch.nn import Parameter

from mola.layers.frozen import keep_frozen
from mola.layers.norms import TaskNormBuilder, TaskNorms
from mola.options import Configurable
from mola.options import Options as BaseOptions
from mola.types import Batch, Norm, Output, SearchSpace, Task


class Method(Configurable, nn.Module, ABC):
    """The base of all methods.

    tasks:    the T tasks, in the order that ``Batch.task`` counts.
    backbone: each call builds a new feature extractor (B, C, H, W) → (B, F), or (B, F, h, w) where there are dense
              tasks; ``Heads`` takes both. Build it before anything else, so that methods which run with one seed start
              from the same shared weights.
    options:  an object of the class's ``Options``; ``Shared.create(tasks, backbone)`` builds them from keywords.
    """

    class Options(BaseOptions):
        """A subclass's ``Options`` inherit from its parent's; every default is the paper's."""

        norm: Norm = Field(
            "shared",
            description="the backbone's BatchNorm layers: one for all tasks; or task: each has statistics and "
            "parameters of its own, where every image has one task",
        )
        # why a method has no norm: task
        only_shared_norm: ClassVar[str] = ""

        @field_validator("norm")
        @classmethod
        def _has_meaning(cls, norm: Norm) -> Norm:
            if norm == "task" and cls.only_shared_norm:
                raise ValueError(f"expected shared, as {cls.only_shared_norm}")
            return norm

    # what tuning may change, besides the settings that all methods share
    search_space: ClassVar[SearchSpace] = {}
    # always in evaluation mode: statistics and dropout rest with the weights
    frozen: tuple[nn.Module, ...] = ()
    # whether it looks at ``Batch.images`` besides its backbone, as gates and routers do
    looks_at_images: ClassVar[bool] = False

    def __init__(self, tasks: Sequence[Task], backbone: Callable[[], nn.Module], options: Options) -> None:
        super().__init__()
        self.task_names = tuple(task.name for task in tasks)
        # under norm: task; the backbones that are built below add to it
        self.task_norms: TaskNorms | None = None
        if isinstance(backbone, TaskNormBuilder):
            self.task_norms = backbone.norms
            self.task_norms.follow(self)
        elif options.norm != "shared":
            raise TypeError(f"norm: {options.norm} needs {type(self).__name__}.create, not the constructor")

    @classmethod
    def create(cls, *arguments: Any, **options: Any) -> Self:
        """The method with these options by name; under ``norm: task`` the builder's backbones have norms of each task.
        Raises pydantic's ValidationError for an unknown option or a wrong value.
        """
        checked = cls.Options(**options)
        tasks, backbone = arguments
        if checked.norm == "task":
            backbone = TaskNormBuilder(backbone, [task.name for task in tasks])
        return cls(tasks, backbone, checked)

    @abstractmethod
    def forward(self, batch: Batch) -> Output:
        """Predictions for the tasks present in the batch."""

    @abstractmethod
    def shared_parameters(self) -> list[Parameter]:
        """The parameters that the losses of all tasks reach; balancers combine gradients there, but for frozen ones."""

    def train(self, mode: bool = True) -> Self:
        """As torch's, except for what is frozen."""
        super().train(mode)
        for module in self.frozen:
            module.eval()
        keep_frozen(self)
        return self

    def own_parameters(self) -> list[Parameter]:
        """All parameters that are not shared."""
        shared = set(self.shared_parameters())
        return [p for p in self.parameters() if p not in shared]

    def norm_parameters(self) -> list[Parameter]:
        """Those of the tasks' BatchNorm layers under ``norm: task``; none is shared, and no backbone lists them."""
        return [*self.task_norms.parameters()] if self.task_norms else []

    def on_rows(self, rows: Tensor | slice) -> AbstractContextManager[None]:
        """``with self.on_rows(rows): y = backbone(x[rows])`` wherever a backbone runs on some of the batch's samples:
        their tasks choose the BatchNorm layers under ``norm: task``. rows: as ``Batch.rows`` gives them.
        """
        return self.task_norms.rows.on(rows) if self.task_norms else nullcontext()

    def adapter_parameters(self) -> list[Parameter]:
        """Those of the shared parameters that belong to adapters, where the method has any."""
        return []

    def expert_sizes(self) -> dict[str, list[float]]:
        """How far each expert moves each layer's weight, where experts are adapters: layer → E numbers."""
        return {}

    def parts(self) -> Mapping[str, tuple[nn.Module, tuple[str, ...]]]:
        """What is selected by itself: name → (module, the tasks whose validation score picks its epoch). There is one
        part, unless the method is several models.
        """
        return {"model": (self, self.task_names)}


def faster(parameter: Tensor, rate: float) -> Tensor:
    """rate · p, whose gradient reaches p unscaled: any optimiser then moves it ``rate`` times as fast as a weight."""
    return parameter + (rate - 1) * parameter.detach()
