import re
import shutil

import archives
import numpy as np
import pytest
import torch

from mola.benchmarks import nyuv2
from mola.benchmarks._synthetic.scene_pixels import photographed
from mola.benchmarks.nyuv2 import NYUv2
from mola.benchmarks.scenes import export
from mola.data.splits.rule import Rule
from mola.types import BadInput

ROOMS = {"train": 20, "val": 7}


@pytest.fixture(scope="module")
def rooms(tmp_path_factory):
    """A miniature of the archive's content, unpacked, with rooms of ``scenes`` at 24×32."""
    folder = tmp_path_factory.mktemp("rooms")
    export(folder, ROOMS, 24, 32)
    return folder


@pytest.fixture
def files(rooms, tmp_path):
    """A copy that a test may spoil."""
    return shutil.copytree(rooms, tmp_path / "nyuv2")


def packed(folder, path):
    """As Dropbox packs a folder: its content, with an entry for the folder itself."""
    content = ((file.relative_to(folder).as_posix(), file.read_bytes()) for file in folder.rglob("*.npy"))
    return archives.zipped(path, [("/", b""), *content])


def placed(root, path, **options):
    benchmark = NYUv2.create(root, official=False, **options)
    benchmark.place(path)
    benchmark.prepare()
    return benchmark


def refusal(root, path):
    """The one line that placing or preparing ends with; nothing can be trained on afterwards."""
    with pytest.raises(BadInput) as caught:
        placed(root, path)
    assert "\n" not in str(caught.value)
    with pytest.raises(BadInput, match=r"expected prepared arrays, found (none|some of them)"):
        NYUv2.create(root, official=False).arrays  # noqa: B018
    return str(caught.value)


@pytest.mark.parametrize("form", ["archive", "folder", "folder above"])
def test_archive_to_batches(rooms, tmp_path, form):
    given = {"archive": lambda: packed(rooms, tmp_path / "x.zip"), "folder": lambda: rooms}.get(
        form, lambda: rooms.parent
    )()
    benchmark = placed(tmp_path / "data", given)
    assert benchmark.sizes("test") == dict.fromkeys(("segmentation", "depth", "normals"), 7)
    assert set(benchmark.sizes("train").values()) == {17} and set(benchmark.sizes("valid").values()) == {3}
    groups = {}
    for split in ("train", "valid", "test"):
        names = (benchmark.folder / f"all.{split}.txt").read_text().split()
        for row, name in enumerate(names):
            part, number = name.split("/")
            groups[name] = split
            arrays = photographed(int(number) + (20 if part == "val" else 0), 24, 32)
            assert np.array_equal(benchmark.arrays[f"all.{split}.images"][row], arrays["images"])
            assert np.array_equal(benchmark.arrays[f"all.{split}.segmentation"][row], arrays["segmentation"])
            assert np.array_equal(benchmark.arrays[f"all.{split}.depth"][row], arrays["depth"])
            assert np.abs(benchmark.arrays[f"all.{split}.normals"][row] - arrays["normals"]).max() < 1e-6
    assert len(groups) == 27 and all((split == "test") == name.startswith("val/") for name, split in groups.items())
    (batch,) = benchmark.batches("train", size=17, seed=0, epoch=0)
    assert batch.task is None and batch.x.shape == (17, 3, 24, 32)
    assert {name: tuple(y.shape) for name, y in batch.y.items()} == {
        "segmentation": (17, 24, 32),
        "depth": (17, 1, 24, 32),
        "normals": (17, 3, 24, 32),
    }
    assert benchmark.normalised(batch.x).dtype == torch.float32


def test_the_papers_split_selects_on_what_it_reports(rooms, tmp_path):
    benchmark = placed(tmp_path, rooms, split="paper")
    assert set(benchmark.sizes("train").values()) == {20}
    assert set(benchmark.sizes("valid").values()) == set(benchmark.sizes("test").values()) == {7}
    (valid,), (test,) = (list(benchmark.batches(s, size=7, seed=0, epoch=0)) for s in ("valid", "test"))
    assert torch.equal(valid.x, test.x) and torch.equal(valid.y["depth"], test.y["depth"])
    assert any("paper" in remark for remark in benchmark.remarks())


def test_preparing_again_costs_nothing_and_follows_the_data(files, tmp_path):
    benchmark = placed(tmp_path / "data", files)
    before = {path: path.stat().st_mtime_ns for path in benchmark.folder.iterdir()}
    benchmark.prepare()
    assert {path: path.stat().st_mtime_ns for path in benchmark.folder.iterdir()} == before
    changed = np.load(files / "val" / "depth" / "3.npy") + np.float32(9)
    np.save(files / "val" / "depth" / "3.npy", changed)
    again = placed(tmp_path / "data", files)
    assert again.arrays["all.test.depth"].max() == changed.max()


def test_an_interrupted_preparation_goes_on(files, tmp_path, monkeypatch):
    monkeypatch.setattr("mola.data.prepare.npy_writer.SAFE", 0)
    monkeypatch.setattr(nyuv2, "BLOCK", 2)
    benchmark = NYUv2.create(tmp_path, official=False)
    benchmark.place(files)
    read, asked = nyuv2.Samples.read, []

    def dying(self, i):
        asked.append(i)
        if len(asked) == 10:
            raise KeyboardInterrupt
        return read(self, i)

    monkeypatch.setattr(nyuv2.Samples, "read", dying)
    with pytest.raises(KeyboardInterrupt):
        benchmark.prepare()
    assert not list(benchmark.folder.glob("*.npy"))
    with pytest.raises(BadInput, match="expected prepared arrays, found none"):
        NYUv2.create(tmp_path, official=False).arrays  # noqa: B018
    benchmark.prepare()
    assert len(asked) == 10 + 27 - 8  # four blocks of two were safe
    whole = placed(tmp_path / "other", files)
    assert {name: array.tobytes() for name, array in whole.arrays.items()} == {
        name: array.tobytes() for name, array in benchmark.arrays.items()
    }


