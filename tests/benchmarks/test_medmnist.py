import copy
import hashlib
import io
import shutil
import zipfile
from dataclasses import replace

import miniature_medical
import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms

from mola.benchmarks import _medmnist_files, medmnist
from mola.benchmarks.medmnist import MedMNIST
from mola.data.prepare import npz
from mola.types import BadInput


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return miniature_medical.write_medmnist(tmp_path_factory.mktemp("medmnist"))


def placed(root, files, **options):
    benchmark = MedMNIST.create(root, official=False, **options)
    benchmark.place(files)
    benchmark.fetch()
    return benchmark


def refused(call, *args):
    with pytest.raises(BadInput) as error:
        call(*args)
    assert "\n" not in str(error.value)
    return str(error.value)


def changed(root, files, name="octmnist", **arrays):
    """The error for one file with other arrays; None leaves one out."""
    benchmark = placed(root, files)
    whole = {**miniature_medical.medmnist(name), **arrays}
    np.savez(root / f"{name}.npz", **{key: array for key, array in whole.items() if array is not None})
    benchmark.place(root / f"{name}.npz")
    return refused(benchmark.prepare)


def test_the_papers_tasks():
    assert [task.outputs for task in MedMNIST.tasks] == [9, 4, 11, 8, 2, 7, 11, 11, 2]
    assert {task.name: task.outputs for task in MedMNIST.tasks} == {
        name: classes for name, (classes, _) in miniature_medical.FLAGS.items()
    }
    assert [task.name for task in MedMNIST.tasks] == [source.name for source in MedMNIST.sources]


def test_published_numbers_and_files(tmp_path):
    counts = MedMNIST.create(tmp_path).rule.counts
    totals = {key: sum(of_set["3.0"][key] for of_set in counts.values()) for key in ("train", "val", "test")}
    assert totals == {"train": 273161, "val": 35488, "test": 49207}
    checksums = [
        c for size in _medmnist_files.MD5 for s in _medmnist_files.published(size) for c in s.checksums.values()
    ]
    assert len(set(checksums)) == 4 * 9 + 3 and all(len(c) == len("md5:") + 32 for c in checksums)
    large = MedMNIST.create(tmp_path, size=224).sources[0]
    assert large.file == "pathmnist_224.npz"
    assert large.mirrors == ("https://zenodo.org/records/10519652/files/pathmnist_224.npz?download=1",)
    for source in MedMNIST.sources:
        organ = source.name.startswith("organ")
        assert list(source.checksums) == (["3.0", "2.2.3"] if organ else ["3.0"])
        assert set(counts[source.name]) == set(source.checksums)
    assert {s.name for s in MedMNIST.sources if "NC" in s.licence} == {"dermamnist"}


@pytest.mark.parametrize("split", ["ours", "paper"])
def test_arrays_are_the_publishers(tmp_path, files, split):
    benchmark = placed(tmp_path, files, split=split)
    benchmark.prepare()
    theirs = {"train": "train", "valid": "val" if split == "ours" else "test", "test": "test"}
    for name, (_, channels) in miniature_medical.FLAGS.items():
        raw = miniature_medical.medmnist(name)
        for ours, key in theirs.items():
            prepared = benchmark.arrays[f"{name}.{ours}.images"]
            assert prepared.dtype == np.uint8 and prepared.shape == (24, 28, 28, channels)
            assert np.array_equal(prepared.reshape(raw[f"{key}_images"].shape), raw[f"{key}_images"])
            labels = benchmark.arrays[f"{name}.{ours}.labels"]
            assert labels.dtype == np.int64 and np.array_equal(labels, raw[f"{key}_labels"][:, 0])
    assert any("selected on the reported split" in line for line in benchmark.remarks()) == (split == "paper")
    assert bool(list(benchmark.folder.glob("*.valid.*"))) == (split == "ours")  # the test split is stored once


def test_grey_images_have_three_equal_channels(tmp_path, files):
    benchmark = placed(tmp_path, files)
    benchmark.prepare()
    for split in ("train", "test"):
        for batch in benchmark.batches(split, size=18, seed=0, epoch=0):
            for name, (_, channels) in miniature_medical.FLAGS.items():
                if name in batch.y:
                    x = batch.x[batch.rows(name)]
                    assert x.shape[1] == 3 and bool((x == x[:, :1]).all()) == (channels == 1)


def test_the_other_published_sizes(tmp_path):
    files = miniature_medical.write_medmnist(tmp_path / "files", size=64, number=12)
    benchmark = placed(tmp_path, files, size=64)
    benchmark.prepare()
    assert benchmark.arrays["pathmnist.train.images"].shape == (12, 64, 64, 3)
    assert benchmark.folder != MedMNIST.create(tmp_path, official=False).folder


