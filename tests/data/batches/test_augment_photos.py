"""Augmentation of natural images, against torchvision one operation at a time and against what it must leave alone."""

from itertools import permutations

import numpy as np
import pytest
import torch
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from mola.data.batches import augment_photos as natural

MIDDLE = 0.5  # the number that changes nothing in jitter


def picture(size=48):
    """Smooth, and away from black and white, so that clipping plays no part."""
    coarse = torch.from_numpy(np.random.default_rng(0).integers(100, 150, (1, 3, 5, 5)).astype(np.float32))
    fine = torch.nn.functional.interpolate(coarse, (size, size), mode="bicubic").clamp(90, 160)
    return fine[0].permute(1, 2, 0).to(torch.uint8).numpy()


def recoloured(image, numbers, **options):
    return natural.recoloured(image[None], np.array([numbers], dtype=np.float32), **options)[0]


def differs(a, b):
    return np.abs(a.astype(int) - np.asarray(b).astype(int)).max()


def as_tensor(image):
    return torch.from_numpy(image).permute(2, 0, 1)


@pytest.mark.parametrize(
    ("place", "operation"),
    [(0, functional.adjust_brightness), (1, functional.adjust_contrast), (2, functional.adjust_saturation)],
)
@pytest.mark.parametrize("number", [0.0, 0.3, 0.9])
def test_one_operation_is_torchvisions(place, operation, number):
    numbers = [MIDDLE] * 4 + [0.99]
    numbers[place] = number
    expected = operation(as_tensor(picture()), 1 + 0.4 * (2 * number - 1)).permute(1, 2, 0)
    assert differs(recoloured(picture(), numbers), expected) <= 1


def test_the_middle_changes_nothing():
    assert differs(recoloured(picture(), [MIDDLE] * 4 + [0.99]), picture()) == 0


@pytest.mark.parametrize("number", [0.0, 0.2, 0.8])
def test_hue_leaves_greys_and_brightness_alone(number):
    numbers = [MIDDLE, MIDDLE, MIDDLE, number, 0.99]
    grey = np.repeat(picture()[..., :1], 3, axis=2)
    assert differs(recoloured(grey, numbers), grey) <= 1
    turned = recoloured(picture(), numbers)
    assert differs(turned @ natural.LUMA, picture() @ natural.LUMA) <= 1
    assert differs(turned, picture()) > 5


def test_hue_goes_the_way_of_torchvisions():
    """Red turns to green, green to blue, blue to red, by a third of a turn."""
    for channel in range(3):
        image = np.full((4, 4, 3), 120, dtype=np.uint8)
        image[..., channel] += 40
        third = (1 / 3 / 0.4 + 1) / 2
        mine = recoloured(image, [MIDDLE, MIDDLE, MIDDLE, third, 0.99])[0, 0]
        theirs = functional.adjust_hue(as_tensor(image), 1 / 3)[:, 0, 0].numpy()
        assert mine.argmax() == theirs.argmax() == (channel + 1) % 3


def test_all_together_are_torchvisions_in_any_order():
    """But for hue, and as long as nothing is clipped."""
    numbers = [0.4, 0.7, 0.2, MIDDLE, 0.99]
    operations = (functional.adjust_brightness, functional.adjust_contrast, functional.adjust_saturation)
    steps = [(o, 1 + 0.4 * (2 * n - 1)) for o, n in zip(operations, numbers, strict=False)]
    for order in permutations(steps):
        image = as_tensor(picture())
        for operation, factor in order:
            image = operation(image, factor)
        assert differs(recoloured(picture(), numbers), image.permute(1, 2, 0)) <= 3  # it rounds after every step


def test_grey_is_grey():
    grey = recoloured(picture(), [0.1, 0.2, 0.3, 0.4, 0.05])
    assert np.array_equal(grey[..., 0], grey[..., 1]) and np.array_equal(grey[..., 0], grey[..., 2])
    assert not np.array_equal(*np.moveaxis(recoloured(picture(), [0.1, 0.2, 0.3, 0.4, 0.1]), 2, 0)[:2])


@pytest.mark.parametrize("value", [0, 255])
def test_extremes_are_clipped_not_wrapped(value):
    image = np.full((8, 8, 3), value, dtype=np.uint8)
    image[:4, :, 1] = 128
    changed = recoloured(image, [0.99, 0.99, 0.99, 0.9, 0.99])
    assert changed[6, 0].tolist() == ([0, 0, 0] if value == 0 else [255, 255, 255])


def test_crops_have_the_distribution_of_torchvisions():
    """Areas and shapes over many draws: torchvision draws again where a crop sticks out, here it is drawn at once."""
    number, side = 20_000, 224
    uniform = np.random.default_rng(0).random((number, 4), dtype=np.float32)
    mine = natural.boxes(side, uniform, 0.7)
    torch.manual_seed(0)
    crop, whole = v2.RandomResizedCrop(side, scale=(0.7, 1.0)), [torch.empty(3, side, side)]
    drawn = [crop.make_params(whole) for _ in range(number)]
    theirs = np.array([[each[name] for name in ("top", "left", "height", "width")] for each in drawn])
    for pick in (lambda b: b[:, 2] * b[:, 3] / side**2, lambda b: np.log(b[:, 3] / b[:, 2]), lambda b: b[:, 0]):
        quantiles = [np.quantile(pick(boxes), np.linspace(0.05, 0.95, 19)) for boxes in (mine, theirs)]
        scale = quantiles[1].max() - quantiles[1].min()
        assert np.abs(quantiles[0] - quantiles[1]).max() < 0.03 * scale


@pytest.mark.parametrize("uniform", [0.0, np.nextafter(np.float32(1), np.float32(0))])
def test_crops_lie_inside(uniform):
    for side in (8, 33, 224):
        (box,) = natural.boxes(side, np.full((1, 4), uniform, dtype=np.float32), 0.7)
        top, left, height, width = box
        assert top >= 0 and left >= 0 and height >= 1 and width >= 1
        assert top + height <= side and left + width <= side


def test_a_crop_of_all_is_the_image():
    image = picture()
    whole = natural.crops(image[None], np.array([[1, 0.5, 0, 0]], dtype=np.float32), 48, 0.7)
    assert differs(whole[0], image) == 0
    assert natural.crops(image[None], np.zeros((1, 4), dtype=np.float32), 24, 0.7).shape == (1, 24, 24, 3)


def test_half_are_mirrored_in_place():
    images = np.stack([picture()] * 4)
    natural.flipped(images, np.array([0.1, 0.7, 0.49, 0.5]))
    for image, mirrored in zip(images, [True, False, True, False], strict=True):
        assert np.array_equal(image, picture()[:, ::-1] if mirrored else picture())


def test_an_image_depends_on_its_row_alone():
    images = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    uniform = np.random.default_rng(1).random((6, natural.DRAWS), dtype=np.float32)
    together = natural.augmented(images, uniform)
    assert together.shape == images.shape and together.dtype == np.uint8
    for i in range(6):
        assert np.array_equal(natural.augmented(images[i : i + 1], uniform[i : i + 1])[0], together[i])
    assert np.array_equal(images, np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8))
