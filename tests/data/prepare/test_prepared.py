import errno
import json
import os
import signal
import subprocess
import sys
import types
from collections import namedtuple

import numpy as np
import pytest

from mola.data import disk
from mola.data.prepare import npy_writer, store
from mola.data.prepare.prepared import Prepared, Recipe, write_prepared
from mola.types import BadInput

ROWS = 23
PIXELS = np.random.default_rng(0).integers(0, 256, (ROWS, 4, 4, 3), dtype=np.uint8)
LABELS = np.arange(ROWS, dtype=np.int64)
KINDS = {"images": ((4, 4, 3), "uint8"), "labels": ((), "int64")}


@pytest.fixture(autouse=True)
def _safe_at_once(monkeypatch):
    monkeypatch.setattr(npy_writer, "SAFE", 1)


class Toy:
    """A recipe that tells where it was begun, and may break after some rows."""

    def __init__(self, made_from="a", rows=ROWS, breaks_at=None):
        self.begun, self.breaks_at = [], breaks_at
        self.recipe = Recipe(rows, KINDS, made_from, self.blocks, [f"{i}.png" for i in range(rows)], {"x": rows})

    def blocks(self, start):
        self.begun.append(start)
        for row in range(start, self.recipe.rows, 5):
            if self.breaks_at is not None and row >= self.breaks_at:
                raise BadInput("broken")
            rows = slice(row, min(row + 5, self.recipe.rows))
            yield {"images": PIXELS[rows], "labels": LABELS[rows]}


def prepare(folder, inputs="inputs", **toys):
    with store.sole_writer(folder):
        write_prepared(folder, {name: toy.recipe for name, toy in toys.items()}, {"inputs": inputs})


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_what_is_written_is_what_the_blocks_gave(tmp_path):
    prepare(tmp_path / "toy", a=Toy())
    actual = Prepared.read(tmp_path / "toy")
    arrays = actual.open(tmp_path / "toy", "prepare")
    assert np.array_equal(arrays["a.images"], PIXELS) and np.array_equal(arrays["a.labels"], LABELS)
    assert arrays["a.images"].dtype == np.uint8 and isinstance(arrays["a.images"], np.memmap)
    for kind, stored in actual.splits["a"].arrays.items():
        assert stored.sha256 == store.digest(arrays[f"a.{kind}"])
    assert actual.complete and actual.inputs == {"inputs": "inputs"} and actual.splits["a"].counts == {"x": ROWS}
    assert set(content(tmp_path / "toy")) == {"manifest.json", "a.images.npy", "a.labels.npy", "a.txt"}
    assert (tmp_path / "toy/a.txt").read_text().split() == [f"{i}.png" for i in range(ROWS)]


def test_damage_that_size_and_time_do_not_show_is_found_when_arrays_are_opened(tmp_path):
    folder = tmp_path / "toy"
    prepare(folder, a=Toy())
    whole = content(folder)
    for kind, place in (("images", -1), ("labels", -8)):
        path = folder / f"a.{kind}.npy"
        stat, damaged = path.stat(), bytearray(path.read_bytes())
        damaged[place] ^= 1
        path.write_bytes(damaged)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        prepared = Prepared.read(folder)
        assert prepared.fault(folder) is None
        expected = rf"a\.{kind}\.npy: expected sha256 \w+, found \w+; remove a\.{kind}\.npy, and prepare anew"
        with pytest.raises(BadInput, match=expected):
            prepared.open(folder, "prepare anew")
        path.unlink()
        prepare(folder, a=Toy())
        assert Prepared.read(folder).open(folder, "prepare anew").keys() == {"a.images", "a.labels"}
        assert {name: text for name, text in content(folder).items() if name != "manifest.json"} == {
            name: text for name, text in whole.items() if name != "manifest.json"
        }


def test_a_process_reads_whole_arrays_once(tmp_path, monkeypatch):
    prepare(tmp_path / "toy", a=Toy())
    prepared, digest, count = Prepared.read(tmp_path / "toy"), store.digest, []
    monkeypatch.setattr(store, "digest", lambda array: count.append(array) or digest(array))
    for _ in range(3):
        prepared.open(tmp_path / "toy", "")
    assert len(count) == 2, "one of images, one of labels"