def test_images_are_mirrored_half_of_the_time(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (200, 5, 6, 1), dtype=np.uint8)
    before = images.copy()
    uniform = np.random.default_rng(1).random((200, MedMNIST.draws), dtype=np.float32)
    actual = MedMNIST.create(tmp_path).augmented(images, uniform)
    mirrored = (actual == images[:, :, ::-1]).all((1, 2, 3))
    assert np.array_equal(mirrored, uniform[:, 0] < 0.5) and 70 < mirrored.sum() < 130
    assert np.array_equal(actual[~mirrored], images[~mirrored]) and np.array_equal(images, before)


@pytest.mark.parametrize(("size", "resize"), [(28, 224), (28, 64), (224, 64), (28, None), (64, 64)])
def test_a_model_sees_what_the_papers_transforms_give(tmp_path, size, resize):
    """Resize, ToTensor, Normalize round to whole values in between; here nothing is rounded."""
    images = np.random.default_rng(0).integers(0, 256, (3, size, size, 3), dtype=np.uint8)
    steps = [transforms.ToTensor(), transforms.Normalize([0.5] * 3, [0.5] * 3)]
    steps = ([transforms.Resize(resize)] if resize else []) + steps
    expected = torch.stack([transforms.Compose(steps)(Image.fromarray(image)) for image in images])
    actual = MedMNIST.create(tmp_path, resize=resize).normalised(torch.from_numpy(images).permute(0, 3, 1, 2))
    assert actual.shape == expected.shape and actual.is_contiguous() and actual.dtype == torch.float32
    assert (actual - expected).abs().max() <= 1.01 / 127.5


def test_an_interrupted_preparation_goes_on(tmp_path, files, monkeypatch):
    whole = placed(tmp_path / "whole", files)
    whole.prepare()
    monkeypatch.setattr(npz, "CHUNK", 5 * 28 * 28)
    monkeypatch.setattr("mola.data.prepare.npy_writer.SAFE", 1)
    original, asked = npz.rows, []

    def breaking(path, key, start=0):
        asked.append((key, start))
        for number, piece in enumerate(original(path, key, start)):
            if key == "val_images" and path.name == "organcmnist.npz" and start == 0 and number == 3:
                raise KeyboardInterrupt
            yield piece

    monkeypatch.setattr(npz, "rows", breaking)
    benchmark = placed(tmp_path / "again", files)
    with pytest.raises(KeyboardInterrupt):
        benchmark.prepare()
    assert "expected prepared arrays, found some of them" in refused(lambda: benchmark.arrays)
    asked.clear()
    benchmark.prepare()
    assert next(entry for entry in asked if "images" in entry[0]) == ("val_images", 15)
    for name, array in whole.arrays.items():
        assert np.array_equal(array, benchmark.arrays[name]), name


def test_another_file_is_refused(tmp_path, files):
    benchmark = MedMNIST.create(tmp_path)
    message = refused(benchmark.place, files / "organcmnist.npz")
    assert f"expected md5:{_medmnist_files.MD5[28]['organcmnist']} (3.0) or md5:0afa" in message
    assert "expected pathmnist.npz or" in refused(benchmark.place, tmp_path.parent / "other.npz")


def test_of_several_files_those_before_a_refused_one_are_placed(tmp_path, files):
    benchmark = placed(tmp_path / "data", files)
    before = {path: path.stat().st_ino for path in benchmark.raw.folder.glob("*.npz")}
    spoiled = shutil.copytree(files, tmp_path / "spoiled")
    third = spoiled / benchmark.sources[2].file
    third.write_bytes(third.read_bytes()[:-1])
    assert refused(benchmark.place, spoiled).startswith(f"{third}: expected a whole file, found ")
    changed = {path.stem for path, inode in before.items() if path.stat().st_ino != inode}
    assert changed == {source.name for source in benchmark.sources[:2]}
    benchmark.fetch()
    assert not list(benchmark.raw.folder.glob("*.tmp"))


def as_published(monkeypatch, files, version):
    """Take the miniature for the published files: its checksums get the name of a version."""

    def published(size):
        return tuple(
            replace(source, checksums={**source.checksums, version: f"md5:{hashlib.md5(content).hexdigest()}"})
            if version in source.checksums
            else replace(source, checksums={"3.0": f"md5:{hashlib.md5(content).hexdigest()}"})
            for source in _medmnist_files.published(size)
            for content in [(files / source.file).read_bytes()]
        )

    monkeypatch.setattr(medmnist, "published", published)


