"""Every registered benchmark passes through here on arrival."""

import subprocess
import sys
import threading
from pathlib import Path

import archives
import numpy as np
import pytest
import torch

from mola import registry
from mola.benchmarks._downloaded import Downloaded
from mola.conformance import benchmarks as conformance
from mola.data.splits.manifest import SPLITS, Manifest
from mola.data.splits.rule import Rule
from mola.losses import counted
from mola.metrics import METRICS
from mola.types import BadInput

BENCHMARKS = registry.names("benchmarks")
# the bytes of all arrays are compared where each benchmark is prepared
CHECKS = [check for check in conformance.CHECKS if check is not conformance.committed_split_fits_the_code]


@pytest.fixture(params=BENCHMARKS)
def benchmark_(request, data_root):
    return archives.benchmark(request.param, data_root)


def like(benchmark, **options):
    """The same benchmark with other options."""
    return archives.benchmark(benchmark.name, benchmark.folder.parent, **options)


def same(one, other):
    """Whether targets are equal, and not known in the same places."""
    return torch.allclose(one, other, rtol=0, atol=0, equal_nan=True)


def assert_measurable(task, y, every):
    """What Batch.y may hold, and enough of it: every class occurs, and something is known. every: images have all
    tasks, some of whose targets are not known.
    """
    if task.kind in ("classes", "segmentation"):
        known = set(y.unique().tolist()) - ({-1} if every else set())
        assert y.dtype == torch.int64 and known == set(range(task.outputs))
        return
    if task.kind in ("multilabel", "regression"):
        known = counted(task, y)
        assert y.dtype == torch.float32 and known.any() and not known.all()
        assert y[known].unique().tolist() == [0, 1] if task.kind == "multilabel" else y[known].std() > 0
        return
    assert y.dtype == torch.float32 and y.shape[1] == task.outputs and y.isfinite().all()
    if task.kind == "depth":
        assert y.min() >= 0 and (y > 0).any()
    else:
        length = y.norm(dim=1)
        assert torch.all((length == 0) | ((length - 1).abs() < 1e-3)) and (length > 0).any()


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_conformance(benchmark_, check):
    """What ``mola check`` asks of a user's own benchmarks, too."""
    check(benchmark_)


def test_it_says_what_it_is(benchmark_):
    assert benchmark_.heterogeneity in ("domain", "multi-input task", "single-input task")
    assert len({task.name for task in benchmark_.tasks}) == len(benchmark_.tasks) >= 2
    for task in benchmark_.tasks:
        assert set(task.metrics) <= set(METRICS)
    for source in benchmark_.sources:
        assert source.licence and source.origin
        if isinstance(benchmark_, Downloaded):
            assert source.file and (source.mirrors or source.request) and source.terms
        else:
            assert len(source.sha256) == 64
    assert all("\n" not in remark for remark in benchmark_.remarks())


@pytest.mark.parametrize("name", BENCHMARKS)
def test_options_are_read_from_source_as_python_has_them(name):
    options = registry.load("benchmarks", name).Options
    assert registry.options_of("benchmarks", name).model_json_schema() == options.model_json_schema()
    assert all(field.description for field in options.model_fields.values())


