"""The released code's rule of selection beside ours: the epoch of the lowest loss on the split that is reported.

Its scores are too good. By how much is what the tables show as optimism; nothing else reads them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from mola.methods import Method
from mola.training.evaluate import Scores, evaluate
from mola.training.probes import Subject


def probe(subject: Subject, on: bool) -> OracleSelection:
    """The probe of a run."""
    size = 4 * subject.training.batch_size
    scores = partial(
        evaluate, benchmark=subject.benchmark, split="test", size=size, device=subject.device, amp=subject.amp
    )
    return OracleSelection(scores)


class OracleSelection:
    """Every part of a method (see ``Method.parts``) at its epoch of the lowest test loss, summed over its tasks.

    scores: the method → its scores on test.
    """

    name = "oracle_selection"

    def __init__(self, scores: Callable[[Method], Scores]) -> None:
        self.scores = scores
        self.best: dict[str, dict[str, Any]] = {}  # part → {"epoch", "loss", "test"}

    def after(self, epoch: int, method: Method) -> None:
        """Keep the scores of the parts that are better than before; the earliest of equals."""
        test = self.scores(method)
        for part, (_, names) in method.parts().items():
            loss = sum(test[name].get("loss", 0.0) for name in names)
            if loss < self.best.get(part, {}).get("loss", math.inf):
                self.best[part] = {"epoch": epoch, "loss": loss, "test": {name: test[name] for name in names}}

    def selected(self, method: Method) -> None:
        """Nothing: the rule has selected already."""

    def result(self) -> dict[str, Any]:
        """``{"selected": part → epoch, "test": task → metric → value}``."""
        if not self.best:
            return {}
        test: Scores = {}
        for best in self.best.values():
            test |= best["test"]
        return {"selected": {part: best["epoch"] for part, best in self.best.items()}, "test": test}

    def state_dict(self) -> Mapping[str, Any]:
        """The best so far."""
        return self.best

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The best so far."""
        self.best = dict(state)
