"""Which experts the samples of each task use, at the selected epoch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from copy import copy
from functools import partial
from typing import Any

import torch

from mola.methods import Method
from mola.training.loading import load
from mola.training.probes import Subject
from mola.types import Batch

DIGITS = 4


def probe(subject: Subject, images: int) -> Routing | None:
    """The probe of a run, of its suite's first seed alone; ``images`` of every task are routed."""
    if not subject.first:
        return None
    few = copy(subject.benchmark)
    few.limit = min(images, subject.benchmark.limit or images)
    return Routing(partial(load, few, "valid", subject.device, size=4 * subject.training.batch_size))


class Routing:
    """The weights of the experts for validation images of every task, and how large each expert is in every layer.

    batches: called anew → the images to route.
    """

    name = "routing"

    def __init__(self, batches: Callable[[], Iterable[Batch]]) -> None:
        self.batches = batches
        self.measured: dict[str, Any] = {}

    def after(self, epoch: int, method: Method) -> None:
        """Nothing: only the reported method is looked at."""

    @torch.no_grad()
    def selected(self, method: Method) -> None:
        """Route the images. A method that does not route gives nothing."""
        method.eval()
        weights: dict[str, list[list[float]]] = defaultdict(list)
        for batch in self.batches():
            routing = method(batch).routing
            if routing is None:
                return
            for name in batch.y:
                weights[name] += [[round(w, DIGITS) for w in row] for row in routing[batch.rows(name)].tolist()]
        self.measured = {"weights": dict(weights), "sizes": method.expert_sizes()}

    def result(self) -> dict[str, Any]:
        """``{"weights": task → (images, E), "sizes": layer → (E,)}``; sizes only where the experts are adapters."""
        return self.measured

    def state_dict(self) -> Mapping[str, Any]:
        """Nothing is kept from epoch to epoch."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing is kept from epoch to epoch."""
