"""The description of a model, from the benchmark and the settings that it is trained with."""

from __future__ import annotations

import copy
from typing import Any

import torch

from mola.benchmarks import Benchmark
from mola.inference.description import Description, Images
from mola.inference.pixels import normalised
from mola.sections import Settings


def describe(benchmark: Any, settings: Settings) -> Description:
    """What a run of these settings trains on a benchmark, or on the kept features of one."""
    of_images: Benchmark = getattr(benchmark, "inner", benchmark)
    sources = tuple(
        {"name": one.name, "origin": one.origin, "licence": one.licence, "terms": getattr(one, "terms", "")}
        for one in of_images.sources
    )
    tasks = of_images.tasks
    return Description(
        benchmark=settings.benchmark,
        heterogeneity=of_images.heterogeneity,
        tasks=tasks,
        classes={task.name: tuple(of_images.class_names(task.name)) for task in tasks},
        images=_images(of_images),
        sources=sources,
        method=settings.method,
        method_options=settings.method_options,
        backbone=settings.backbone.model_dump(mode="json"),
        remarks=tuple(benchmark.remarks()),
    )


def _images(benchmark: Benchmark) -> Images:
    """How the benchmark's images are normalised, which is tried on two of them."""
    few = next(iter(benchmark.batches("valid", size=2, seed=0, epoch=0))).x
    arrays, groups = benchmark.arrays, benchmark.groups
    grey = tuple(name for name in groups if arrays[f"{name}.valid.images"].shape[-1] == 1)
    options = benchmark.options
    images = Images(
        size=(few.shape[-2], few.shape[-1]),
        reader=benchmark.decoder,
        grey=grey,
        crop=getattr(options, "crop", None),
        mean=_numbers(benchmark, "mean"),
        std=_numbers(benchmark, "std"),
        resize=getattr(options, "resize", None),
    )
    expected = benchmark.normalised(copy.deepcopy(few))
    if (
        images.mean
        and images.visible_size == tuple(expected.shape[-2:])
        and torch.equal(normalised(few, images), expected)
    ):
        return images
    # a benchmark of the user's own
    return Images(size=(expected.shape[-2], expected.shape[-1]), reader=benchmark.decoder, grey=grey)


def _numbers(benchmark: Benchmark, name: str) -> tuple[float, ...] | None:
    """Its mean or std; None for a benchmark of the user's own that has none, as it normalises in a way of its own."""
    values = getattr(benchmark, name, None)
    return None if values is None else tuple(values)
