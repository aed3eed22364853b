"""The tools that make the weights `tiny`, but for the rendering: their packages are not installed here."""

from __future__ import annotations

import json

import icon_sets
import near_duplicates
import numpy as np
import pretrain_tiny
import pytest
import torch
from icon_pictures import pictures
from icon_sets import Icons
from safetensors.torch import load, save

from mola.pretrained import TINY, metadata


@pytest.mark.parametrize(
    "name", ["alpha-a-box", "numeric-7-circle", "emoticon-happy", "mood-sad", "clock-24", "letter-k"]
)
def test_letters_digits_and_faces_are_left_out_by_name(name):
    assert icon_sets.left_out(name)


@pytest.mark.parametrize("name", ["airplane", "bell-ring-outline", "map-2", "heart-fill"])
def test_other_icons_are_kept(name):
    assert not icon_sets.left_out(name)


def test_a_concept_is_a_name_without_its_style():
    names = ["bell-ring-outline", "bell-ring-bold", "bell-ring", "bell-ring-variant-outline", "outline"]
    assert [icon_sets.concept(name) for name in names] == ["bell-ring"] * 4 + ["outline"]


def test_an_image_is_recognised_in_another_size_colour_and_polarity():
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (3, 16, 16), dtype=np.uint8)
    large = np.repeat(small.repeat(3, 1).repeat(4, 2)[..., None], 3, axis=3)
    blank = np.full((1, 16, 16), 7, dtype=np.uint8)
    images = np.concatenate([small, 255 - small, small // 2 + 40, blank])
    similarity = near_duplicates.similarity(images, [large[:1], large[1:]])
    assert similarity[:-1] == pytest.approx(1, abs=1e-3) and similarity[-1] == 0
    others = rng.integers(0, 256, (50, 16, 16), dtype=np.uint8)
    assert near_duplicates.similarity(others, [large]).max() < 0.5


def test_every_test_image_of_packaged_benchmarks_is_compared(data_root):
    tested = near_duplicates.tested(data_root)
    assert {"digits", "glyphs", "scenes"} <= tested.keys() and "pacs" not in tested
    assert sum(map(len, tested["digits"])) == 4 * 750
    # a benchmark's own test images resemble themselves
    assert near_duplicates.similarity(tested["digits"][0][:5], tested["digits"]) == pytest.approx(1, abs=1e-3)


def test_icons_that_resemble_a_test_image_are_left_out(data_root):
    copied = near_duplicates.tested(data_root)["glyphs"][0][:2, ..., 0]
    stripes = np.zeros((1, 32, 32), dtype=np.uint8)
    stripes[:, ::4] = stripes[:, 1::4] = 255
    icons, compared = pretrain_tiny.unlike_tests(Icons(np.concatenate([copied, stripes]), ("a", "b", "c")), data_root)
    assert icons.concepts == ("c",) and "glyphs" in compared


def test_pictures_are_random_and_repeatable():
    masks = torch.zeros(8, 1, 32, 32)
    masks[:, :, 8:24, 8:24] = 1
    one, two, again = (pictures(masks, torch.Generator().manual_seed(seed)) for seed in (0, 1, 0))
    assert one.shape == (8, 3, 32, 32) and one.min() >= -1 and one.max() <= 1
    assert torch.equal(one, again) and not torch.equal(one, two)


def test_the_concepts_with_the_most_drawings_are_learnt():
    assert [m.tolist() for m in pretrain_tiny.by_concept(("b", "a", "c", "b", "c", "b"), 2)] == [[0, 3, 5], [2, 4]]


def test_training_repeats_to_the_last_bit_and_gives_a_backbone(monkeypatch):
    rng = np.random.default_rng(0)
    icons = Icons(rng.integers(0, 256, (12, 32, 32), dtype=np.uint8), tuple("abcdef" * 2))
    monkeypatch.setattr(pretrain_tiny, "BATCH", 4)
    threads = torch.get_num_threads()
    try:
        one, two = pretrain_tiny.trained(icons, steps=2), pretrain_tiny.trained(icons, steps=2)
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert {key: value.shape for key, value in one.items()} == {
        key: value.shape for key, value in load(TINY.read_bytes()).items()
    }


def test_the_header_is_sorted_and_nothing_else_changes(tmp_path):
    state = {"b": torch.arange(3.0), "a": torch.arange(5)}
    entries = {key: json.dumps({"x": key}) for key in "zyxwvuts"}
    files = {
        pretrain_tiny.with_sorted_header(save(state, dict(rows)))
        for rows in (entries.items(), reversed(entries.items()))
    }
    (content,) = files
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    assert metadata(path) == entries
    assert all(torch.equal(load(content)[key], state[key]) for key in state)
