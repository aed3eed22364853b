"""What a trained model is, as plain data: enough to build it again, and to give it images as in evaluation."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from mola.types import BadInput, Task

VERSION = 1  # of all files that hold a description


@dataclass(frozen=True)
class Images:
    """How an image becomes what the model sees, as in evaluation.

    size:      (height, width) of the pixels that a file becomes.
    reader:    as ``mola.data.prepare.photos`` reads a file, or as ``mola.data.prepare.images`` does.
    grey:      tasks whose images lose their colours.
    crop:      pixels of a side of the middle that is cut out; None: all of it.
    mean, std: x/255 − mean, divided by std, a number per colour; None where the benchmark has a way of its own.
    resize:    pixels of a side that the model sees; None: as they are.
    """

    size: tuple[int, int]
    reader: Literal["photos", "images"]
    grey: tuple[str, ...] = ()
    crop: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    resize: int | None = None

    @property
    def visible_size(self) -> tuple[int, int]:
        """(height, width) of what the model sees."""
        side = self.resize or self.crop
        return (side, side) if side else self.size


@dataclass(frozen=True)
class Description:
    """A trained model.

    benchmark:      its name; ``heterogeneity`` is that of its tasks.
    tasks:          in the order of the method's.
    classes:        task → the names of its outputs.
    sources:        of the data: name, origin and licence, and terms where there are some.
    remarks:        what a reader of the benchmark's tables must know.
    method:         its name; ``method_options`` are all of its options.
    backbone:       the section of the suite.
    """

    benchmark: str
    heterogeneity: Literal["domain", "multi-input task", "single-input task"]
    tasks: tuple[Task, ...]
    classes: dict[str, tuple[str, ...]]
    images: Images
    sources: tuple[dict[str, str], ...]
    method: str
    method_options: dict[str, Any]
    backbone: dict[str, Any]
    remarks: tuple[str, ...] = ()
    version: int = field(default=VERSION)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the tasks."""
        return tuple(task.name for task in self.tasks)

    def task(self, name: str) -> Task:
        """The task of a name. Raises BadInput for one that there is none of."""
        if name not in self.names:
            raise BadInput(f"task: expected one of {', '.join(self.names)}, found '{name}'")
        return self.tasks[self.names.index(name)]

    def with_all_weights(self) -> Description:
        """The same, of a model whose file has the weights of frozen stages, too, and which needs no others."""
        backbone = {key: value for key, value in self.backbone.items() if key != "cached_views"}
        return replace(self, backbone=backbone | {"weights": None})

    @property
    def have_same_classes(self) -> bool:
        """Whether all tasks answer the same question: domains whose images have the same classes."""
        first = self.tasks[0]
        return all(t.kind == first.kind and self.classes[t.name] == self.classes[first.name] for t in self.tasks)
