"""A trained model as a plain module: ``model(x, task="photo")``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from mola.inference import pixels
from mola.inference.description import Description
from mola.methods import Method
from mola.metrics.kinds import KINDS
from mola.types import BadInput, Batch


class Whole(nn.Module):
    """A method as it was trained, asked for some tasks of all images."""

    def __init__(self, method: Method, description: Description) -> None:
        super().__init__()
        self.method, self.description = method, description

    def forward(self, x: Tensor, tasks: tuple[str, ...]) -> dict[str, Tensor]:
        """(B, 3, H, W) normalised → per task the method's predictions, as in :class:`mola.types.Output`."""
        if self.description.heterogeneity == "single-input task":
            return dict(self.method(self.batch(x, tasks)).predictions)
        answers: dict[str, Tensor] = {}
        for name in tasks:
            answers |= self.method(self.batch(x, (name,))).predictions
        return answers

    def batch(self, x: Tensor, tasks: tuple[str, ...], *, apart: bool = True) -> Batch:
        """The batch in which all images have the tasks; nothing is known of its targets.

        apart: images have one task each, but where every image has all tasks anyway.
        """
        task = None
        if apart and self.description.heterogeneity != "single-input task":
            task = torch.full((x.shape[0],), self.description.names.index(tasks[0]))
        return Batch(x, task, {name: self._target(x, name) for name in tasks}, self.description.names)

    def _target(self, x: Tensor, name: str) -> Tensor:
        dense = KINDS[self.description.task(name).kind].dense
        # len() would fix the batch of an exported graph
        return x.new_zeros(x.shape[0], *(x.shape[-2:] if dense else ()))


class Separate(nn.Module):
    """A plain network for each task, which gives (B, K)."""

    def __init__(self, networks: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.places = {name: number for number, name in enumerate(networks)}
        self.networks = nn.ModuleList(networks.values())

    def forward(self, x: Tensor, tasks: tuple[str, ...]) -> dict[str, Tensor]:
        """(B, 3, H, W) normalised → per task (B, K)."""
        return {name: self.networks[self.places[name]](x) for name in tasks}


class Model(nn.Module):
    """A trained model.

    description: what it is: tasks, classes, images.
    needs_task:  whether more than the head depends on the task, so that it has to be named.
    """

    def __init__(self, core: Whole | Separate, description: Description, needs_task: bool) -> None:
        super().__init__()
        self.core, self.description = core, description
        self.needs_task = needs_task and len(description.tasks) > 1

    @property
    def tasks(self) -> tuple[str, ...]:
        """The names of the tasks."""
        return self.description.names

    def classes(self, task: str) -> tuple[str, ...]:
        """What the outputs of a task are called."""
        return self.description.classes[self.description.task(task).name]

    def forward(self, x: Tensor, task: str | None = None) -> Tensor | dict[str, Tensor]:
        """The predictions of a task for all images: (B, K) before softmax or sigmoid; (B, 1) of a regression, in the
        unit of its targets; (B, K, H, W) of dense tasks.

        x:    (B, 3, H, W) uint8, as :meth:`read` gives them, or float, normalised already.
        task: its name; None: those of all tasks, by name; of a model with one task, its own.
        Raises BadInput for an unknown task, and for none where the model needs one.
        """
        if task is None and self.needs_task:
            raise BadInput(f"task: expected one of {', '.join(self.tasks)}, as the model depends on it, found none")
        asked = self.tasks if task is None else (self.description.task(task).name,)
        x = pixels.normalised(x, self.description.images) if x.dtype == torch.uint8 else x
        answers = {name: self.in_unit(name, answer) for name, answer in self.core(x, asked).items()}
        return answers[asked[0]] if len(asked) == 1 else answers

    def read(self, *paths: Path | str, task: str | None = None) -> Tensor:
        """Image files as (B, 3, H, W) uint8, as evaluation reads them: the square in the middle, resized.

        task: whose images they are, where some tasks have grey ones. Raises BadInput for files that are no images.
        """
        images = self.description.images
        grey = task in images.grey if task else images.grey == self.tasks
        return torch.stack([pixels.read(Path(path), images, grey=grey) for path in paths])

    def in_unit(self, name: str, answer: Tensor) -> Tensor:
        """The answer of a task in the unit of its targets, where it is a regression's; as it is of others."""
        task = self.description.task(name)
        return answer * task.std + task.mean if task.kind == "regression" else answer
