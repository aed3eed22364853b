import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from mola.data.batches import augment_dense
from mola.data.batches.augment_dense import SCALES, windows

UNIFORM = np.random.default_rng(0).random((200, 8), dtype=np.float32)


def picture(size, seed=0, height=12, width=20, channels=3):
    return np.random.default_rng(seed).integers(0, 256, (size, height, width, channels), dtype=np.uint8)


def cropped_and_resized(image, at, i, mode):
    """One sample by torch, the plain way: crop, resize, flip."""
    window = image[at.top[i] : at.top[i] + at.height[i], at.left[i] : at.left[i] + at.width[i]]
    x = torch.from_numpy(window.astype(np.float64)).permute(2, 0, 1)[None]
    result = F.interpolate(x, image.shape[:2], mode=mode, **({"align_corners": False} if mode == "bilinear" else {}))
    result = result.flip(3) if at.mirrored[i] else result
    return result[0].permute(1, 2, 0).numpy()


def test_it_is_crop_then_resize_then_flip():
    images = picture(200)
    at = windows(UNIFORM, 12, 20)
    bilinear, nearest = augment_dense.images(images, UNIFORM), augment_dense.nearest(images, UNIFORM)
    for i in range(200):
        assert np.abs(bilinear[i] - cropped_and_resized(images[i], at, i, "bilinear")).max() <= 0.501
        assert np.array_equal(nearest[i], cropped_and_resized(images[i], at, i, "nearest-exact"))


def test_windows_lie_within_the_image_and_reach_every_place():
    at = windows(np.random.default_rng(1).random((20_000, 4), dtype=np.float32), 12, 20)
    assert set(zip(at.height.tolist(), at.width.tolist(), strict=True)) == {(12, 20), (10, 16), (8, 13)}
    assert np.bincount(np.searchsorted(np.float32(SCALES), at.scale)) == pytest.approx([20_000 / 3] * 3, rel=0.05)
    for place, length, side in ((at.top, at.height, 12), (at.left, at.width, 20)):
        assert place.min() == 0 and (place + length).max() == side
        for one in np.unique(length):
            assert set(place[length == one]) == set(range(side - one + 1))
    assert at.mirrored.mean() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("value", [0.0, np.nextafter(np.float32(1), np.float32(0))])
def test_the_ends_of_the_interval_are_allowed(value):
    at = windows(np.full((1, 4), value, np.float32), 48, 64)
    assert at.top >= 0 and at.left >= 0 and at.top + at.height <= 48 and at.left + at.width <= 64


def test_without_zoom_and_flip_nothing_changes():
    still = np.array([[0.1, 0.5, 0.5, 0.9]] * 3, np.float32)
    images, normals = picture(3), np.random.default_rng(2).random((3, 12, 20, 3), dtype=np.float32)
    assert np.array_equal(augment_dense.images(images, still), images)
    assert np.array_equal(augment_dense.normals(normals, still), normals)
    assert np.array_equal(augment_dense.depth(normals[..., 0], still), normals[..., 0])


@given(seed=st.integers(0, 2**32 - 1), size=st.integers(1, 6))
def test_a_batch_is_its_samples(seed, size):
    """A sample's result depends on its own row of numbers alone."""
    uniform = np.random.default_rng(seed).random((size, 4), dtype=np.float32)
    images, targets = picture(size, seed), np.random.default_rng(seed).random((size, 12, 20, 3), dtype=np.float32)
    for function, batch in (
        (augment_dense.images, images),
        (augment_dense.nearest, images[..., 0].astype(np.int8)),
        (augment_dense.depth, targets[..., 0]),
        (augment_dense.normals, targets),
        (lambda batch, numbers: augment_dense.tinted(batch, numbers[:, :3], 0.3), images),
    ):
        whole = function(batch, uniform)
        assert whole.dtype == batch.dtype and whole.shape == batch.shape
        alone = [function(batch[i : i + 1], uniform[i : i + 1]) for i in range(size)]
        assert whole.tobytes() == np.concatenate(alone).tobytes()


def test_a_mirror_turns_normals_to_the_other_side():
    flipped = np.array([[0.1, 0.0, 0.0, 0.2]], np.float32)
    normals = np.random.default_rng(3).random((1, 12, 20, 3), dtype=np.float32) + 0.1
    mirrored = augment_dense.normals(normals, flipped)
    assert np.array_equal(mirrored, normals[:, :, ::-1] * np.float32([-1, 1, 1]))
    assert np.array_equal(augment_dense.normals(mirrored, flipped), normals)


def test_zoom_brings_near():
    zoomed = np.array([[0.9, 0.3, 0.6, 0.9]], np.float32)
    depth = np.full((1, 12, 20), 3.0, np.float32)
    depth[:, :, 5:8] = 0
    result = augment_dense.depth(depth, zoomed)
    assert set(np.unique(result)) == {0.0, 2.0}


def test_images_and_targets_move_together():
    """A picture of its own coordinates: what the target says of a place is what is seen there."""
    rows, columns = np.mgrid[0:48, 0:64]
    image = np.stack([rows * 4, columns * 4, rows * 0], -1).astype(np.uint8)[None].repeat(64, 0)
    collected = augment_dense.images(image, UNIFORM[:64])[..., :2] / 4
    message = augment_dense.nearest(np.stack([rows, columns], -1)[None].repeat(64, 0), UNIFORM[:64])
    assert np.abs(collected - message).max() <= 0.5 + 0.125


def test_a_tint_is_a_gain_of_each_colour():
    images = picture(300).clip(0, 190)
    gains = augment_dense.tinted(images, UNIFORM[:, :3].repeat(2, 0)[:300], 0.3) / np.maximum(images, 1)
    bright = images.min(3) > 100
    assert np.abs(gains[bright] - 1).max() < 0.306
    for image, gain in zip(images, gains, strict=True):
        assert np.ptp(gain[image.min(2) > 100], axis=0).max() < 0.02
    assert augment_dense.tinted(np.full((1, 2, 2, 3), 255, np.uint8), np.float32([[0.9, 0.5, 0]]), 0.3).max() == 255
