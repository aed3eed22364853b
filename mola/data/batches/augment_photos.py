"""Augmentation of photographs and drawings: a random crop at full size, mirrored, in other colours. One image at a
time, each from a row of numbers.

The colours are torchvision's ``ColorJitter`` and ``RandomGrayscale`` as one affine map per image, x → M x + t, which
is more than ten times as fast as one operation after another. What differs: values are clipped once, at the end, not
after every operation, and hue turns the colours about the grey axis (in YIQ: a linear map, as in NVIDIA's DALI), while
torchvision goes through HSV.
"""

from __future__ import annotations

import math
from functools import cache
from itertools import compress

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]  # (B, H, W, 3)
Floats = NDArray[np.float32]
Array = NDArray[np.float64]
DRAWS = 10  # numbers in [0, 1) of an image: 4 crop, 1 flip, 4 jitter, 1 grey
RATIO = 4 / 3  # largest width : height of a crop, and height : width
LUMA = np.array([0.299, 0.587, 0.114])
YIQ = np.array([LUMA, [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
RGB = np.linalg.inv(YIQ)


def augmented(images: Images, uniform: Floats) -> Images:
    """Augment as the paper does VLCS and OfficeHome: crop 70–100 % of the area, flip, all colours by 0.4, some grey.

    uniform: (B, 10) in [0, 1).
    """
    size = images.shape[1]
    cropped = crops(images, uniform[:, :4], size, 0.7)
    flipped(cropped, uniform[:, 4])
    return recoloured(cropped, uniform[:, 5:])


def crops(images: Images, uniform: Floats, size: int, smallest: float) -> Images:
    """Apply torchvision's ``RandomResizedCrop`` to square images: (B, size, size, 3), bicubic and antialiased.

    smallest: share of the area that a crop has at least; its shape is between 3:4 and 4:3. uniform: (B, 4).
    """
    import torch
    from torchvision.transforms.v2 import functional
    from torchvision.transforms.v2.functional import InterpolationMode

    result = _planar(len(images), size)
    chosen = boxes(images.shape[1], uniform, smallest)
    for image, (top, left, height, width), out in zip(images, chosen, result, strict=True):
        part = torch.from_numpy(image[top : top + height, left : left + width]).permute(2, 0, 1)
        out[:] = functional.resize(part, [size, size], InterpolationMode.BICUBIC, antialias=True).numpy()
    return result.transpose(0, 2, 3, 1)


def _planar(number: int, size: int) -> NDArray[np.uint8]:
    # one colour after another in memory: all that follows is faster so, up to the model's input
    return np.empty((number, 3, size, size), dtype=np.uint8)


def boxes(side: int, uniform: Floats, smallest: float) -> NDArray[np.int64]:
    """Draw (B, 4) top, left, height and width of crops out of squares of ``side`` pixels.

    torchvision draws area and logarithm of the shape uniformly, and again while the crop sticks out of the image: so
    both are uniform where |log shape| ≤ −log area. That is drawn here at once, from two numbers.
    """
    areas, cumulated = _areas(smallest)
    area = np.interp(uniform[:, 0], cumulated, areas)
    shape = np.exp((2 * uniform[:, 1] - 1) * np.minimum(-np.log(area), math.log(RATIO)))
    width, height = (np.clip(np.rint(side * np.sqrt(area * s)), 1, side) for s in (shape, 1 / shape))
    top, left = ((uniform[:, 2 + i] * (side - length + 1)).astype(np.int64) for i, length in enumerate((height, width)))
    return np.stack([top, left, height.astype(np.int64), width.astype(np.int64)], axis=1)


@cache
def _areas(smallest: float) -> tuple[Array, Array]:
    """Return areas from ``smallest`` to 1, and their cumulated probability, in proportion to the shapes that fit in."""
    areas = np.linspace(smallest, 1, 4097)
    shapes = np.minimum(-np.log((areas[1:] + areas[:-1]) / 2), math.log(RATIO))
    return areas, np.concatenate([[0], np.cumsum(shapes) / shapes.sum()])


def flipped(images: Images, uniform: Floats) -> None:
    """Mirror, in place, the images whose number (B,) is below a half: left to right."""
    for image in compress(images, uniform < 0.5):
        image[:] = image[:, ::-1].copy()


def recoloured(images: Images, uniform: Floats, strength: float = 0.4, grey: float = 0.1) -> Images:
    """Change brightness, contrast and saturation by a factor of 1 ± ``strength``, and hue by ± ``strength`` of a turn;
    then make it grey with probability ``grey``. uniform: (B, 5).
    """
    import torch

    matrices, towards_mean = colour_maps(uniform.astype(np.float64), strength, grey)
    result = _planar(len(images), images.shape[1])
    for image, matrix, share, out in zip(images.transpose(0, 3, 1, 2), matrices, towards_mean, result, strict=True):
        flat = np.ascontiguousarray(image).reshape(3, -1)
        # of integers: the same whatever the threads
        mean = flat.sum(1, dtype=np.uint32) / flat.shape[1]
        pixels, offset = torch.from_numpy(flat).to(torch.float32), float(share * (LUMA @ mean))
        m, t = torch.from_numpy(matrix.astype(np.float32)), torch.full((1, 1), offset + 0.5)
        # + 0.5: so that cutting off rounds
        mapped = torch.addmm(t, m, pixels).clamp_(0, 255.5)
        torch.from_numpy(out).view(3, -1).copy_(mapped)
    return result.transpose(0, 2, 3, 1)


def colour_maps(numbers: Array, strength: float, grey: float) -> tuple[Array, Array]:
    """Return M (B, 3, 3), and (B,) the share of the image's mean grey that is added, from (B, 5) numbers in [0, 1).

    In YIQ brightness scales all, contrast draws Y to its mean and scales I and Q, saturation scales I and Q, hue turns
    them: whatever the order, it comes to the same.
    """
    brightness, contrast, saturation = (1 + strength * (2 * numbers[:, i] - 1) for i in range(3))
    angle = 2 * math.pi * strength * (1 - 2 * numbers[:, 3])
    middle = np.zeros((len(numbers), 3, 3))
    middle[:, 0, 0] = brightness * contrast
    chroma = np.where(numbers[:, 4] < grey, 0, brightness * contrast * saturation)
    middle[:, 1, 1] = middle[:, 2, 2] = chroma * np.cos(angle)
    middle[:, 2, 1] = chroma * np.sin(angle)
    middle[:, 1, 2] = -middle[:, 2, 1]
    return RGB @ middle @ YIQ, brightness * (1 - contrast)
