"""The words that all of the package shares: read this file first.

Letters in shapes, here and everywhere: B batch, B_t samples of task t in the batch, T tasks, E experts, K classes,
C channels, H height, W width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, TypeVar

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.nn import Parameter

R = TypeVar("R")

Kind = Literal["classes", "multilabel", "regression", "segmentation", "depth", "normals"]
Split = Literal["train", "valid", "test"]
Sampling = Literal["balanced", "proportional"]
Direction = Literal["higher", "lower"]
Factorisation = Literal["loralib", "two_conv"]
Norm = Literal["shared", "task"]  # whose statistics BatchNorm has
Plan = Literal["grouped", "separate", "factored", "fused", "stacked", "merged"]  # how an adapted layer computes
Rank = int | dict[str, int]  # one rank for all layers, or regex of the whole module name → rank


class BadInput(ValueError):
    """The user's input can't be used; the message is one line that names the key or file, what was expected and
    what was found.
    """


class Findings(BadInput):
    """All that is wrong with the user's data, for one message of several lines.

    lines: what was found, each in a line; those that begin with blanks belong to the one above.
    """

    def __init__(self, head: str, lines: list[str]) -> None:
        super().__init__(head)
        self.lines = lines

    def __reduce__(self) -> tuple[type[Findings], tuple[str, list[str]]]:
        return Findings, (str(self), self.lines)


def shown(error: object) -> str:
    """What a user reads of an error: one line, and of findings a line each."""
    lines = error.lines if isinstance(error, Findings) else []
    # blanks at the beginning of a line, and its paths, stay
    return "\n".join(
        [one_line(error), *(f"{' ' * (len(line) - len(line.lstrip()))}{one_line(line)}" for line in lines)]
    )


def one_line(text: object, longest: int = 294) -> str:
    """Text in one line of at most ``longest`` printable characters, shortened in the middle. With ``mola: `` before
    it, a message of the default length has 300.
    """
    line = " ".join(str(text).split())
    if not line.isprintable():
        line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
    tail = (longest - 3) // 3
    return line if len(line) <= longest else f"{line[: longest - 3 - tail]} … {line[len(line) - tail :]}"


@dataclass(frozen=True)
class Task:
    """One thing to learn: a domain's labels, a data set's label set, or one output of a dense prediction.

    outputs: K, of the head: classes, labels of ``multilabel``; 1 for ``regression``.
    metrics: names, see :mod:`mola.metrics`; the first one ranks: ``metrics.names(kind)`` has all of a kind.
    mean, std: of ``regression``, of the training targets: the head predicts (y − mean)/std, in which the loss is taken,
             so that it weighs the same in any unit; metrics are in the unit of y.
    """

    name: str
    kind: Kind
    outputs: int
    metrics: tuple[str, ...]
    mean: float = 0.0
    std: float = 1.0

    def __post_init__(self) -> None:
        """Raise BadInput for a regression that can't be trained."""
        if self.kind == "regression" and self.outputs != 1:
            raise BadInput(f"task {self.name}: expected 1 output of a regression, found {self.outputs}")
        if not (math.isfinite(self.mean) and 0 < self.std < math.inf):
            raise BadInput(f"task {self.name}: expected training targets that differ, found std {self.std:g}")


@dataclass(frozen=True)
class Batch:
    """What the loop hands to a method.

    x:     (B, C, H, W) float, normalised, on the training device; from ``Benchmark.batches`` as it was prepared. Where
           the features of a frozen part of the backbone are kept: these, which the rest of the backbone takes.
    task:  (B,) int64 on the CPU, the index of each sample's task; None where every sample has every task.
    y:     per task *present*, by name, the targets of its samples in batch order: (B_t,) int64 for classes, −1 where
           unlabelled; (B_t, K) float32 of 0 and 1 for multilabel, NaN or −1 where unknown; (B_t,) or (B_t, 1) float32
           in a unit of their own for regression, NaN where unknown; for dense tasks at the image's size: (B_t, H, W)
           int64 for segmentation, −1 where unlabelled; (B_t, 1, H, W) float32 metres for depth, 0 where unknown;
           (B_t, 3, H, W) float32 unit vectors for normals, 0 where unknown. What is not known is left out of losses
           and metrics.
    tasks: the names of all T tasks, present or not; the position is the task's index.
    empty: the tasks of ``y``, dense ones apart, of which no target of this batch is known: they have predictions, but
           no loss. The loop's batches name them.
    pixels: (B, 3, H, W), the images, where ``x`` has features and the method looks at images.
    """

    x: Tensor
    task: Tensor | None
    y: Mapping[str, Tensor]
    tasks: tuple[str, ...]
    pixels: Tensor | None = None
    empty: frozenset[str] = frozenset()

    @property
    def images(self) -> Tensor:
        """(B, 3, H, W) the images, for a method that says ``looks_at_images``; its backbones take ``x``."""
        return self.x if self.pixels is None else self.pixels

    def rows(self, name: str) -> Tensor | slice:
        """Where a task's samples stand in ``x``: a slice where they follow each other, else (B_t,) int64."""
        if self.task is None:
            return slice(None)
        rows = (self.task == self.tasks.index(name)).nonzero().flatten()
        if len(rows) and int(rows[-1] - rows[0]) == len(rows) - 1:
            return slice(int(rows[0]), int(rows[-1]) + 1)
        return rows

    def only(self, name: str) -> Batch:
        """The samples of one task, as a batch that has no other: ``x`` (B_t, C, H, W), ``task`` None."""
        rows = self.rows(name)
        pixels = None if self.pixels is None else self.pixels[rows]
        return Batch(self.x[rows], None, {name: self.y[name]}, (name,), pixels)