def test_planning_imports_no_torch(data_root):
    """Neither a benchmark's class nor its identity needs it, nor any module of ``mola.data``."""
    code = (
        "import importlib, pkgutil, sys; sys.path.insert(0, sys.argv[1]); import archives, mola.data\n"
        "from mola import registry\n"
        "from pathlib import Path\n"
        "for name in registry.names('benchmarks'):\n"
        "    assert len(archives.benchmark(name, Path(sys.argv[2])).identity) == 64\n"
        "    assert 'torch' not in sys.modules, name\n"
        "for module in pkgutil.walk_packages(mola.data.__path__, 'mola.data.'):\n"
        "    importlib.import_module(module.name)\n"
        "    assert 'torch' not in sys.modules, module.name"
    )
    here = str(Path(__file__).parent)
    run = subprocess.run(
        [sys.executable, "-c", code, here, str(data_root)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("name", sorted(archives.BUILDERS))
def test_there_is_no_identity_before_the_data_is_prepared(name, tmp_path):
    with pytest.raises(BadInput, match="expected prepared arrays, found none; run `mola prepare"):
        archives.benchmark(name, tmp_path).identity  # noqa: B018


def test_the_committed_manifest_fits_the_code(benchmark_):
    if isinstance(benchmark_, Downloaded):
        rule = Rule.read(benchmark_.name, benchmark_.version)
        assert rule.benchmark == benchmark_.name and rule.rule and rule.counts
        return
    if benchmark_.divides_by_itself:
        assert benchmark_.manifest.version == benchmark_.version and not (SPLITS / f"{benchmark_.name}.json").exists()
        return
    manifest = Manifest.read(benchmark_.name, benchmark_.version)
    assert manifest.version == benchmark_.version
    assert manifest.sources == {source.name: source.sha256 for source in benchmark_.sources}
    assert set(manifest.ids) == set(benchmark_.groups)


def test_sources_are_what_they_were(benchmark_):
    benchmark_.fetch()


@pytest.mark.parametrize("split", ["valid", "test"])
def test_evaluation_sees_every_sample_once_whatever_the_batch(benchmark_, split):
    def whole(size):
        batches = list(benchmark_.batches(split, size=size, seed=size, epoch=size))
        xs = {t.name: torch.cat([b.x[b.rows(t.name)] for b in batches if t.name in b.y]) for t in benchmark_.tasks}
        ys = {t.name: torch.cat([b.y[t.name] for b in batches if t.name in b.y]) for t in benchmark_.tasks}
        return xs, ys

    (xs, ys), (other_xs, other_ys) = whole(64), whole(101)
    for task in benchmark_.tasks:
        assert len(ys[task.name]) == benchmark_.sizes(split)[task.name]
        assert torch.equal(xs[task.name], other_xs[task.name])
        assert same(ys[task.name], other_ys[task.name])
        assert_measurable(task, ys[task.name], benchmark_.heterogeneity == "single-input task")


@pytest.mark.parametrize("sampling", ["balanced", "proportional"])
def test_training_batches(benchmark_, sampling):
    batches = list(benchmark_.batches("train", size=32, seed=0, epoch=0, sampling=sampling))
    assert len(batches) == benchmark_.steps(size=32, sampling=sampling)
    for batch in batches[:3]:
        assert batch.x.shape[:2] == (32, 3)
        x = benchmark_.normalised(batch.x)
        assert batch.x.dtype == torch.uint8 and x.dtype == torch.float32 and x.is_contiguous()
        assert x.isfinite().all() and -5 < x.min() < 0 < x.max() < 5
        lengths = [len(y) for y in batch.y.values()]
        assert set(lengths) == {32} if batch.task is None else sum(lengths) == 32
        for name, y in batch.y.items():
            assert len(batch.x[batch.rows(name)]) == len(y)
        if sampling == "balanced":
            assert set(batch.y) == {task.name for task in benchmark_.tasks}


def test_threads_change_no_value(benchmark_, monkeypatch):
    def first():
        return next(iter(benchmark_.batches("train", size=4 * len(benchmark_.tasks), seed=0, epoch=0)))

    alone, collected = first(), set()
    augmented = benchmark_.augmented
    monkeypatch.setattr(
        benchmark_, "augmented", lambda *given: collected.add(threading.current_thread().name) or augmented(*given)
    )
    monkeypatch.setattr("mola.data.batches.threads.BLOCK", 1)
    monkeypatch.setattr(benchmark_, "threads", 3)
    together = first()
    assert collected and all(name.startswith("mola-augment") for name in collected)
    assert torch.equal(together.x, alone.x) and all(same(together.y[name], alone.y[name]) for name in alone.y)


def test_augmentation_does_not_depend_on_the_company(benchmark_):
    """A sample has the same pixels and targets in an epoch whatever the batch size, the sampling and the limit."""
    part = like(benchmark_, limit=20)

    def pixels(benchmark, size, sampling):
        return [
            (name, row.numpy().tobytes(), target.numpy().tobytes())
            for batch in benchmark.batches("train", size=size, seed=0, epoch=0, sampling=sampling)
            for name in batch.y
            for row, target in zip(batch.x[batch.rows(name)], batch.y[name], strict=True)
        ]

    every = pixels(benchmark_, 1, "proportional")  # each sample once, alone
    assert len(every) == sum(benchmark_.sizes("train").values())
    some = pixels(part, 20, "proportional")
    assert len(some) == 20 * len(benchmark_.tasks)
    for others in (some, pixels(benchmark_, 48, "proportional"), pixels(benchmark_, 32, "balanced")):
        assert set(others) <= set(every)


def test_images_of_a_batch_are_augmented_each_for_itself(benchmark_):
    """One crop for the whole batch would be no augmentation: the same image, many times, must come out in many ways."""
    image = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), dtype=np.uint8)
    uniform = np.random.default_rng(1).random((64, benchmark_.draws), dtype=np.float32)
    changed = benchmark_.augmented(image.repeat(64, 0), uniform)
    assert changed.dtype == np.uint8 and changed.shape[0] == 64
    assert len(np.unique(changed, axis=0)) > (1 if benchmark_.draws == 1 else 8)  # one number: mirrored or not


def test_fewer_training_images_leave_what_is_tested_as_it_is(benchmark_):
    few = like(benchmark_, train=7)
    assert set(few.sizes("train").values()) == {7} and few.steps(size=7, sampling="proportional") == len(few.groups)
    for split in ("valid", "test"):
        assert few.sizes(split) == benchmark_.sizes(split)
    assert few.identity == benchmark_.identity and few.folder == benchmark_.folder

    def images(benchmark):
        batches = benchmark.batches("train", size=1, seed=0, epoch=0, sampling="proportional")
        return {(name, batch.x.numpy().tobytes()) for batch in batches for name in batch.y}

    first = like(benchmark_)
    first.limit = 7
    assert images(few) == images(first) < images(benchmark_)
    limited = like(benchmark_, limit=20)
    assert like(benchmark_, limit=20, train=30).sizes("train") == limited.sizes("train"), "the smaller one"
    assert like(benchmark_, limit=20, train=7).sizes("valid") == limited.sizes("valid")
    assert like(benchmark_, train=10**6).sizes("train") == benchmark_.sizes("train")


def test_a_limit_is_a_prefix(benchmark_):
    part = like(benchmark_, limit=20)
    assert set(part.sizes("test").values()) == {20}
    name = benchmark_.tasks[0].name
    long = next(iter(benchmark_.batches("test", size=20, seed=0, epoch=0)))
    short = next(iter(part.batches("test", size=20, seed=0, epoch=0)))
    assert torch.equal(long.x, short.x) and torch.equal(long.y[name], short.y[name])
    assert np.unique(short.y[name]).size > 1