def test_only_what_changed_is_made_anew(tmp_path):
    prepare(tmp_path / "toy", a=Toy(), b=Toy())
    before = (tmp_path / "toy/a.images.npy").stat()
    a, b, c = Toy(), Toy("other"), Toy()
    prepare(tmp_path / "toy", "new", a=a, b=b, c=c)
    assert (a.begun, b.begun, c.begun) == ([], [0], [0])
    assert (tmp_path / "toy/a.images.npy").stat() == before
    prepare(tmp_path / "toy", "new", a=a)
    assert set(Prepared.read(tmp_path / "toy").splits) == {"a"} and not (tmp_path / "toy/b.images.npy").exists()


@pytest.mark.parametrize("change", [{"rows": 10}, {"made_from": {"size": 3}}])
def test_the_key_depends_on_all_inputs(tmp_path, change):
    assert Toy(**change).recipe.key != Toy().recipe.key == Toy().recipe.key


def test_it_goes_on_where_it_broke(tmp_path):
    prepare(tmp_path / "whole", a=Toy())
    with pytest.raises(BadInput, match="broken"):
        prepare(tmp_path / "toy", a=Toy(breaks_at=10), b=Toy())
    assert not list((tmp_path / "toy").glob("*.npy")) and Prepared.read(tmp_path / "toy") is None
    again = Toy()
    prepare(tmp_path / "toy", a=again)
    assert again.begun == [10]
    for name in ("a.images.npy", "a.labels.npy", "a.txt"):
        assert content(tmp_path / "toy")[name] == content(tmp_path / "whole")[name]
    assert set(content(tmp_path / "toy")) == set(content(tmp_path / "whole"))
    assert Prepared.read(tmp_path / "toy").splits["a"].arrays["images"].sha256 == store.digest(PIXELS)


def test_a_finished_split_stays_when_the_next_breaks(tmp_path):
    with pytest.raises(BadInput, match="broken"):
        prepare(tmp_path / "toy", a=Toy(), b=Toy(breaks_at=0))
    assert not Prepared.read(tmp_path / "toy").complete
    a = Toy()
    prepare(tmp_path / "toy", a=a, b=Toy())
    assert a.begun == [] and Prepared.read(tmp_path / "toy").complete


def test_rows_that_were_not_safe_are_written_again(tmp_path):
    """After a power cut the file may be longer than what the disk has of it."""
    with pytest.raises(BadInput):
        prepare(tmp_path / "toy", a=Toy(breaks_at=10))
    (unfinished,) = (tmp_path / "toy").glob("images@*.part")
    with unfinished.open("ab") as file:
        file.write(bytes(500))
    prepare(tmp_path / "toy", a=Toy())
    assert np.array_equal(np.load(tmp_path / "toy/a.images.npy"), PIXELS)


def test_what_another_recipe_left_is_swept_out(tmp_path):
    with pytest.raises(BadInput):
        prepare(tmp_path / "toy", a=Toy("old", breaks_at=10))
    again = Toy("new")
    prepare(tmp_path / "toy", a=again)
    assert again.begun == [0] and not list((tmp_path / "toy").glob("*.part"))


def test_a_copy_is_known_by_its_content(tmp_path):
    prepare(tmp_path / "toy", a=Toy())
    for path in (tmp_path / "toy").glob("*.npy"):
        os.utime(path, ns=(1, 1))
    assert "found another size or time" in Prepared.read(tmp_path / "toy").fault(tmp_path / "toy")
    again = Toy()
    prepare(tmp_path / "toy", a=again)
    assert again.begun == [] and Prepared.read(tmp_path / "toy").fault(tmp_path / "toy") is None