@dataclass(frozen=True)
class Output:
    """What a method answers.

    predictions: per task present, by name: (B_t, K) for classes and multilabel, before softmax or sigmoid; (B_t, 1) for
                 regression, in units of the task's ``std`` from its ``mean``; (B_t, K, H, W) for dense tasks; in batch
                 order.
    routing:     (B, E) weights of the experts, where the method routes.
    aux_loss:    () an auxiliary loss, already weighted.
    features:    (B, …) where the tasks part: all that the losses say to the shared parameters goes through it; None
                 where there is no such place.
    """

    predictions: Mapping[str, Tensor]
    routing: Tensor | None = None
    aux_loss: Tensor | None = None
    features: Tensor | None = None


class Range(NamedTuple):
    """The values of one hyper-parameter that tuning may try: ``low`` to ``high``, log-uniform if ``log``; integers
    if both ends are.
    """

    low: float
    high: float
    log: bool = False


Choices = tuple[object, ...]


class PerTask(NamedTuple):
    """An option that maps task names to numbers: one drawn for every task, then divided by their mean."""

    range: Range


SearchSpace = Mapping[str, Range | Choices | PerTask]


@dataclass(frozen=True)
class Source:
    """Where data comes from, under which terms, and how to know that it is the right data."""

    name: str
    origin: str  # a package and version, or a page
    licence: str
    sha256: str  # of the raw content


class Balancer(Protocol):
    """Turns the losses of the tasks present into gradients. State is kept per task name, so that a task may be
    absent from a batch.
    """

    @property
    def passes(self) -> str | None:
        """In words, how many backward passes the gradients of the tasks took; None where it needs none."""

    def parameters(self) -> list[Parameter]:
        """Trainable parameters of the balancer itself (e.g. log-variances)."""

    def forward(
        self,
        compute: Callable[[], tuple[R, Mapping[str, Tensor]]],
        model: nn.Module,
        shared: list[Parameter],
        batch: Batch,
    ) -> tuple[R, Mapping[str, Tensor]]:
        """What ``compute`` returns, which runs the model on a batch: anything, and the losses of its tasks. The
        ``backward`` of these losses may come next, with the same ``shared``.
        """

    def backward(
        self,
        losses: Mapping[str, Tensor],
        aux_loss: Tensor | None,
        shared: list[Parameter],
        rest: list[Parameter],
        features: Tensor | None = None,
    ) -> None:
        """Accumulate gradients into the ``shared`` parameters, which every task reaches, and into the ``rest``.

        ``losses``: () each, by task name; ``aux_loss`` and ``features``: the output's.
        """

    def end_epoch(self) -> None:
        """Called once after every epoch."""

    def state_dict(self) -> dict[str, object]:
        """Everything a resumed run needs."""

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Restore what :meth:`state_dict` gave."""


class Benchmark(Protocol):
    """A set of tasks with their data. ``mola.benchmarks.Benchmark`` implements the parts that all of them share."""

    name: str
    heterogeneity: Literal["domain", "multi-input task", "single-input task"]
    tasks: tuple[Task, ...]
    sources: tuple[Source, ...]
    held_out: bool  # whether the epoch is selected on images that no table reports
    limit: int | None  # the first n samples of every task and split
    threads: int  # that augment a batch; its values do not depend on it

    @property
    def splits_sha256(self) -> str:
        """A checksum of what fixes the splits."""

    @property
    def identity(self) -> str:
        """A hash of the prepared arrays: records and checkpoints of other data are told apart by it."""

    def check_raw(self) -> None:
        """Raise BadInput where the user's raw data changed since its splits were fixed, as far as is said at once."""

    def fetch(self) -> None:
        """Bring the raw data and check it against the sources' checksums."""

    def prepare(self) -> Path:
        """Write the prepared arrays once and return their folder."""

    def steps(self, *, size: int, sampling: Sampling = "balanced") -> int:
        """The number of training batches of an epoch."""

    def batches(
        self, split: Split, *, size: int, seed: int, epoch: int, sampling: Sampling = "balanced", start: int = 0
    ) -> Iterator[Batch]:
        """The batches of one pass over a split from number ``start`` on, as prepared, on the CPU. Shuffled and
        augmented for ``train`` only.
        """

    def remarks(self) -> tuple[str, ...]:
        """What a reader of its tables must know, a line each."""

    def normalised(self, x: Tensor) -> Tensor:
        """The ``x`` of ``batches``, moved to any device → what a model sees."""