def test_a_limit_that_leaves_one_class_is_refused(tmp_path, files):
    whole = miniature_medical.medmnist("octmnist")
    np.savez(tmp_path / "octmnist.npz", **{**whole, "val_labels": np.sort(whole["val_labels"], 0)})  # 6 of each class
    benchmark = placed(tmp_path, files, limit=6)
    benchmark.place(tmp_path / "octmnist.npz")
    benchmark.prepare()
    for call in (benchmark.sizes, lambda split: benchmark.steps(size=18)):
        message = "medmnist.limit: expected at least 7, so that octmnist.valid has two classes, found 6"
        assert refused(call, "train") == message
    for limit, number in ((7, 7), (30, 24), (None, 24)):
        assert set(MedMNIST.create(tmp_path, official=False, limit=limit).sizes("valid").values()) == {number}


def test_published_counts_are_asserted(tmp_path, files, monkeypatch):
    as_published(monkeypatch, files, "3.0")
    benchmark = MedMNIST.create(tmp_path)
    benchmark.place(files)
    message = refused(benchmark.prepare)
    assert message.endswith("pathmnist.npz: train_images: expected 89996 images, found 24")


def test_the_older_version_is_known_by_its_checksum_and_told(tmp_path, files, monkeypatch):
    as_published(monkeypatch, files, "2.2.3")
    benchmark = MedMNIST.create(tmp_path)
    benchmark.place(files)
    for versions in benchmark.rule.counts.values():
        for version in list(versions):
            versions[version] = {"train": 24, "val": 24, "test": 24} if len(versions) == 1 or version != "3.0" else {}
    benchmark.prepare()
    assert benchmark.remarks() == ("data: organcmnist, organamnist, organsmnist of MedMNIST 2.2.3, with blank images",)


def test_bad_files_are_told_in_one_line(tmp_path, files):
    whole = miniature_medical.medmnist("octmnist")
    message = changed(tmp_path / "a", files, val_labels=None, test_images=None)
    assert message.startswith(f"{tmp_path / 'a' / 'raw' / 'medmnist' / 'octmnist.npz'}: expected the arrays ")
    assert "test_images, val_labels, found train_images" in message
    message = changed(tmp_path / "b", files, val_images=whole["val_images"][:, :, :27])
    assert message.endswith("octmnist.npz: val_images: expected N×28×28 uint8, found 24×28×27 uint8")
    message = changed(tmp_path / "c", files, val_images=whole["val_images"].astype(np.float32))
    assert message.endswith("found 24×28×28 float32")
    message = changed(tmp_path / "d", files, train_labels=whole["train_labels"][:-1])
    assert message.endswith("train_labels: expected 24×1 integers, found 23×1 uint8")
    message = changed(tmp_path / "e", files, test_labels=whole["test_labels"] + 1)
    assert message.endswith("test_labels: expected 0 to 3, found 1 to 4")
    message = changed(tmp_path / "f", files, name="bloodmnist", train_images=whole["train_images"])
    assert message.endswith("expected N×28×28×3 uint8, found 24×28×28 uint8")
    message = changed(
        tmp_path / "g", files, train_images=whole["train_images"][:0], train_labels=whole["train_labels"][:0]
    )
    assert message.endswith("expected N×28×28 uint8, found 0×28×28 uint8")


def test_a_damaged_array_is_told_and_leaves_the_others(tmp_path, files):
    benchmark = placed(tmp_path, files)
    path = benchmark.raw.folder / "organsmnist.npz"
    content = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(content, "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name)[: None if name != "val_images.npy" else -100])
    (tmp_path / path.name).write_bytes(content.getvalue())
    benchmark.place(tmp_path / path.name)
    assert "val_images.npy: expected 24 rows, found" in refused(benchmark.prepare)
    benchmark.place(files / path.name)
    done = {file: file.stat().st_mtime_ns for file in benchmark.folder.glob("pathmnist*.npy")}
    benchmark.prepare()
    assert done and all(file.stat().st_mtime_ns == time for file, time in done.items())


def test_costs_are_counted_on_fewer_images_than_a_limit_may_leave(tmp_path, files):
    """octmnist.valid begins with six images of one class; nobody asked for that limit."""
    import torch

    from mola.training import cost

    benchmark = placed(tmp_path, files)
    benchmark.prepare()
    assert len(cost.example_batch(benchmark, torch.device("cpu")).y) == len(benchmark.tasks)
    fewer = copy.copy(benchmark)
    fewer.limit = 2
    assert set(fewer.sizes("valid").values()) == {2}
