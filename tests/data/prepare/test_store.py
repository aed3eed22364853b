import multiprocessing

import numpy as np
import pytest

from mola.data.prepare import build as preparation
from mola.data.prepare import store
from mola.data.splits.manifest import Manifest
from mola.types import BadInput

IDS = {"a": {"train": [3, 1], "test": [2]}}


def build(task, ids):
    images = np.array(ids, dtype=np.uint8)[:, None, None, None].repeat(3, 3)
    return {"images": images, "labels": np.array(ids, dtype=np.int64)}


def manifest():
    return Manifest("toy", 1, {}, IDS, preparation.checksums(IDS, build))


def test_every_damaged_bit_that_matters_is_found(tmp_path):
    """Headers included: numpy fails on them in many ways, and none may end in a traceback."""
    array = np.arange(48, dtype=np.uint8).reshape(4, 2, 2, 3)
    store.write(tmp_path, "x", array)
    path, sha256 = tmp_path / "x.npy", store.digest(array)
    whole = path.read_bytes()
    for position in range(len(whole)):
        for bit in range(8):
            damaged = bytearray(whole)
            damaged[position] ^= 1 << bit
            path.write_bytes(damaged)
            wrong = store.fault(tmp_path, "x", sha256)
            if wrong is None:  # a blank of the header: the array is the same
                assert np.array_equal(np.load(path), array)
            else:
                assert wrong.startswith(f"{path}: expected ") and "\n" not in wrong


@pytest.mark.parametrize("array", [np.zeros((2, 3), np.int64), np.zeros((6,), np.uint8), np.zeros((3, 2), np.uint8)])
def test_a_digest_tells_type_and_shape(array):
    assert store.digest(array) != store.digest(np.zeros((2, 3), np.uint8))


def test_a_missing_store_names_the_command(tmp_path):
    with pytest.raises(BadInput, match=r"a\.train\.images\.npy: expected a prepared array, found none; run `mola pre"):
        store.open_arrays(tmp_path, manifest().arrays, "run `mola prepare -b toy`")


def test_prepare_builds_only_what_is_wrong(tmp_path):
    calls = []

    def counting(task, ids):
        calls.append(ids)
        return build(task, ids)

    preparation.prepare(tmp_path / "toy", manifest(), counting)
    assert calls == [[3, 1], [2]]
    (tmp_path / "toy" / "a.test.labels.npy").write_bytes(b"")
    preparation.prepare(tmp_path / "toy", manifest(), counting)
    preparation.prepare(tmp_path / "toy", manifest(), counting)
    assert calls == [[3, 1], [2], [2]]


def test_what_a_killed_process_left_is_swept_out(tmp_path):
    folder = tmp_path / "toy"
    folder.mkdir()
    (folder / "a.train.images.tmp").write_bytes(b"half")
    (folder / "a.gone.images.tmp").write_bytes(b"half")
    preparation.prepare(folder, manifest(), build)
    assert {path.stem for path in folder.iterdir()} == set(manifest().arrays)
    assert all(path.suffix == ".npy" for path in folder.iterdir())


def test_processes_that_prepare_together_do_not_harm_each_other(tmp_path):
    context = multiprocessing.get_context("fork")
    jobs = [context.Process(target=preparation.prepare, args=(tmp_path / "toy", manifest(), build)) for _ in range(6)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert [job.exitcode for job in jobs] == [0] * 6
    assert len(store.open_arrays(tmp_path / "toy", manifest().arrays, "")) == 4
