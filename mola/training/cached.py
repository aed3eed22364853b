"""A benchmark whose batches have what the frozen part of the backbone gives, in the place of images.

Each training image has V fixed augmentations; which of them it shows in an epoch depends on the run's seed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import copy
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mola import registry
from mola.benchmarks import Benchmark, Uniform
from mola.data.batches.sampling import Picks
from mola.data.prepare import store
from mola.metrics.kinds import KINDS
from mola.models.backbones import Builder
from mola.models.frozen_stages import check_tail, prefix_output, prefix_state, tail
from mola.sections import Settings
from mola.seeds import derive
from mola.training.features import WHAT, Features
from mola.training.flops import flop_counter
from mola.training.seeding import seed_everything
from mola.types import BadInput, Batch, Sampling, Split

CHECKED = 2  # images on which prefix and tail together are compared with the whole backbone
Views = Mapping[str, NDArray[np.int64]]  # group → (B,), the augmentation of each sample


def cached(
    images: Benchmark, backbone: Builder, settings: Settings, device: torch.device
) -> tuple[CachedFeatures, Builder]:
    """The benchmark with features in place of images, and the builder of what is left of the backbone.

    The features are computed where they are not there. Raises BadInput for benchmarks and backbones that can't have it.
    """
    section = settings.backbone
    assert section.cached_views
    looks = registry.load("methods", settings.method).looks_at_images
    if problem := _problem(images):
        message = f"expected null for {images.name}, {problem}"
        raise BadInput(f"backbone.cached_views: {message}, found {section.cached_views}")
    seed_everything(derive(0, WHAT), bool(settings.training.deterministic))
    whole = backbone().to(device).eval()
    few = images.batch("train", {images.groups[0]: np.arange(CHECKED)}, None).x
    x = images.normalised(few.to(device))
    check_tail(whole, tail(backbone()).to(device), x)
    key = {
        "backbone": {"name": section.name, "options": section.options, "stages": section.freeze_stages},
        "deterministic": settings.training.deterministic,
    }
    features = Features(images, whole, section.cached_views, key)
    remark = (
        f"{section.cached_views} fixed augmentations of every training image, "
        f"features of the frozen first {section.freeze_stages} stages computed once"
    )
    benchmark = CachedFeatures(images, features.prepare(), features.augmentations, remark, _costs(whole, x))
    benchmark.with_images = looks
    return benchmark, lambda: tail(backbone())


def _problem(images: Benchmark) -> str:
    """Why features can't stand in the place of a benchmark's images; nothing where they can."""
    if any(KINDS[task.kind].dense for task in images.tasks):
        return "as targets move with its images"
    if images.groups == tuple(task.name for task in images.tasks):
        return ""
    # what gives the targets of samples whose features are known
    if type(images).labelled is Benchmark.labelled:
        return "whose images have several labels, and which has no method labelled that gives them"
    return ""


@dataclass(frozen=True)
class PrefixCosts:
    """Parameters, and floating-point operations for one image, of the frozen part."""

    parameters: int
    flops: int


class CachedFeatures:
    """A benchmark of images, with features (B, C, h, w) float32 as ``x``.

    arrays:        ``<group>.<split>.features``, see :class:`mola.training.features.Features`.
    augmentations: the numbers that each view was augmented with.
    with_images:   whether batches have the images too.
    """

    with_images = False

    def __init__(
        self,
        images: Benchmark,
        arrays: Mapping[str, store.Array],
        augmentations: list[Uniform],
        remark: str,
        prefix_costs: PrefixCosts,
    ) -> None:
        self.inner, self.arrays, self.augmentations, self.remark = images, arrays, augmentations, remark
        self.prefix_costs = prefix_costs
        self.name, self.heterogeneity, self.held_out = images.name, images.heterogeneity, images.held_out
        self.tasks, self.sources = images.tasks, images.sources

    @property
    def limit(self) -> int | None:
        """The first n samples of every task and split."""
        return self.inner.limit

    @limit.setter
    def limit(self, value: int | None) -> None:
        # a copy of this object may get a limit of its own
        self.inner = copy(self.inner)
        self.inner.limit = value

    @property
    def threads(self) -> int:
        """Those that augment images."""
        return self.inner.threads

    @threads.setter
    def threads(self, value: int) -> None:
        self.inner.threads = value

    @property
    def identity(self) -> str:
        """That of the images."""
        return self.inner.identity

    def fetch(self) -> None:
        """As the images' benchmark does."""
        self.inner.fetch()

    def prepare(self) -> Path:
        """As the images' benchmark does."""
        return self.inner.prepare()

    def steps(self, *, size: int, sampling: Sampling = "balanced") -> int:
        """The number of training batches of an epoch."""
        return self.inner.steps(size=size, sampling=sampling)

    def batches(
        self, split: Split, *, size: int, seed: int, epoch: int, sampling: Sampling = "balanced", start: int = 0
    ) -> Iterator[Batch]:
        """The batches that the images' benchmark would give, each training image in one of its views."""
        views = self.views(seed, epoch) if split == "train" else None
        order = self.inner.order(split, size=size, seed=seed, epoch=epoch, sampling=sampling)
        for picked in islice(order, start, None):
            chosen = {name: views[name][rows] if views else np.zeros_like(rows) for name, rows in picked.items()}
            parts = [
                self.arrays[f"{name}.{split}.{WHAT}"][picked[name], chosen[name]]
                for name in self.inner.groups
                if name in picked
            ]
            batch = self.inner.labelled(split, picked, torch.from_numpy(np.concatenate(parts)))
            yield replace(batch, pixels=self._pixels(split, picked, chosen)) if self.with_images else batch

    def views(self, seed: int, epoch: int) -> Views:
        """Which augmentation each training image shows in an epoch: (N,) of each group. Row i depends on (seed, epoch,
        i) alone.
        """
        number = len(self.augmentations)
        return {
            name: np.random.default_rng(derive(seed, "view", epoch, name)).integers(number, size=size)
            for name, size in self.inner.group_sizes("train").items()
        }

    def remarks(self) -> tuple[str, ...]:
        """Those of the images' benchmark, and that they are no longer augmented anew."""
        return (*self.inner.remarks(), self.remark)

    def normalised(self, x: Tensor) -> Tensor:
        """Features as they are, (B, 3, H, W) uint8 images normalised."""
        return x if x.is_floating_point() else self.inner.normalised(x)

    def _pixels(self, split: Split, picked: Picks, chosen: Views) -> Tensor:
        if split != "train":
            return self.inner.batch(split, picked, None).x
        uniform = {
            name: np.stack([self.augmentations[view][name][row] for view, row in zip(chosen[name], rows, strict=True)])
            for name, rows in picked.items()
        }
        return self.inner.batch(split, picked, uniform).x


@torch.no_grad()
def _costs(whole: nn.Module, x: Tensor) -> PrefixCosts:
    with flop_counter() as counter:
        prefix_output(whole, x)
    names = dict(whole.named_parameters())
    parameters = sum(value.numel() for name, value in prefix_state(whole).items() if name in names)
    return PrefixCosts(parameters, int(counter.get_total_flops()) // len(x))
