"""The tool that makes the images of ``emoji``, but for the rendering: its packages are not installed here."""

import make_emoji
import numpy as np
import pytest

from mola.benchmarks.emoji import STYLES, shipped


@pytest.mark.slow
def test_families_and_splits_of_the_shipped_file_come_from_its_names_and_images():
    images = {style: shipped(style) for style in STYLES}
    families = make_emoji.families(shipped("name").tolist(), images)
    assert families == shipped("family").tolist()
    assert make_emoji.split(shipped("label").tolist(), families).tolist() == shipped("split").tolist()


def test_families_of_images_that_are_alike_are_joined_in_a_chain():
    rng = np.random.default_rng(0)
    # the noise of unlike images differs by far more than 8 levels
    one, another = rng.integers(0, 240, (2, 4, 32, 32, 3), dtype=np.uint8)
    one[1] = one[0, :, ::-1] + np.uint8(8)
    another[2] = another[1]
    names = ["zebra", "horse", "donkey", "mule"]
    # zebra and horse by their mirrored images in one style, horse and donkey by the same in the other
    assert make_emoji.families(names, {"a": one, "b": another}) == ["donkey", "donkey", "donkey", "mule"]
    one[1] += 1
    assert make_emoji.families(names, {"a": one, "b": another}) == ["zebra", "donkey", "donkey", "mule"]


def test_a_family_is_split_as_a_whole_and_a_large_one_trains():
    families = [f"f{i // 2}" for i in range(80)] + ["large"] * 8
    labels = [0] * 88
    split = make_emoji.split(labels, families)
    assert set(split[80:]) == {0}
    assert np.array_equal(split[:80:2], split[1:80:2])
    assert np.bincount(split).tolist() == [54, 12, 22]


def test_the_mean_of_four_pixels_is_rounded_half_up():
    block = np.array([[[0], [0]], [[1], [1]]], dtype=np.uint8)
    assert make_emoji.halved(np.stack([block, block // 2, 255 - 0 * block])).ravel().tolist() == [1, 0, 255]


def test_the_same_arrays_give_the_same_file(tmp_path):
    arrays = {"a": np.arange(6).reshape(2, 3), "b": np.array(["x", "yz"])}
    for name in ("one", "two"):
        make_emoji.write(tmp_path / f"{name}.npz", arrays)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    with np.load(tmp_path / "one.npz") as loaded:
        assert all(np.array_equal(loaded[name], array) for name, array in arrays.items())
