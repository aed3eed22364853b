"""What the frozen part of a backbone gives for every image of a benchmark, computed once and kept on disk.

The folder's name is a checksum of all that decides the bits, so that a cache is never out of date; one that is not used
any more may be deleted. Several processes may ask for the same one: the first computes it while the others wait.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from contextlib import ExitStack
from copy import copy
from functools import cached_property, partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from mola.benchmarks import SPLITS, Benchmark, Uniform
from mola.data import disk
from mola.data.prepare import store
from mola.data.prepare.prepared import Blocks, Prepared, Recipe, write_prepared
from mola.models.frozen_stages import prefix_output, prefix_state
from mola.types import Split

log = logging.getLogger(__name__)
FORMAT = 1  # raise it when the same key would come to stand for other bits
BLOCK = 64  # images of a forward pass, whoever asks for them: their number may change the bits
PROBED = 32  # images of every group whose augmented pixels stand, in the key, for the code that augments
PACKAGES = ("torch", "timm")
WHAT = "features"


class Features:
    """The cache of a benchmark's features under one backbone.

    images: the benchmark, where each group of samples is a task's.
    prefix: a backbone with frozen stages, in evaluation mode on the training device.
    views:  V, how many augmentations of every training image there are.
    key:    what else decides the bits, as plain data.
    """

    def __init__(self, images: Benchmark, prefix: nn.Module, views: int, key: Mapping[str, object]) -> None:
        self.images, self.prefix, self.views, self.key = copy(images), prefix, views, key
        self.limit, self.images.limit = images.limit, None
        # entries that differ in their number of training images share a cache: the fewer are the first of the more
        self.images.options = images.options.model_copy(update={"train": None})
        self.device = next(prefix.parameters()).device

    @cached_property
    def augmentations(self) -> list[Uniform]:
        """The numbers that augment every training image, for each of the V views: the same in all runs."""
        return [self.images.numbers(0, view) for view in range(self.views)]

    @cached_property
    def inputs(self) -> dict[str, object]:
        """All that the bits depend on, as plain data."""
        gpu = self.device.type == "cuda"
        kernels = torch.cuda.get_device_name(self.device) if gpu else torch.backends.cpu.get_cpu_capability()
        # how a sum is divided among threads decides its last bits
        threads = "" if gpu else f", threads: {torch.get_num_threads()}"
        return {
            "format": FORMAT,
            "benchmark": self.images.name,
            "data": self.images.identity,
            "rows": {split: self._rows(split) for split in SPLITS},
            "pixels": self._pixels_sha256(),
            "views": self.views,
            "weights": _state_sha256(self.prefix),
            "device": f"{self.device.type} {kernels}{threads}",
            "versions": {package: version(package) for package in PACKAGES},
            **self.key,
        }

    @cached_property
    def folder(self) -> Path:
        """``<data>/features/<benchmark>-<checksum>``."""
        checksum = hashlib.sha256(json.dumps(self.inputs, sort_keys=True).encode()).hexdigest()
        return self.images.root / WHAT / f"{self.images.name}-{checksum[:16]}"

    def prepare(self) -> dict[str, store.Array]:
        """Compute what is missing or damaged, and return the arrays, memory-mapped: ``<group>.<split>.features``
        (N, V, C, h, w) float32, with one view outside of training. An interrupted call goes on where it stopped.
        """
        with ExitStack() as stack:
            # of the rest no error is bad input: what the machine lacks says nothing of the settings that are tuned
            with disk.errors_as_bad_input(self.folder, WHAT):
                stack.enter_context(store.sole_writer(self.folder))
            prepared = Prepared.read(self.folder)
            for path, wrong in prepared.damaged(self.folder) if prepared else ():
                log.warning("%s: computed again", wrong)
                path.unlink(missing_ok=True)
            if prepared is None or not prepared.complete or prepared.fault(self.folder):
                log.info("computing the features of the frozen stages once, in %s", self.folder)
                write_prepared(self.folder, self._recipes(), self.inputs)
                prepared = Prepared.read(self.folder)
            assert prepared is not None
            return prepared.open(self.folder, "call again")

    def _recipes(self) -> dict[str, Recipe]:
        name = self.images.groups[0]
        shape = self._computed(name, "train", np.arange(1), None).shape[1:]
        return {
            f"{group}.{split}": Recipe(
                rows,
                {WHAT: ((self.views if split == "train" else 1, *shape), "float32")},
                self.inputs,
                partial(self._blocks, group, split, rows),
            )
            for split in SPLITS
            for group, rows in self._rows(split).items()
        }

    def _rows(self, split: Split) -> dict[str, int]:
        """The images of each group: whole blocks, so that the limit changes no bit of those within it."""
        limit = self.limit and -(-self.limit // BLOCK) * BLOCK
        return {group: min(size, limit or size) for group, size in self.images.lengths(split).items()}

    def _blocks(self, group: str, split: Split, rows: int, start: int) -> Blocks:
        numbers = self.augmentations if split == "train" else [None]
        for first in range(start - start % BLOCK, rows, BLOCK):
            chosen = np.arange(first, min(first + BLOCK, rows))
            views = [self._computed(group, split, chosen, uniform) for uniform in numbers]
            yield {WHAT: np.stack(views, axis=1)[max(0, start - first) :]}

    @torch.no_grad()
    def _computed(
        self, group: str, split: Split, rows: NDArray[np.int64], numbers: Uniform | None
    ) -> NDArray[np.float32]:
        """(n, C, h, w)."""
        uniform = None if numbers is None else {group: numbers[group][rows]}
        images = self.images.batch(split, {group: rows}, uniform).x.to(self.device)
        features: NDArray[np.float32] = prefix_output(self.prefix, self.images.normalised(images)).float().cpu().numpy()
        return features

    def _pixels_sha256(self) -> str:
        digest = hashlib.sha256()
        for group, size in self._rows("train").items():
            rows = np.arange(min(size, PROBED))
            for numbers in self.augmentations:
                pixels = self.images.batch("train", {group: rows}, {group: numbers[group][rows]}).x
                digest.update(self.images.normalised(pixels).numpy().tobytes())
        return digest.hexdigest()


def _state_sha256(prefix: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, value in prefix_state(prefix).items():
        digest.update(name.encode())
        digest.update(value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
