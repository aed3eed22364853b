"""What the stages of any backbone give, as maps: channels first or last, or tokens."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from mola.types import BadInput


class Layout:
    """How a backbone lays out the outputs of its stages for images of one size (H, W).

    :meth:`unified` turns each of them into (B, C, h, w), tokens into (B, C, n, 1): enough for what works on one place
    at a time. :meth:`convolved` works on neighbours.
    """

    def __init__(self, backbone: nn.Module, size: tuple[int, int]) -> None:
        self.size = size
        self.channels_last = getattr(backbone, "output_fmt", "NCHW") == "NHWC"
        self.prefix = int(getattr(backbone, "num_prefix_tokens", 0))  # class and register tokens, ahead of the patches
        self.tokens = False

    def unified(self, output: Tensor) -> Tensor:
        """(B, C, h, w), (B, h, w, C) or tokens (B, n, C) → (B, C, h, w), or (B, C, n, 1)."""
        self.tokens = output.dim() == 3
        if self.tokens:
            return output.transpose(1, 2).unsqueeze(3)
        return output.permute(0, 3, 1, 2) if self.channels_last else output

    def restored(self, x: Tensor) -> Tensor:
        """The way back."""
        if self.tokens:
            return x.squeeze(3).transpose(1, 2)
        return x.permute(0, 2, 3, 1) if self.channels_last else x

    def convolved(self, convolution: nn.Conv2d, x: Tensor) -> Tensor:
        """(B, C, h, w) → (B, C', h, w) by a convolution that keeps the size. Patches are laid out as the map they come
        from; a class token, which has no neighbours, is a map of one pixel.

        Raises BadInput for patches that make no grid.
        """
        if not self.tokens:
            mapped: Tensor = convolution(x)
            return mapped
        down, across = self.size
        for ahead in (self.prefix, 0):  # some models add their class token behind the stages
            patches = x.shape[2] - ahead
            side = max(1, math.isqrt(down * across // max(1, patches)))  # of a square patch, in pixels
            grid = (down // side, across // side)
            if math.prod(grid) == patches:
                break
        else:
            count = f"{x.shape[2]} for images of {down}×{across}"
            raise BadInput(f"backbone.name: expected a token for every square patch; found {count}")
        lone, patch = x[:, :, :ahead, 0], x[:, :, ahead:, 0]
        y: Tensor = convolution(patch.reshape(*patch.shape[:2], *grid)).flatten(2)
        if ahead:
            single = convolution(lone.transpose(1, 2).flatten(0, 1)[:, :, None, None])  # (B·prefix, C', 1, 1)
            y = torch.cat([single.view(len(x), ahead, -1).transpose(1, 2), y], 2)
        return y.unsqueeze(3)
