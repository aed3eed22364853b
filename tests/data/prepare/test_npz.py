import io
import tracemalloc
import zipfile

import numpy as np
import pytest

from mola.data.prepare import npz
from mola.types import BadInput

ARRAYS = {
    "images": np.random.default_rng(0).integers(0, 256, (37, 5, 4, 3), dtype=np.uint8),
    "labels": np.arange(37, dtype=np.int32)[:, None],
    "none": np.zeros((0, 3), np.uint8),
}


@pytest.fixture(params=[np.savez, np.savez_compressed])
def file(request, tmp_path):
    request.param(tmp_path / "a.npz", **ARRAYS)
    return tmp_path / "a.npz"


def refused(call, *args):
    with pytest.raises(BadInput) as error:
        call(*args)
    assert "\n" not in str(error.value)
    return str(error.value)


def read(path, key, start=0):
    return list(npz.rows(path, key, start))


@pytest.mark.parametrize("chunk", [1, 61, 600, 10**6])
def test_the_pieces_are_the_array(file, chunk, monkeypatch):
    monkeypatch.setattr(npz, "CHUNK", chunk)
    for key, array in ARRAYS.items():
        pieces = read(file, key)
        assert all(piece.dtype == array.dtype and piece.nbytes <= max(chunk, array[:1].nbytes) for piece in pieces)
        assert np.array_equal(np.concatenate([array[:0], *pieces]), array)


def test_an_array_never_lies_in_memory(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", images=np.zeros((200, 2**20), np.uint8))
    tracemalloc.start()
    try:
        assert sum(len(piece) for piece in npz.rows(tmp_path / "a.npz", "images")) == 200
        assert tracemalloc.get_traced_memory()[1] < 4 * npz.CHUNK
    finally:
        tracemalloc.stop()


def test_reading_goes_on_at_any_row(file):
    for key in ("images", "labels"):
        for start in (0, 1, 20, 37):
            assert np.array_equal(np.concatenate([ARRAYS[key][:0], *read(file, key, start)]), ARRAYS[key][start:])


def test_heads_are_told_without_reading_the_content(file, monkeypatch):
    read = []
    original = zipfile.ZipExtFile.read
    monkeypatch.setattr(zipfile.ZipExtFile, "read", lambda self, n=-1: read.append(n) or original(self, n))
    assert npz.heads(file) == {key: (array.shape, array.dtype) for key, array in ARRAYS.items()}
    assert all(0 <= n < 1000 for n in read)


def with_member(path, content, name="images.npy"):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, content)
    return path


def saved(array, **options):
    stream = io.BytesIO()
    np.save(stream, array, **options)
    return stream.getvalue()


def test_bad_input_is_told_in_one_line(file, tmp_path):
    message = refused(npz.heads, tmp_path / "none.npz")
    assert message.endswith("none.npz: expected an .npz file, found none")
    page = tmp_path / "page.npz"
    page.write_bytes(b"<!DOCTYPE html><html><title>Sorry</title></html>")
    assert "an HTML page ('Sorry')" in refused(npz.heads, page)
    cut = tmp_path / "cut.npz"
    cut.write_bytes(file.read_bytes()[:-30])
    assert "found a truncated or damaged archive" in refused(npz.heads, cut)
    other = tmp_path / "other.npz"
    assert "images.npy, which is none" in refused(npz.heads, with_member(other, b"no array"))
    assert "images.npy, which is none" in refused(npz.heads, with_member(other, saved(ARRAYS["images"])[:20]))
    assert "which is none" in refused(npz.heads, with_member(other, b"a,b\n1,2\n", "data.csv"))
    objects = saved(np.array([{}], dtype=object), allow_pickle=True)
    assert refused(npz.heads, with_member(other, objects)).endswith("expected an array, rows first, found objects")
    columns = saved(np.asfortranarray(ARRAYS["images"]))
    assert refused(npz.heads, with_member(other, columns)).endswith("found columns first")
    assert refused(npz.heads, with_member(other, saved(np.uint8(3)))).endswith("found a single value")


def test_damage_inside_an_array_is_seen(tmp_path):
    content = saved(ARRAYS["images"])
    path = tmp_path / "a.npz"
    assert "expected 37 rows, found 0 and a part" in refused(read, with_member(path, content[:-1]), "images")
    assert refused(read, with_member(path, content + b"x"), "images").endswith("expected 37 rows, found more")
    damaged = bytearray(with_member(path, content).read_bytes())
    damaged[len(content) // 2] ^= 1
    path.write_bytes(damaged)
    assert "found a truncated or damaged archive" in refused(read, path, "images")
