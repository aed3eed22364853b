"""Cached features: they are those of the frozen stages, and training on them is training on the images."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from cached_runs import CPU, STAGES, built, section, write_weights

from mola import registry
from mola.config import load as load_suite
from mola.data.prepare import npy_writer
from mola.experiment import run as runs
from mola.experiment import spec
from mola.models.frozen_stages import prefix_output
from mola.seeds import derive
from mola.source import ROOT
from mola.training import features as features_module
from mola.training.cost import costs
from mola.training.features import Features
from mola.training.loading import load
from mola.training.step import TrainingStep
from mola.types import BadInput

METHODS = registry.names("methods")
# what the frozen part does not reach is no subject here
OPTIONS = {"where": r"layer[34]\..*conv\d", "router_width": 4, "warmup": 0}


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write_weights(tmp_path_factory.mktemp("weights") / "weights.pth")


@pytest.fixture
def root(tmp_path, data_root):
    """A data folder with digits and scenes, and no features yet."""
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("digits", "scenes"):
        (folder / name).symlink_to(data_root / name)
    return folder


@pytest.fixture
def suite(suite_file, weights, root):
    """Loads a suite with cached features; ``views`` and what else differs are keywords."""

    def loaded(views=1, backbone=None, **changes):
        content = {"shared_options": OPTIONS, "data": str(root), "backbone": section(weights, views) | (backbone or {})}
        return load_suite(suite_file(**content | changes))

    return loaded


def settings_of(suite, label="shared", benchmark="digits"):
    return suite.settings(benchmark, label)


def folders(root: Path) -> list[Path]:
    return sorted(path for path in (root / "features").glob("*") if path.is_dir())


def test_features_are_what_the_frozen_stages_give(suite, root):
    loaded = suite(views=3)
    cached, _, _ = built(settings_of(loaded), root)
    plain, method, _ = built(settings_of(suite(views=None)), root)
    method.eval()
    views = cached.views(5, 2)
    for ours, picked in zip(
        cached.batches("train", size=16, seed=5, epoch=2),
        plain.order("train", size=16, seed=5, epoch=2, sampling="balanced"),
        strict=True,
    ):
        tables = [plain.numbers(0, view) for view in range(3)]
        uniform = {
            name: np.stack([tables[views[name][row]][name][row] for row in rows]) for name, rows in picked.items()
        }
        images = plain.batch("train", picked, uniform)
        with torch.no_grad():
            expected = prefix_output(method.backbone, plain.normalised(images.x))
        assert ours.x.dtype == torch.float32 and ours.x.shape == (16, 32, 4, 4)
        torch.testing.assert_close(ours.x, expected, rtol=1e-5, atol=1e-5)
        assert torch.equal(ours.task, images.task) and all(torch.equal(ours.y[n], images.y[n]) for n in images.y)
    ours, images = (next(iter(load(b, "valid", CPU, size=8))) for b in (cached, plain))
    with torch.no_grad():
        torch.testing.assert_close(ours.x, prefix_output(method.backbone, images.x), rtol=1e-5, atol=1e-5)
    assert cached.steps(size=16) == plain.steps(size=16) and cached.identity == plain.identity


def test_which_view_depends_on_seed_epoch_and_image_alone(suite, root):
    cached, _, _ = built(settings_of(suite(views=4)), root)
    views = cached.views(1, 3)
    assert {name: len(which) for name, which in views.items()} == dict.fromkeys(views, 16)
    assert set(np.concatenate(list(views.values())).tolist()) == {0, 1, 2, 3}
    for other, same in (((1, 3), True), ((2, 3), False), ((1, 4), False)):
        assert all(np.array_equal(views[name], cached.views(*other)[name]) for name in views) is same
    cached.limit = 7
    assert all(np.array_equal(views[name][:7], which) for name, which in cached.views(1, 3).items())


@pytest.mark.parametrize("name", METHODS)
def test_a_step_on_features_is_the_step_on_the_images(name, suite, root):
    cached_settings, plain_settings = (
        settings_of(suite(views=views, methods={name: None}, training={"batch_size": 16, "lr": 0.01}), name)
        for views in (1, None)
    )
    cached, ours, balancer = built(cached_settings, root)
    plain, expected, other = built(plain_settings, root)
    # the one view, as the uncached run would see it
    plain.numbers = lambda seed, epoch: type(plain).numbers(plain, 0, 0)
    for benchmark, method, balance in ((cached, ours, balancer), (plain, expected, other)):
        optimizer = torch.optim.SGD(method.parameters(), 0.01)
        step = TrainingStep(method, balance, optimizer, benchmark.tasks)
        method.train()
        torch.manual_seed(0)
        step(next(iter(load(benchmark, "train", CPU, size=16, seed=3))))
    reference = expected.state_dict()
    assert set(ours.state_dict()) <= set(reference)
    for key, value in ours.state_dict().items():
        torch.testing.assert_close(value, reference[key], rtol=1e-5, atol=1e-6, msg=key)
    valid = [next(iter(load(benchmark, "valid", CPU, size=8))) for benchmark in (cached, plain)]
    with torch.no_grad():
        one, two = ours.eval()(valid[0]), expected.eval()(valid[1])
    for task, prediction in one.predictions.items():
        torch.testing.assert_close(prediction, two.predictions[task], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["shared", "mola_router", "single_task", "chance"])
def test_costs_are_those_of_the_whole_backbone(name, suite, root):
    ours, plain = (
        costs(method, benchmark, CPU)
        for benchmark, method, _ in (
            built(settings_of(suite(views=views, methods={name: None}), name), root) for views in (2, None)
        )
    )
    if name == "single_task":
        # four towers have the frozen part four times over
        counts = ours["parameters"], plain["parameters"]
        assert counts[0]["trainable"] == counts[1]["trainable"] and counts[0]["inference"] < counts[1]["inference"]
        assert ours["flops_per_sample"] == plain["flops_per_sample"]
    else:
        assert ours == plain


def test_one_cache_serves_methods_seeds_amounts_and_smaller_limits(suite, root):
    loaded = suite(views=2, methods={"shared": None, "mola_router": None})
    built(settings_of(loaded), root)
    (folder,) = folders(root)
    stamps = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    built(settings_of(loaded, "mola_router"), root, seed=1)
    # whole blocks are computed, so another limit within them needs nothing
    built(settings_of(suite(views=2, benchmarks={"digits": {"limit": 9}})), root)
    few = suite(views=2, benchmarks={"digits": {"limit": 16, "train": 4}}, methods={"mmoe": None})
    fewer, _, _ = built(settings_of(few, "mmoe"), root)
    batches = list(fewer.batches("train", size=8, seed=0, epoch=0))
    assert len(batches) == 2 and batches[0].x.shape[0] == batches[0].pixels.shape[0] == 8
    assert fewer.inner.group_sizes("train") == dict.fromkeys(fewer.inner.groups, 4)
    assert folders(root) == [folder]
    assert stamps == {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def test_a_limit_changes_no_bit(suite, root, monkeypatch):
    monkeypatch.setattr(features_module, "BLOCK", 8)
    small, large = (
        next(iter(built(settings_of(suite(views=1, benchmarks={"digits": {"limit": n}})), root)[0].batches(
            "valid", size=5, seed=0, epoch=0
        ))).x
        for n in (5, 20)
    )  # fmt: skip
    assert len(folders(root)) == 2 and torch.equal(small, large)


@pytest.mark.parametrize("what", ["views", "stages", "weights", "augmentation", "data", "threads"])
def test_what_decides_the_bits_decides_the_folder(what, suite, root, tmp_path, monkeypatch):
    built(settings_of(suite(views=1)), root)
    (before,) = folders(root)
    changes = {"views": 1, "backbone": {}}
    if what == "views":
        changes["views"] = 2
    elif what == "stages":
        changes["backbone"] = {"freeze_stages": STAGES + 1}
    elif what == "weights":
        state = torch.load(section(write_weights(tmp_path / "other.pth"))["weights"])
        state["layer1.0.conv1.weight"] *= 1.01
        torch.save(state, tmp_path / "other.pth")
        changes["backbone"] = {"weights": str(tmp_path / "other.pth")}
    elif what == "threads":
        monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    else:
        digits = registry.load("benchmarks", "digits")
        if what == "augmentation":
            monkeypatch.setattr(digits, "augmented", lambda self, images, uniform: images)
        else:
            monkeypatch.setattr(digits, "identity", "other data")
    built(settings_of(suite(**changes)), root)
    assert len(folders(root)) == 2 and before in folders(root)


def test_an_interrupted_computation_goes_on_with_the_same_bits(suite, root, monkeypatch):
    monkeypatch.setattr(features_module, "BLOCK", 8)
    monkeypatch.setattr(npy_writer, "SAFE", 1)
    settings = settings_of(suite(views=2))
    built(settings, root)
    (folder,) = folders(root)
    expected = {path.name: path.read_bytes() for path in folder.glob("*.npy")}
    assert len(expected) == 12
    for path in folder.iterdir():
        path.unlink()
    real, calls = Features._computed, []

    def interrupted(self, *arguments):
        calls.append(arguments)
        if len(calls) == 12:
            raise KeyboardInterrupt
        return real(self, *arguments)

    monkeypatch.setattr(Features, "_computed", interrupted)
    with pytest.raises(KeyboardInterrupt):
        built(settings, root)
    (unfinished,) = folder.glob("features@*.part")
    # a power cut may leave a part of what was written, up to somewhere in a block
    os.truncate(unfinished, unfinished.stat().st_size - 3000)
    assert list(folder.glob("*.npy"))
    cut = len(calls)
    built(settings, root)
    assert {path.name: path.read_bytes() for path in folder.glob("*.npy")} == expected
    # one for the shape, two views and two blocks of four tasks, one view of two blocks for valid and test
    assert len(calls) - cut < 1 + 4 * 4 + 2 * 4 * 2, "what was finished is kept"


@pytest.mark.parametrize("shown", [True, False])
def test_a_damaged_cache_is_computed_again(suite, root, shown):
    """Also where neither size nor time shows the damage."""
    settings = settings_of(suite(views=1))
    first = next(iter(built(settings, root)[0].batches("valid", size=4, seed=0, epoch=0))).x.clone()
    (path,) = folders(root)[0].glob("mnist.valid.*.npy")
    stat, content = path.stat(), bytearray(path.read_bytes())
    content[-100:] = bytes(100)
    path.write_bytes(content)
    if not shown:
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    again = next(iter(built(settings, root)[0].batches("valid", size=4, seed=0, epoch=0))).x
    assert torch.equal(first, again)
    assert path.read_bytes() != content


def test_a_run_resumes_with_the_same_bits(suite, tmp_path):
    training = {"epochs": 3, "batch_size": 16, "lr": 0.002, "checkpoint": {"epochs": 1}}
    changes = {"methods": {"mola_router": None}, "training": training}
    whole, cut = (suite(views=2, results=str(tmp_path / name), **changes) for name in ("whole", "cut"))
    expected = runs.train(spec.experiment(whole, "digits", "mola_router"), 0)
    assert expected.remarks == [
        "2 fixed augmentations of every training image, features of the frozen first 2 stages computed once"
    ]

    def stop(done, total):
        if done == total - 1:
            raise KeyboardInterrupt

    experiment = spec.experiment(cut, "digits", "mola_router")
    with pytest.raises(KeyboardInterrupt):
        runs.train(experiment, 0, stop)
    torch.rand(5)
    record = runs.train(experiment, 0)
    assert "resumed after epoch 2" in (experiment.run_folder(0) / "log.txt").read_text()
    assert record.weights_sha256 == expected.weights_sha256 and record.test == expected.test
    assert [epoch.valid for epoch in record.curve] == [epoch.valid for epoch in expected.curve]


BUILDS = """
import json, sys
from pathlib import Path
from mola.config import load
from mola.data.prepare import store
from mola.training import features
from mola.training.build import build
import torch, logging, time

