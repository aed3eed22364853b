from pathlib import Path

import numpy as np
import pytest

from mola.benchmarks import SPLITS, emoji
from mola.benchmarks.emoji import CLASSES, STYLES, Emoji, shipped
from mola.data.splits import manifest
from mola.types import BadInput

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def benchmark_():
    return Emoji.create("nowhere")


def images(benchmark, style, split):
    return benchmark.build(style, benchmark.manifest.ids[style][split])["images"]


def test_every_emoji_is_in_one_split_and_that_in_all_styles(benchmark_):
    ids = benchmark_.manifest.ids
    first, *others = (ids[style] for style in STYLES)
    assert all(other == first for other in others)
    assert sorted(i for split in SPLITS for i in first[split]) == list(range(1586))
    assert [len(first[split]) for split in SPLITS] == [959, 236, 391]


def test_no_family_is_in_two_splits(benchmark_):
    families = [set(shipped("family")[benchmark_.manifest.ids["noto"][split]]) for split in SPLITS]
    assert sum(map(len, families)) == len(set.union(*families)) == len(set(shipped("family"))) == 1266


def test_variants_are_one_family():
    by_name = dict(zip(shipped("name").tolist(), shipped("family").tolist(), strict=True))
    for names in (
        ["cook", "woman-cook", "man-cook"],
        ["red-heart", "light-blue-heart", "black-heart"],
        ["one-oclock", "twelve-thirty"],
        ["woman-running", "man-running-facing-right"],
        ["person-blonde-hair", "man-bald", "baby"],
        # by their looks: only their colours differ, or not even these
        ["optical-disk", "dvd"],
        ["last-quarter-moon", "first-quarter-moon"],
        ["woman-pouting", "woman-frowning"],
    ):
        assert len({by_name[name] for name in names}) == 1, names
    assert by_name["red-heart"] != by_name["red-apple"] == by_name["green-apple"]


def test_no_image_is_also_in_another_split_in_any_style_nor_mirrored(benchmark_):
    known = {}
    for split in SPLITS:
        for style in STYLES:
            for image in images(benchmark_, style, split):
                for form in (image, image[:, ::-1]):
                    assert known.setdefault(form.tobytes(), split) == split, style


def test_every_class_is_in_every_split_in_its_share(data_root):
    whole = np.bincount(shipped("label"), minlength=len(CLASSES))
    for style in STYLES:
        for split, share in zip(SPLITS, (0.6, 0.15, 0.25), strict=True):
            labels = np.load(data_root / "emoji" / f"{style}.{split}.labels.npy")
            counts = np.bincount(labels, minlength=len(CLASSES))
            assert np.abs(counts - share * whole).max() <= 6


def test_a_prefix_holds_the_classes_evenly(benchmark_):
    for split in SPLITS:
        labels = shipped("label")[benchmark_.manifest.ids["twemoji"][split]]
        whole = np.bincount(labels)
        for size in range(1, len(labels) + 1):
            counts = np.bincount(labels[:size], minlength=len(CLASSES))
            # a class lags behind the largest one only where all of it is there
            assert np.all((counts >= counts.max() - 1) | (counts == whole))


def test_labels_are_the_groups_of_unicode():
    by_name = dict(zip(shipped("name").tolist(), shipped("label").tolist(), strict=True))
    for name, group in {
        "badminton": "Activities",
        "peacock": "Animals & Nature",
        "waffle": "Food & Drink",
        "socks": "Objects",
        "woman-cook": "People & Body",
        "red-heart": "Smileys & Emotion",
        "keycap-5": "Symbols",
        "water-wave": "Travel & Places",
    }.items():
        assert CLASSES[by_name[name]] == group


def test_the_committed_manifest_comes_from_the_code(benchmark_, tmp_path, monkeypatch):
    committed = manifest.manifest_path("emoji").read_bytes()
    monkeypatch.setattr(manifest, "SPLITS", tmp_path)
    assert benchmark_.write_manifest().read_bytes() == committed
    assert len(committed) < 200_000


def test_an_image_hangs_on_its_id_alone(benchmark_):
    for style in STYLES:
        ids = benchmark_.manifest.ids[style]["valid"][:6]
        pixels, labels = benchmark_.build(style, ids[::-1]).values()
        for image, label, i in zip(pixels, labels, ids[::-1], strict=True):
            (alone,), (its,) = benchmark_.build(style, [i]).values()
            assert np.array_equal(image, alone) and label == its == shipped("label")[i]
            assert np.all(image == shipped(style)[i])


def test_only_one_style_is_without_colours(benchmark_):
    for style in STYLES:
        pixels = images(benchmark_, style, "valid")
        assert np.all(pixels == pixels[..., :1]) == (style == "fluent_contrast")


@pytest.mark.parametrize(("down", "right"), [(0, 0), (3, 0), (-3, 2), (1, -3)])
@pytest.mark.parametrize("mirrored", [False, True])
def test_augmentation_shifts_on_white_and_mirrors(benchmark_, down, right, mirrored):
    image = np.random.default_rng(0).integers(0, 200, (32, 32, 3), dtype=np.uint8)
    large = np.full((38, 38, 3), 255, dtype=np.uint8)
    large[3 + down : 35 + down, 3 + right : 35 + right] = image
    expected = large[3:35, 3:35][:, :: -1 if mirrored else 1]
    # offsets say where a pixel comes from, in sevenths
    uniform = np.array([[(3.5 - down) / 7, (3.5 - right) / 7, 0.499 if mirrored else 0.5]], dtype=np.float32)
    assert np.array_equal(benchmark_.augmented(image[None], uniform)[0], expected)


@pytest.mark.parametrize("damage", ["removed", "truncated", "flipped", "emptied", "foreign"])
def test_a_damaged_file_is_named(benchmark_, tmp_path, monkeypatch, damage):
    content = bytearray(emoji.FILE.read_bytes())
    path = tmp_path / "emoji.npz"
    content[1_000_000] ^= 1
    changed = {"truncated": content[:-5000], "emptied": b"", "foreign": b"no archive"}.get(damage, content)
    if damage != "removed":
        path.write_bytes(changed)
    monkeypatch.setattr(emoji, "FILE", path)
    monkeypatch.setattr(emoji, "shipped", shipped.__wrapped__)
    with pytest.raises(
        BadInput, match=r"emoji\.npz: expected the file that mola ships, found: .*install mola"
    ) as error:
        benchmark_.fetch()
    assert "\n" not in str(error.value)


def test_the_file_is_small():
    # every clone and every wheel has it
    assert emoji.FILE.stat().st_size < 3.1e6


def test_notice_has_the_licences(benchmark_):
    notice = (ROOT / "NOTICE").read_text()
    for source in benchmark_.sources:
        assert source.origin.removeprefix("npm: ") in notice
    assert "Permission is hereby granted, free of charge" in notice