def test_a_changed_array_is_made_anew(tmp_path):
    prepare(tmp_path / "toy", a=Toy())
    path = tmp_path / "toy/a.images.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    again = Toy()
    prepare(tmp_path / "toy", a=again)
    assert again.begun == [0] and np.array_equal(np.load(path), PIXELS)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 0}', '{"format": 1, "parts": []}', '{"format": 1}'])
def test_a_damaged_manifest_is_none(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text)
    assert Prepared.read(tmp_path) is None


def test_a_manifest_of_other_keys_is_none(tmp_path):
    prepare(tmp_path / "toy", a=Toy())
    path = tmp_path / "toy/manifest.json"
    content = json.loads(path.read_text())
    del content["parts"]["a"]["arrays"]["images"]["sha256"]
    path.write_text(json.dumps(content))
    assert Prepared.read(tmp_path / "toy") is None


def test_too_few_rows_are_noticed(tmp_path):
    toy = Toy()
    toy.recipe = Recipe(ROWS + 1, KINDS, "a", lambda start: iter([{"images": PIXELS, "labels": LABELS}]))
    with pytest.raises(BadInput, match=rf"expected {ROWS + 1} items, found {ROWS}"):
        prepare(tmp_path / "toy", a=toy)
    assert not list((tmp_path / "toy").glob("*.npy"))


def test_a_full_disk_is_reported_before_anything_is_written(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda path: usage(1, 1, 0))
    with pytest.raises(BadInput, match=r"expected .* free for prepared arrays, found 0.0 MB"):
        prepare(tmp_path / "toy", a=Toy())
    assert not list((tmp_path / "toy").iterdir())


def test_a_disk_that_runs_full_is_reported(tmp_path, monkeypatch):
    def full(self, block):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(npy_writer.NpyWriter, "append", full)
    with pytest.raises(BadInput, match="expected to write prepared arrays, found a full disk"):
        prepare(tmp_path / "toy", a=Toy())


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.EIO, "Input/output error", "/raw/a.npz"), "/raw/a.npz: expected to read it, found Input/output"),
        (OSError(errno.EIO, "Input/output error"), "raw data of a: expected to read it, found Input/output error"),
    ],
)
def test_a_source_that_cant_be_read_is_not_a_folder_that_cant_be_written(tmp_path, error, message):
    def blocks(start):
        yield {"images": PIXELS[:5], "labels": LABELS[:5]}
        raise error

    with pytest.raises(BadInput) as caught:
        prepare(tmp_path / "toy", a=types.SimpleNamespace(recipe=Recipe(ROWS, KINDS, "a", blocks)))
    assert str(caught.value).startswith(message)
    prepare(tmp_path / "toy", a=Toy())
    assert Prepared.read(tmp_path / "toy").complete


def test_a_folder_that_cant_be_written_is_reported(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match=r"file/toy: expected to write prepared arrays, found Not a directory"):
        write_prepared(tmp_path / "file/toy", {"a": Toy().recipe}, {})


def test_a_killed_process_is_gone_on_with(tmp_path):
    """kill −9 at any moment: what was safe stays, and the end is the same bytes."""
    script = (
        "import os, signal, sys; from pathlib import Path\n"
        "sys.path[:0] = ['tests/data/prepare']; import test_prepared as t\n"
        "from mola.data.prepare import npy_writer; npy_writer.SAFE = 1\n"
        "class Killed(t.Toy):\n"
        "    def blocks(self, start):\n"
        "        for number, block in enumerate(super().blocks(start)):\n"
        "            if number == 2: os.kill(os.getpid(), signal.SIGKILL)\n"
        "            yield block\n"
        "t.prepare(Path(sys.argv[1]), a=Killed())"
    )
    prepare(tmp_path / "whole", a=Toy())
    killed = subprocess.run([sys.executable, "-c", script, str(tmp_path / "toy")], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not list((tmp_path / "toy").glob("*.npy"))
    again = Toy()
    prepare(tmp_path / "toy", a=again)
    assert again.begun[0] >= 5
    for name in ("a.images.npy", "a.labels.npy", "a.txt"):
        assert content(tmp_path / "toy")[name] == content(tmp_path / "whole")[name]
