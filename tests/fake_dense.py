"""A dense benchmark small enough for every test: blotches whose colours tell class, depth and normal."""

import numpy as np
import torch

from mola.metrics import names
from mola.seeds import derive
from mola.types import Batch, Task

TASKS = (
    Task("segmentation", "segmentation", 3, names("segmentation")),
    Task("depth", "depth", 1, names("depth")),
    Task("normals", "normals", 3, names("normals")),
)


class FakeDense:
    """Images (3, 24, 32) uint8; a strip at the left is unlabelled and unknown."""

    name, heterogeneity, tasks, sources = "fake_dense", "single-input task", TASKS, ()
    height, width = 24, 32
    limit, held_out, identity = None, True, "drawn here"

    def __init__(self, sizes=None):
        self.sizes = sizes or {"train": 24, "valid": 10, "test": 10}

    def steps(self, *, size, sampling="balanced"):
        return self.sizes["train"] // size

    def batches(self, split, *, size, seed, epoch, sampling="balanced"):
        number = self.sizes[split]
        train = split == "train"
        order = np.random.default_rng(derive(seed, epoch)).permutation(number) if train else np.arange(number)
        for start in range(0, number - size + 1 if train else number, size):
            yield self.batch([self.item(split, int(i)) for i in order[start : start + size]])

    def batch(self, items):
        x, *targets = (torch.stack(parts) for parts in zip(*items, strict=True))
        return Batch(x, None, dict(zip((t.name for t in TASKS), targets, strict=True)), tuple(t.name for t in TASKS))

    def item(self, split, index):
        generator = torch.Generator().manual_seed(derive(index, split))
        coarse = torch.rand(1, 3, 3, 4, generator=generator)
        colours = torch.nn.functional.interpolate(coarse, (self.height, self.width), mode="bilinear")[0]
        label, depth = colours.argmax(0), 0.5 + 3 * colours[:1]
        normals = torch.nn.functional.normalize(colours - 0.3, dim=0)
        label[:, :3], depth[:, :, :3], normals[:, :, :3] = -1, 0, 0
        return (colours * 255).to(torch.uint8), label, depth, normals

    def normalised(self, x):
        return x.float() / 127.5 - 1
