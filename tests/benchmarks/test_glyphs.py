import string

import numpy as np
import pytest
from matplotlib.ft2font import FT2Font

from mola.benchmarks import glyphs
from mola.benchmarks._synthetic import digit_images
from mola.benchmarks.digits import Digits
from mola.benchmarks.glyphs import Glyphs
from mola.data.splits import manifest


@pytest.fixture
def drawings(monkeypatch):
    """What is drawn, as (text, file of the font), in order."""
    drawn = []

    def record(text, font, rng, style):
        drawn.append((text, digit_images.FONTS[font]))
        return np.zeros((32, 32, 3), dtype=np.uint8)

    monkeypatch.setattr(digit_images, "drawn", record)
    return drawn


def build_tests(task):
    benchmark = Glyphs.create("nowhere")
    return benchmark.build(task, benchmark.manifest.ids[task]["test"])["labels"].tolist()


def test_letters_are_what_was_drawn(drawings):
    labels = build_tests("letters")
    assert [string.ascii_uppercase[label] for label in labels] == [text for text, _ in drawings]
    assert {font for _, font in drawings} == set(digit_images.FONTS)


def test_fonts_are_those_that_drew(drawings):
    labels = build_tests("fonts")
    assert [glyphs.FACES[label] for label in labels] == [font for _, font in drawings]
    for face in glyphs.FACES:  # the letter says nothing about the font
        assert {text for text, font in drawings if font == face} == set(glyphs.STEMMED)


def test_case_is_that_of_the_letter(drawings):
    labels = build_tests("case")
    assert [label == 1 for label in labels] == [text.islower() for text, _ in drawings]
    for capital in (True, False):  # neither the letter nor the font says anything about the case
        mine = [(text, font) for text, font in drawings if text.isupper() == capital]
        assert {text.upper() for text, _ in mine} == set(glyphs.UNLIKE)
        assert {font for _, font in mine} == set(digit_images.FONTS)


def test_every_font_has_every_letter():
    """A missing glyph would be drawn as a box."""
    assert {*glyphs.CAPITALS, *glyphs.STEMMED, *glyphs.UNLIKE} <= set(string.ascii_letters)
    assert set(glyphs.FACES) <= set(digit_images.FONTS)
    for path in digit_images.font_files():
        face = FT2Font(str(path))
        assert all(ord(letter) in face.get_charmap() for letter in string.ascii_letters), path.name
        pictures = {
            letter: digit_images.drawn(
                letter, digit_images.FONTS.index(path.name), np.random.default_rng(0), digit_images.LETTERS
            )
            for letter in string.ascii_letters
        }
        assert len({picture.tobytes() for picture in pictures.values()}) == 52, path.name


def test_splits_are_stratified_and_so_are_their_prefixes(data_root):
    benchmark = Glyphs.create(data_root)
    assert [task.outputs for task in benchmark.tasks] == [26, 6, 2, 10]
    for task in benchmark.tasks:
        for split, about in (("train", glyphs.TRAIN[task.name]), ("valid", 250), ("test", 750)):
            labels = np.load(benchmark.folder / f"{task.name}.{split}.labels.npy")
            assert about <= len(labels) < about + task.outputs
            assert len(set(np.bincount(labels, minlength=task.outputs))) == 1
            assert set(labels[: task.outputs]) == set(range(task.outputs))


def test_no_image_stands_twice(data_root):
    benchmark = Glyphs.create(data_root)
    names = [f"{task.name}.{split}" for task in benchmark.tasks for split in ("train", "valid", "test")]
    images = np.concatenate([np.load(benchmark.folder / f"{name}.images.npy") for name in names])
    assert len({image.tobytes() for image in images}) == len(images)


def test_optdigits_is_split_as_in_digits():
    """Whoever compares the two benchmarks, or moves weights from one to the other, trains on no test image."""
    ours, theirs = (
        Glyphs.create("nowhere").manifest.ids["optdigits"],
        Digits.create("nowhere").manifest.ids["optdigits"],
    )
    assert ours["valid"] == theirs["valid"] and ours["test"] == theirs["test"]
    assert ours["train"] == theirs["train"][:200]


def test_the_committed_manifest_comes_from_the_code(tmp_path, monkeypatch):
    benchmark = Glyphs.create("nowhere")
    _ = benchmark._digits.manifest  # is read from the folder that is replaced now
    committed = manifest.manifest_path("glyphs").read_bytes()
    monkeypatch.setattr(manifest, "SPLITS", tmp_path)
    assert benchmark.write_manifest().read_bytes() == committed
    assert len(committed) < 200_000


def test_an_image_hangs_on_its_id_alone():
    benchmark = Glyphs.create("nowhere")
    for task in benchmark.tasks:
        ids = benchmark.manifest.ids[task.name]["valid"][:6]
        images, labels = benchmark.build(task.name, ids[::-1]).values()
        for image, label, i in zip(images, labels, ids[::-1], strict=True):
            (alone,), (its,) = benchmark.build(task.name, [i]).values()
            assert np.array_equal(image, alone) and label == its
