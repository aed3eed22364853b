"""Benchmarks of every kind of label of whole images, small enough for every test: the colours of an image tell its
class, a number, and which of four labels it has. A third of the targets is missing.
"""

import numpy as np
import torch

from mola.metrics import names
from mola.seeds import derive
from mola.types import Batch, Task

MEAN, STD = 170.0, 25.0  # of the number, in a unit of its own
TASKS = (
    Task("species", "classes", 3, names("classes")),
    Task("height", "regression", 1, names("regression"), MEAN, STD),
    Task("defects", "multilabel", 4, names("multilabel")),
)
NAMES = tuple(task.name for task in TASKS)
MISSING = {"species": -1, "height": float("nan"), "defects": float("nan")}


class FakeLabels:
    """Images (3, 16, 16) uint8, each with all three tasks."""

    name, heterogeneity, tasks, sources = "fake_labels", "single-input task", TASKS, ()
    limit, held_out, identity, missing = None, True, "drawn here", 3

    def __init__(self, sizes=None):
        self.sizes = sizes or {"train": 24, "valid": 16, "test": 16}

    def steps(self, *, size, sampling="balanced"):
        return self.sizes["train"] // size

    def batches(self, split, *, size, seed, epoch, sampling="balanced"):
        for rows in self.order(self.sizes[split], split, size, derive(seed, epoch)):
            yield self.all_of(split, rows)

    def order(self, number, split, size, seed):
        train = split == "train"
        order = np.random.default_rng(seed).permutation(number) if train else np.arange(number)
        for start in range(0, number - size + 1 if train else number, size):
            yield order[start : start + size].tolist()

    def all_of(self, split, rows):
        x, *targets = (torch.stack(parts) for parts in zip(*(self.item(split, row) for row in rows), strict=True))
        return Batch(x, None, dict(zip(NAMES, targets, strict=True)), NAMES)

    def item(self, split, index):
        """An image and its targets; every third target of a task is missing, and one label of every other image."""
        generator = torch.Generator().manual_seed(derive(index, split))
        colour = torch.rand(3, generator=generator)
        noise = torch.rand(3, 16, 16, generator=generator)
        species, height = colour.argmax(), MEAN + 2 * STD * (colour[:1] - 0.5)
        defects = torch.cat([colour > 0.5, colour[:1] > colour[1:2]]).float()
        defects[index % 4] = -1 if index % 2 else defects[index % 4]
        for place, (name, target) in enumerate(zip(NAMES, (species, height, defects), strict=True)):
            if self.missing and (index + place) % self.missing == 0:
                target.fill_(MISSING[name])
        return (255 * (0.8 * colour[:, None, None] + 0.2 * noise)).to(torch.uint8), species, height[0], defects

    def remarks(self):
        return ()

    def normalised(self, x):
        return x.float() / 127.5 - 1


class FakeMixed(FakeLabels):
    """The same, but each image has one of the tasks; in training a batch has as many images of each."""

    name, heterogeneity = "fake_mixed", "multi-input task"

    def steps(self, *, size, sampling="balanced"):
        return self.sizes["train"] * len(TASKS) // size

    def batches(self, split, *, size, seed, epoch, sampling="balanced"):
        each = size // len(TASKS) if split == "train" else size
        orders = [self.order(self.sizes[split], split, each, derive(seed, epoch, name)) for name in NAMES]
        if split == "train":
            for rows in zip(*orders, strict=True):
                yield self.part(split, dict(zip(NAMES, rows, strict=True)))
        else:
            for name, order in zip(NAMES, orders, strict=True):
                yield from (self.part(split, {name: rows}) for rows in order)

    def part(self, split, rows):
        parts = {name: self.all_of(split, chosen) for name, chosen in rows.items()}
        task = torch.tensor([NAMES.index(name) for name, part in parts.items() for _ in part.x])
        y = {name: part.y[name] for name, part in parts.items()}
        return Batch(torch.cat([part.x for part in parts.values()]), task, y, NAMES)
