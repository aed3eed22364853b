"""Predictions for image files, a row each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from mola.data.prepare.photos import ENDINGS
from mola.inference.model import Model
from mola.metrics.kinds import KINDS
from mola.types import BadInput, Task

BATCH = 64
THRESHOLD = 0.5  # from which a label of a multilabel task is given


@dataclass(frozen=True)
class Row:
    """A prediction.

    task:        empty where all heads answered together.
    prediction:  the class; the value of a regression; the labels of a multilabel task, with ``;`` between them.
    probability: of the class, or of each label that is given; empty for a value.
    """

    path: str
    task: str
    prediction: str
    probability: str


def image_files(paths: Iterable[Path], skip: Callable[[str], None]) -> list[Path]:
    """Files as they are, and of folders all images below them, sorted by name. Folders without any are given to
    ``skip``, in words.
    """
    files: list[Path] = []
    for path in paths:
        if not path.is_dir():
            files.append(path)
            continue
        below = sorted(p for p in path.rglob("*") if p.suffix.lower() in ENDINGS and not p.name.startswith("."))
        if not below:
            skip(f"{path}: expected a folder with images ({', '.join(ENDINGS)}), found none below it")
        files += below
    return files


def check(model: Model, task: str | None) -> None:
    """Raise BadInput for an unknown task, for none where the model needs one, and for what has no answer in a row."""
    if task is None and model.needs_task:
        raise BadInput(f"--task: expected one of {', '.join(model.tasks)}, as the model depends on it, found none")
    if task is not None and task not in model.tasks:
        raise BadInput(f"--task: expected one of {', '.join(model.tasks)}, found '{task}'")
    for name in model.tasks if task is None else (task,):
        kind = model.description.task(name).kind
        if KINDS[kind].dense:
            wish = "expected tasks with a class or a number for an image"
            raise BadInput(f"{name}: {wish}, found {kind}, which has a map; mola.load_model gives it")
    if model.description.images.mean is None:
        name = model.description.benchmark
        raise BadInput(f"{name}: expected a benchmark with mean and std, found a way of its own to normalise images")


@torch.no_grad()
def predict(
    model: Model, files: Sequence[Path], task: str | None, on_unreadable: Callable[[str], None]
) -> Iterator[Row]:
    """The rows of all files that can be read, in their order. The others are named by ``on_unreadable``.

    Without a task: of a model whose tasks are domains with the same classes one row for each image, by the mean of the
    probabilities that the tasks' heads give; of others a row for each task. See :func:`check`.
    """
    together = task is None and model.description.heterogeneity == "domain" and model.description.have_same_classes
    groups = [model.tasks] if together else [(name,) for name in (model.tasks if task is None else (task,))]
    remaining = iter(files)
    while chunk := list(islice(remaining, BATCH)):
        rows: dict[Path, list[Row]] = {path: [] for path in chunk}
        for number, names in enumerate(groups):
            readable, images = [], []
            for path in chunk:
                try:
                    images.append(model.read(path, task=names[0] if len(names) == 1 else None)[0])
                    readable.append(path)
                except BadInput as error:
                    if number == 0:
                        on_unreadable(str(error))
            if readable:
                for path, (prediction, probability) in zip(readable, _answers(model, images, names), strict=True):
                    title = names[0] if len(names) == 1 else ""
                    rows[path].append(Row(str(path), title, prediction, probability))
        for each in rows.values():
            yield from each


def _answers(model: Model, images: list[Tensor], names: Sequence[str]) -> list[tuple[str, str]]:
    """Prediction and probability of each image, in the mean over some tasks that have the same classes."""
    x, first = torch.stack(images), model.description.task(names[0])
    outputs = [model(x, name) for name in names]
    scores = torch.stack([_probabilities(first, output) for output in outputs if isinstance(output, Tensor)]).mean(0)
    classes = model.classes(first.name)
    if first.kind == "regression":
        return [(f"{float(value):.6g}", "") for value in scores[:, 0]]
    if first.kind == "multilabel":
        given = [[(name, p) for name, p in zip(classes, row, strict=True) if p >= THRESHOLD] for row in scores.tolist()]
        return [(";".join(n for n, _ in each), ";".join(f"{p:.4f}" for _, p in each)) for each in given]
    best = scores.max(1)
    pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    return [(classes[index], f"{value:.4f}") for index, value in pairs]


def _probabilities(task: Task, output: Tensor) -> Tensor:
    if task.kind == "regression":
        return output
    return output.softmax(1) if task.kind == "classes" else output.sigmoid()