logging.basicConfig(level=logging.INFO)
computed = features.Features._computed
def slow(self, *arguments):
    time.sleep(0.1)
    return computed(self, *arguments)
features.Features._computed = slow
suite = load(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
benchmark, _, _ = build(suite.settings("digits", "shared"), suite.data, 0, torch.device("cpu"))
print(json.dumps({name: store.digest(array) for name, array in benchmark.arrays.items()}))
"""


@pytest.mark.slow
def test_two_processes_share_one_computation(suite, root, tmp_path):
    suite(views=2)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", BUILDS, str(tmp_path / "suite.yaml")], cwd=ROOT, text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"}, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for _ in range(2)
    ]  # fmt: skip
    for process in processes:
        assert process.stdout.readline() == "ready\n", process.stderr.read()
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    outputs = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    one, two = (json.loads(stdout) for stdout, _ in outputs)
    assert one == two and len(one) == 12
    assert sum("computing the features" in stderr for _, stderr in outputs) == 1
    assert len(folders(root)) == 1


def test_refusals(suite, suite_file, weights, root):
    for backbone, message in (
        ({"freeze_stages": 0}, r"backbone\.cached_views: expected null where freeze_stages is 0, found 1$"),
        ({"weights": None}, r"backbone\.cached_views: expected null where weights are random, .*, found 1$"),
        ({"cached_views": 0}, r"backbone\.cached_views: .* greater than 0"),
        ({"freeze_stages": -1}, r"backbone\.freeze_stages: .* greater than or equal to 0"),
    ):
        with pytest.raises(BadInput, match=message):
            suite(backbone=backbone)
    with pytest.raises(BadInput, match=r"cached_views: expected null for scenes, as targets move .*, found 1$"):
        built(settings_of(suite(benchmarks={"scenes": {"limit": 4}}), benchmark="scenes"), root)
    with pytest.raises(BadInput, match=r"freeze_stages: expected at most 4, the stages of resnet10t, found 9$"):
        built(settings_of(suite(backbone={"freeze_stages": 9})), root)
    assert not folders(root)


def test_images_come_along_where_gates_look_at_them(suite, root):
    loaded = suite(views=2, methods={"shared": None, "mmoe": None})
    plain, gated = (built(settings_of(loaded, name), root)[0] for name in ("shared", "mmoe"))
    batch = next(iter(load(gated, "train", CPU, size=16)))
    assert batch.images.shape == (16, 3, 32, 32) and batch.images.dtype == torch.float32
    part = batch.only("mnistm")
    assert torch.equal(part.images, batch.images[batch.rows("mnistm")]) and part.x.shape[1:] == batch.x.shape[1:]
    assert next(iter(load(plain, "train", CPU, size=16))).pixels is None
    assert derive(0, "features") != derive(0, "data")
    assert replace(batch, pixels=None).images is batch.x


def test_only_runs_that_cache_depend_on_this_code(suite):
    modules = [spec.modules(settings_of(suite(views=views))) for views in (2, None)]
    assert ["mola.training.cached" in names for names in modules] == [True, False]
    from mola.experiment.fingerprint import closure

    code = [{name for name in closure(names) if name.endswith((".cached", ".features"))} for names in modules]
    assert code == [{"mola.training.cached", "mola.training.features"}, set()]
