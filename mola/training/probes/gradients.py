"""How much the tasks' gradients conflict on the weights that they share, epoch by epoch.

Kept are inner products alone, from which :mod:`mola.reporting` computes cosines, magnitude similarity (Yu et al. 2020,
arXiv 2001.06782, definition 2) and the condition number (Aligned-MTL, arXiv 2305.19000).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from mola.losses import task_losses
from mola.methods import Method
from mola.models.stages import stages
from mola.seeds import derive
from mola.training.loading import load
from mola.training.probes import Subject, undisturbed
from mola.types import BadInput, Batch

Losses = Callable[[Method, Batch], Mapping[str, Tensor]]


def probe(subject: Subject, number: int) -> GradientConflict | None:
    """The probe of a run, of its suite's first seed alone, on the same ``number`` of training batches every time."""
    if not subject.first:
        return None
    benchmark, training = subject.benchmark, subject.training
    seed = derive(subject.seed, "watch")

    def batches() -> Iterator[Batch]:
        size, sampling = training.batch_size, training.sampling
        return islice(load(benchmark, "train", subject.device, size=size, seed=seed, sampling=sampling), number)

    names = (task.name for task in benchmark.tasks)
    return GradientConflict(names, batches, lambda method, batch: task_losses(benchmark.tasks, method(batch), batch))


class GradientConflict:
    """The Gram matrices of the tasks' gradients, per stage of the backbone, on the same training batches every time.

    batches: called anew → the batches.
    losses:  (method, batch) → the loss of each task present.

    Looked at are the weights that a plain backbone has too, so that methods can be compared: no adapters, no router.
    """

    name = "gradients"

    def __init__(self, tasks: Iterable[str], batches: Callable[[], Iterable[Batch]], losses: Losses) -> None:
        self.tasks, self.batches, self.losses = tuple(tasks), batches, losses
        self.epochs: list[dict[str, Any]] = []

    def after(self, epoch: int, method: Method) -> None:
        """Differentiate every task's loss by itself, in training mode."""
        places = shared_by_stage(method)
        if not places:
            return
        grams: list[dict[str, list[list[float]]]] = []
        with undisturbed(method):
            method.train()
            for batch in self.batches():
                losses = self.losses(method, batch)
                if len(losses) == len(self.tasks):  # a matrix of fewer tasks can't be averaged with the others
                    grams.append(self._grams(losses, places))
        self.epochs.append({"epoch": epoch, "grams": grams})

    def selected(self, method: Method) -> None:
        """Nothing: what counts is the training."""

    def result(self) -> dict[str, Any]:
        """``{"tasks": names, "epochs": [{"epoch", "grams": per batch, stage → (T, T)}]}``."""
        return {"tasks": list(self.tasks), "epochs": self.epochs} if self.epochs else {}

    def state_dict(self) -> Mapping[str, Any]:
        """The epochs so far."""
        return {"epochs": self.epochs}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The epochs so far."""
        self.epochs = list(state["epochs"])

    def _grams(
        self, losses: Mapping[str, Tensor], places: Mapping[str, list[Parameter]]
    ) -> dict[str, list[list[float]]]:
        parameters = [p for part in places.values() for p in part]
        rows = [
            torch.autograd.grad(losses[name], parameters, retain_graph=True, materialize_grads=True)
            for name in self.tasks
        ]
        grams, start = {}, 0
        for place, part in places.items():
            columns = slice(start, start + len(part))
            matrix = torch.stack([torch.cat([g.flatten().float() for g in row[columns]]) for row in rows])
            grams[place] = [[float(f"{v:.6g}") for v in row] for row in (matrix @ matrix.T).tolist()]
            start += len(part)
        return grams


def shared_by_stage(method: Method) -> dict[str, list[Parameter]]:
    """Stage of the backbone → the weights in it that all tasks share, without adapters; "stem" before the first stage
    and "end" behind the last. Several backbones of a method count together.
    """
    shared = set(method.shared_parameters())
    shared -= {*method.adapter_parameters()}
    places: dict[str, list[Parameter]] = {}
    for backbone in method.modules():
        if not hasattr(backbone, "feature_info"):
            continue
        try:
            names = [stage.name for stage in stages(backbone)]
        except BadInput:  # timm names no stages of this model: it is one
            names = []
        place = "stem" if names else "backbone"
        for name, parameter in backbone.named_parameters():
            place = next((stage for stage in names if name.startswith(f"{stage}.")), _outside(place))
            if parameter in shared and parameter.requires_grad:
                places.setdefault(place, []).append(parameter)
    return places


def _outside(before: str) -> str:
    return before if before in ("stem", "backbone") else "end"
