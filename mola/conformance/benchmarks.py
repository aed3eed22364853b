"""What every benchmark has to give: the same batches for the same seed, from splits that share nothing."""

from __future__ import annotations

from collections import Counter
from typing import Any, get_args

import torch

from mola.benchmarks import SPLITS, Benchmark
from mola.conformance.fault import require
from mola.data.prepare.build import checksums
from mola.losses import counted
from mola.metrics import METRICS
from mola.metrics.kinds import KINDS
from mola.types import Batch, Sampling

SIZE = 16
SAMPLINGS: tuple[Sampling, ...] = get_args(Sampling)


def says_what_it_is(benchmark: Benchmark) -> None:
    """Tasks, metrics, sources and remarks are there, and well formed."""
    kinds = ("domain", "multi-input task", "single-input task")
    actual = getattr(benchmark, "heterogeneity", None)
    require(actual in kinds, f"heterogeneity: expected one of {', '.join(kinds)}, found {actual!r}")
    names = [task.name for task in benchmark.tasks]
    require(len(set(names)) == len(names) >= 2, f"tasks: expected two or more of different names, found {names}")
    for task in benchmark.tasks:
        wrong = [name for name in task.metrics if name not in METRICS] or ([] if task.metrics else ["none"])
        require(not wrong, f"tasks.{task.name}.metrics: expected names of mola.metrics, found {', '.join(wrong)}")
    for source in benchmark.sources:
        require(source.licence and source.origin, f"sources.{source.name}: expected an origin and a licence")
    require(all("\n" not in remark for remark in benchmark.remarks()), "remarks: expected a line each")


def splits_share_nothing(benchmark: Benchmark) -> None:
    """No item stands in two splits, and every split has every group."""
    for group, splits in ids(benchmark).items():
        require({*splits} == {*SPLITS}, f"split of {group}: expected train, valid and test, found {', '.join(splits)}")
        counts = Counter(str(item) for of_split in splits.values() for item in of_split)
        twice = [item for item, number in counts.items() if number > 1]
        require(not twice, f"split of {group}: expected no item in two splits or twice, found {', '.join(twice[:3])}")


def ids(benchmark: Any) -> dict[str, dict[str, list[Any]]]:
    """Group → split → ids of the items."""
    if hasattr(benchmark, "manifest"):
        return dict(benchmark.manifest.ids)
    parts = {part: (benchmark.folder / f"{part}.txt").read_text().splitlines() for part in benchmark.prepared.splits}
    return {group: {split: parts[f"{group}.{split}"] for split in SPLITS} for group in benchmark.groups}


def committed_split_fits_the_code(benchmark: Any) -> None:
    """What is committed is what the code splits and builds today. Only of benchmarks that build from ids."""
    if not hasattr(benchmark, "write_manifest"):
        return
    groups = set(benchmark.manifest.ids)
    require(groups == set(benchmark.groups), f"split manifest: expected ids of {benchmark.groups}, found {groups}")
    built = checksums(benchmark.manifest.ids, benchmark.build)
    differing = sorted(key for key, value in built.items() if benchmark.manifest.arrays.get(key) != value)
    require(
        not differing,
        f"build: expected the arrays that the split manifest fixes, found others for {', '.join(differing[:3])}; "
        "raise version, delete the manifest, and run mola prepare",
    )


def evaluation_sees_every_sample_once(benchmark: Benchmark) -> None:
    """Whatever the size of a batch, in the same order, with labels that are classes."""
    for split in ("valid", "test"):
        one, other = _whole(benchmark, split, 64), _whole(benchmark, split, 101)
        for task in benchmark.tasks:
            number, expected = len(one[task.name][1]), benchmark.sizes(split)[task.name]  # type: ignore[arg-type]
            require(number == expected, f"batches: expected {expected} samples of '{task.name}', found {number}")
            same = [
                # what is not known may be NaN
                a.shape == b.shape and torch.allclose(a, b, rtol=0, atol=0, equal_nan=True)
                for a, b in zip(one[task.name], other[task.name], strict=True)
            ]
            require(all(same), f"batches: '{task.name}' in {split} depends on the size of a batch")
            labels = one[task.name][1]
            if task.kind == "classes":
                fine = labels.dtype == torch.int64 and int(labels.min()) >= -1 and int(labels.max()) < task.outputs
                require(fine, f"batches: expected int64 labels below {task.outputs} of '{task.name}', found others")
            if not KINDS[task.kind].dense:
                known = counted(task, labels).any()
                require(known, f"batches: expected a known target of '{task.name}' in {split}, found none")


def training_batches_are_whole(benchmark: Benchmark) -> None:
    """uint8 images (B, 3, H, W), a target for every sample, as many batches as ``steps`` says."""
    for sampling in SAMPLINGS:
        number = benchmark.steps(size=SIZE, sampling=sampling)
        batches = list(benchmark.batches("train", size=SIZE, seed=0, epoch=0, sampling=sampling))
        require(len(batches) == number, f"steps: expected {len(batches)} under sampling: {sampling}, found {number}")
        for batch in batches[:3]:
            fine = batch.x.dtype == torch.uint8 and batch.x.dim() == 4 and batch.x.shape[1] == 3
            actual = f"{batch.x.dtype} {tuple(batch.x.shape)}"
            require(fine, f"batches: expected uint8 images (B, 3, H, W), found {actual}")
            lengths = [len(y) for y in batch.y.values()]
            fine = set(lengths) == {len(batch.x)} if batch.task is None else sum(lengths) == len(batch.x)
            require(fine, f"batches: expected a target for each of {len(batch.x)} images, found {lengths}")
            x = benchmark.normalised(batch.x)
            require(x.dtype == torch.float32 and x.isfinite().all(), "normalised: expected finite float32")


def training_is_a_function_of_seed_and_epoch(benchmark: Benchmark) -> None:
    """The same seed and epoch give the same pixels; another one gives others."""

    def first(seed: int, epoch: int) -> Batch:
        return next(iter(benchmark.batches("train", size=SIZE, seed=seed, epoch=epoch)))

    require(torch.equal(first(0, 0).x, first(0, 0).x), "batches: expected the same images for the same seed and epoch")
    require(not torch.equal(first(0, 0).x, first(0, 1).x), "batches: expected other images in another epoch")
    require(not torch.equal(first(0, 0).x, first(1, 0).x), "batches: expected other images for another seed")


CHECKS = (
    says_what_it_is,
    splits_share_nothing,
    committed_split_fits_the_code,
    evaluation_sees_every_sample_once,
    training_batches_are_whole,
    training_is_a_function_of_seed_and_epoch,
)


def _whole(benchmark: Benchmark, split: Any, size: int) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    batches = list(benchmark.batches(split, size=size, seed=size, epoch=size))
    return {
        task.name: (
            torch.cat([b.x[b.rows(task.name)] for b in batches if task.name in b.y]),
            torch.cat([b.y[task.name] for b in batches if task.name in b.y]),
        )
        for task in benchmark.tasks
    }
