"""Which experts the samples of each task use, at the selected epoch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch

from mola.layers.adapter import LowRank
from mola.methods import Method
from mola.types import Batch

DIGITS = 4


class Routing:
    """The weights of the experts for validation images of every task, and how large each expert is in every layer.

    batches: called anew → the images to route.
    """

    name = "routing"

    def __init__(self, batches: Callable[[], Iterable[Batch]]) -> None:
        self.batches = batches
        self.seen: dict[str, Any] = {}

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
        self.seen = {"weights": dict(weights), "sizes": expert_sizes(method)}

    def told(self) -> dict[str, Any]:
        """``{"weights": task → (images, E), "sizes": layer → (E,)}``; sizes only where the experts are adapters."""
        return self.seen

    def state_dict(self) -> Mapping[str, Any]:
        """Nothing is kept from epoch to epoch."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing is kept from epoch to epoch."""


def expert_sizes(method: Method) -> dict[str, list[float]]:
    """Layer → ‖ΔW_e‖ of its E adapters, by Frobenius."""
    return {
        name: [float(f"{size:.4g}") for size in layer.delta().flatten(1).norm(dim=1).tolist()]
        for name, layer in method.named_modules()
        if isinstance(layer, LowRank)
    }
