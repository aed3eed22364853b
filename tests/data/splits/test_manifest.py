import json

import pytest

from mola.data.splits import manifest
from mola.data.splits.manifest import Manifest
from mola.types import BadInput


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.setattr(manifest, "SPLITS", tmp_path)


def test_what_is_written_is_read():
    result = Manifest("toy", 3, {"raw": "ab"}, {"a": {"train": list(range(40)), "test": []}}, {"a.train.images": "cd"})
    path = result.write()
    assert Manifest.read("toy", 3) == result
    assert max(map(len, path.read_text().splitlines())) > 100  # a list of ids stays on one line


def test_the_checksum_changes_with_what_the_file_says():
    assert manifest.manifest_sha256("toy") == ""
    path = Manifest("toy", 1, {}, {}, {}).write()
    first = manifest.manifest_sha256("toy")
    path.write_text("\n" + path.read_text().replace(" ", "") + "\n")
    assert manifest.manifest_sha256("toy") == first
    path.write_text(path.read_text().replace("1", "2"))
    assert len(first) == 64 and manifest.manifest_sha256("toy") != first


def test_another_version_is_bad_input():
    Manifest("toy", 2, {}, {}, {}).write()
    with pytest.raises(BadInput, match=r"toy\.json: expected version 1 of the recipe, found 2; take both"):
        Manifest.read("toy", 1)


def test_a_missing_manifest_is_bad_input(tmp_path):
    with pytest.raises(BadInput, match=r"toy\.json: expected the split manifest of 'toy', found none"):
        Manifest.read("toy", 1)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[1]", b"\xff\xfe", b"[" * 10**5, json.dumps({"benchmark": "toy"}).encode()]
)
def test_a_damaged_manifest_is_bad_input(tmp_path, content):
    (tmp_path / "toy.json").write_bytes(content)
    with pytest.raises(BadInput, match=r"toy\.json: expected a split manifest, found: ") as caught:
        Manifest.read("toy", 1)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("ids", None, "ids: should be an object, found None"),
        ("arrays", None, "arrays: should be an object, found None"),
        ("ids", {"a": {"train": "12"}}, r"ids\.a\.train: should be a valid array, found '12'"),
        ("ids", {"a": {"train": [1, True]}}, r"ids\.a\.train\.1: should be a valid integer, found True"),
        ("sources", {"raw": 3}, r"sources\.raw: should be a valid string, found 3"),
        ("version", "1", "version: should be a valid integer, found '1'"),
        ("more", 1, "more: unexpected keyword argument, found 1"),
    ],
)
def test_a_manifest_with_other_types_is_bad_input(tmp_path, key, value, problem):
    path = Manifest("toy", 1, {"raw": "ab"}, {"a": {"train": [0, 1]}}, {}).write()
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(BadInput, match=rf"toy\.json: expected a split manifest, found: {problem}; git has it$"):
        Manifest.read("toy", 1)
