"""From settings to what a run trains with: the benchmark, the method on a backbone, and the balancer."""

from __future__ import annotations

import logging
from importlib import import_module
from pathlib import Path

import torch

from mola import portable, registry
from mola.methods import Method
from mola.metrics.kinds import KINDS
from mola.models.backbones import Builder, builder
from mola.sections import Backbone, Settings
from mola.seeds import derive
from mola.training.devices import loader_threads
from mola.training.optim import check_rates
from mola.training.seeding import seed_everything
from mola.types import BadInput, Balancer, Benchmark

log = logging.getLogger(__name__)


def build(settings: Settings, data: Path, seed: int, device: torch.device) -> tuple[Benchmark, Method, Balancer]:
    """Everything that a run trains with; the weights depend on the seed alone. Raises BadInput.

    data: the data folder.
    """
    deterministic = settings.training.deterministic
    if deterministic == "portable":
        portable.check()
    benchmark: Benchmark = registry.create("benchmarks", settings.benchmark, data, options=settings.benchmark_options)
    benchmark.threads = loader_threads(device)
    if settings.method_options["norm"] == "task" and benchmark.heterogeneity == "single-input task":
        raise BadInput(f"norm: expected shared on {settings.benchmark}, where every image has every task, found 'task'")
    images = benchmark
    dense = any(KINDS[task.kind].dense for task in benchmark.tasks)
    backbone = _backbone(settings.backbone, benchmark, dense)
    if settings.backbone.cached_views:
        # by a computed name: other runs do not depend on this code (see mola.experiment.spec.modules)
        cached = import_module(f"{__package__}.cached").cached
        benchmark, backbone = cached(benchmark, backbone, settings, device)
    seed_everything(derive(seed, "initialisation"), bool(deterministic))
    method: Method = registry.create(
        "methods", settings.method, benchmark.tasks, backbone, options=settings.method_options
    )
    check_rates(settings.training, method.parts())
    balancer: Balancer = registry.create(
        "balancers", settings.balancer, benchmark.tasks, device, options=settings.balancer_options
    )
    _warn_of_large_batches(images, settings.training.batch_size)
    # dropout draws the same whatever the method's weights drew
    seed_everything(derive(seed, "training"), bool(deterministic))
    return benchmark, method.to(device), balancer


def _warn_of_large_batches(benchmark: Benchmark, size: int) -> None:
    """Say at once where a batch has more samples than there are: a wrong number would be noticed by nobody for long."""
    sizes: dict[str, int] = benchmark.group_sizes("train")  # type: ignore[attr-defined]
    if (samples := sum(sizes.values())) < size:
        log.warning(
            "training.batch_size: %d samples, of the %d training samples of %s: some come several times in a batch",
            size, samples, benchmark.name,
        )  # fmt: skip


def _backbone(section: Backbone, benchmark: Benchmark, dense: bool) -> Builder:
    """The builder of timm's model, or of the user's own, which is measured on images of the benchmark."""
    values = section.model_dump(exclude={"cached_views"})
    if section.module is None:
        return builder(**values, dense=dense)
    # by a computed name: other runs do not depend on this code (see mola.experiment.spec.modules)
    custom = import_module(f"{builder.__module__.rpartition('.')[0]}.custom")
    few = next(iter(benchmark.batches("valid", size=2, seed=0, epoch=0))).x
    backbone: Builder = custom.builder(**values, dense=dense, images=benchmark.normalised(few))
    return backbone