def test_the_published_archive_is_held_to_its_counts_and_size(tmp_path, monkeypatch):
    """At full size, with counts of four and two."""
    export(tmp_path / "raw", {"train": 9, "val": 2})
    benchmark = NYUv2.create(tmp_path / "data")
    assert (benchmark.rule.counts["train"], benchmark.rule.counts["val"]) == (795, 654)
    with pytest.raises(BadInput, match=r"train/image: expected 795 files, found 9$"):
        benchmark.place(tmp_path / "raw")
    read = Rule.read

    def fewer(*words):
        rule = read(*words)
        return Rule(rule.benchmark, rule.version, rule.rule, {"train": 9, "val": 2}, rule.percent)

    monkeypatch.setattr(Rule, "read", fewer)
    benchmark = NYUv2.create(tmp_path / "data")
    benchmark.place(packed(tmp_path / "raw", tmp_path / "nyuv2.zip"))
    benchmark.prepare()
    assert benchmark.arrays["all.train.images"].shape == (7, 288, 384, 3)
    assert benchmark.arrays["all.test.normals"].shape == (2, 288, 384, 3)
    np.save(tmp_path / "raw" / "val" / "label" / "1.npy", np.zeros((240, 320)))
    with pytest.raises(BadInput, match=r"label/1\.npy: expected numbers of shape \(288, 384\), found .*\(240, 320\)$"):
        NYUv2.create(tmp_path / "other").place(tmp_path / "raw")


def test_the_committed_rule_divides_the_published_numbers():
    benchmark = NYUv2.create("nowhere")
    splits = benchmark._splits(benchmark.rule.counts)
    assert {split: len(indices) for split, (_, indices) in splits.items()} == {"train": 699, "valid": 96, "test": 654}
    assert sorted(splits["train"][1] + splits["valid"][1]) == list(range(795))
    assert sorted(splits["test"][1]) == list(range(654))
    assert splits["test"][0] == "val"


def saved(array):
    return lambda path: np.save(path, array)


SPOILED = {
    "a wrong shape": (
        "val/depth/2.npy",
        saved(np.ones((24, 32), np.float32)),
        r"val/depth/2\.npy: expected numbers of shape \(24, 32, 1\), found float32 of shape \(24, 32\)",
    ),
    "text": ("train/label/0.npy", lambda path: path.write_text("hello"), r"train/label/0\.npy: expected an array"),
    "nothing": ("train/image/4.npy", lambda path: path.write_bytes(b""), r"image/4\.npy: expected an array"),
    "half a file": (
        "train/normal/5.npy",
        lambda path: path.write_bytes(path.read_bytes()[:999]),
        r"train/normal/5\.npy: expected an array of numbers, found",
    ),
    "objects": ("train/label/1.npy", saved(np.array([{}], dtype=object)), r"label/1\.npy: expected an array of num"),
    "words": ("train/label/1.npy", saved(np.full((24, 32), "a")), r"label/1\.npy: expected numbers of shape .*<U1"),
    "colours to 255": ("val/image/0.npy", saved(np.full((24, 32, 3), 255.0)), r"colours in 0 … 1, found 255 … 255"),
    "a 14th class": ("val/label/6.npy", saved(np.full((24, 32), 13)), r"classes in -1 … 12, found 13 … 13"),
    "half a class": ("val/label/6.npy", saved(np.full((24, 32), 0.5)), r"label/6\.npy: expected whole numbers"),
    "millimetres": ("val/depth/1.npy", saved(np.full((24, 32, 1), 2500.0)), r"metres in 0 … 100, found 2500"),
    "not a number": ("val/depth/1.npy", saved(np.full((24, 32, 1), np.nan)), r"metres in 0 … 100, found nan"),
    "long normals": ("val/normal/1.npy", saved(np.full((24, 32, 3), 2.0)), r"expected unit vectors, found 2 … 2"),
    "a missing file": (
        "train/label/7.npy",
        lambda path: path.unlink(),
        r"label: expected 0\.npy … 18\.npy, found no 7",
    ),
    "a missing first one": ("train/image/0.npy", lambda path: path.unlink(), r"image: expected .*, found no 0\.npy$"),
    "a missing last one": ("val/depth/6.npy", lambda path: path.unlink(), r"depth: expected as many .*, 7, found 6"),
    "a missing kind": ("val/depth", shutil.rmtree, r"val: expected folders image, label, depth, normal, found "),
    "a missing part": ("val", shutil.rmtree, r"nyuv2: expected folders train and val, found train"),
}


@pytest.mark.parametrize("case", SPOILED)
def test_what_is_wrong_is_named(files, tmp_path, case):
    place, spoil, expected = SPOILED[case]
    spoil(files / place)
    assert re.search(expected, refusal(tmp_path / "data", files)), case


def test_spoiled_data_leaves_the_good_part(files, tmp_path):
    benchmark = placed(tmp_path / "data", files)
    before = {path: path.stat().st_mtime_ns for path in benchmark.folder.glob("all.t*.npy")}
    saved(np.full((24, 32, 1), np.nan))(files / "val" / "depth" / "1.npy")
    with pytest.raises(BadInput, match=r"val/depth/1\.npy"):
        placed(tmp_path / "data", files)
    after = {path: path.stat().st_mtime_ns for path in benchmark.folder.glob("all.t*.npy")}
    assert {path: time for path, time in before.items() if "train" in path.name}.items() <= after.items()
