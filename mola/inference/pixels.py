"""From a file to what a model sees, as evaluation has it: the same pixels, and the same bits of the numbers."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mola.inference.description import Images
from mola.types import BadInput

if TYPE_CHECKING:
    from torch import Tensor

COLOURS = 3


def read(path: Path, images: Images, *, grey: bool = False) -> Tensor:
    """A file as (3, H, W) uint8: the square in the middle, resized. grey: by its luma alone.

    Raises BadInput for a file that can't be read as an image, and for a model whose images are no squares.
    """
    import torch

    from mola.data.prepare import images as plain
    from mola.data.prepare import photos

    height, width = images.size
    if height != width:
        raise BadInput(f"{path}: expected a model of square images, found one of {height}×{width}; it takes tensors")
    if grey or images.reader == "images":
        pixels = plain.read(path, width, grey=grey)
    else:
        pixels = photos.read(path, width, hashlib.sha256(plain.content_of(path)).hexdigest())
    return torch.from_numpy(np.broadcast_to(pixels, (height, width, COLOURS)).copy()).permute(2, 0, 1)


def normalised(x: Tensor, images: Images) -> Tensor:
    """(B, 3, H, W) uint8 → (B, 3, H', W') float32, as the benchmark's ``normalised`` does, with the same bits."""
    import torch

    if images.mean is None or images.std is None:
        raise BadInput("images: expected floats, normalised as the benchmark of this model does in its own way")
    if images.crop:
        top, left = ((side - images.crop) // 2 for side in x.shape[-2:])
        x = x[..., top : top + images.crop, left : left + images.crop]
    full, mean, std = (torch.tensor(v, device=x.device).view(-1, 1, 1) for v in ((255.0,), images.mean, images.std))
    x = x.to(torch.float32, memory_format=torch.contiguous_format).div_(full).sub_(mean).div_(std)
    if images.resize and images.resize != x.shape[-1]:
        antialias = x.shape[-1] > images.resize
        x = torch.nn.functional.interpolate(x, images.resize, mode="bilinear", antialias=antialias)
    return x
