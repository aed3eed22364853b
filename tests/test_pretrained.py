"""What files of weights say about themselves; the shipped ones name no benchmark and all their licences."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from mola.benchmarks._packaged import Packaged
from mola.pretrained import TINY, metadata, saw
from mola.registry import PACKAGE, load, names
from mola.types import BadInput


def saved(path, **entries):
    save_file({"weight": torch.zeros(2)}, path, metadata=entries)
    return path


def test_metadata_are_what_the_library_reads(tmp_path):
    path = saved(tmp_path / "w.safetensors", saw="glyphs.letters, emoji,", other="é")
    with safe_open(path, "pt") as file:
        assert metadata(path) == file.metadata()
    assert saw(path) == ("glyphs.letters", "emoji")


def test_files_without_metadata_say_nothing(tmp_path):
    save_file({"weight": torch.zeros(2)}, tmp_path / "w.safetensors")
    torch.save({}, tmp_path / "w.pth")
    assert metadata(tmp_path / "w.safetensors") == metadata(tmp_path / "w.pth") == metadata(tmp_path / "none") == {}
    assert metadata(tmp_path / "none.safetensors") == {}


@pytest.mark.parametrize(
    "content", [b"", b"\xff" * 20, (9).to_bytes(8, "little") + b"[1, 2, 3]", (20).to_bytes(8, "little") + b'{"__metada']
)
def test_a_damaged_header_is_refused_in_one_line(tmp_path, content):
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    with pytest.raises(BadInput, match=r"^backbone\.weights: expected a safetensors file, found .*w\.safetensors"):
        metadata(path)


def test_the_shipped_weights_saw_no_benchmark_and_were_compared_with_all_packaged_ones():
    entries = metadata(TINY)
    assert entries["saw"] == "" and saw(TINY) == ()
    packaged = {name for name in names("benchmarks") if issubclass(load("benchmarks", name), Packaged)}
    assert packaged <= set(entries["compared_with"].split(", "))
    assert int(entries["dropped"]) > 0


def test_notice_lists_what_the_shipped_weights_were_trained_on():
    notice = " ".join((PACKAGE.parent / "NOTICE").read_text().split())
    trained_on = json.loads(metadata(TINY)["trained_on"])
    assert {source["licence"] for source in trained_on} == {"Apache-2.0", "MIT"}
    for source in trained_on:
        assert f"{source['name']} {source['version']}, {source['licence']}" in notice
