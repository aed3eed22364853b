"""Random pictures of icons: turned, in any colours, on plain and on textured ground, blurred and noisy."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

ANGLE = 20.0  # ± degrees
ZOOM = (0.6, 1.2)  # of the side
STRETCH = 0.15  # ± of the logarithm of height over width
SHIFT = 0.2  # ± of half the side
CONTRAST = 0.35  # mean difference of ink and ground, at least
GREY = 0.3  # share of pictures that are nearly black and white
TEXTURED = 0.5  # share of pictures on a texture, with another icon shining through
TEXTURE = 0.25  # its largest strength
SHINE = 0.3  # the largest strength of the other icon
DIFFERENCE = 0.2  # share of pictures that are |ground − ink|, as photographs are blended
BLURRED = 0.3  # share of pictures
NOISE = 0.15  # its largest standard deviation


class Draw:
    """Random numbers for a batch of ``count`` pictures, from a generator of its own."""

    def __init__(self, count: int, generator: torch.Generator) -> None:
        self.count, self.generator = count, generator

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """(count, *shape) in [low, high)."""
        return torch.rand(self.count, *shape, generator=self.generator) * (high - low) + low

    def normal(self, *shape: int) -> Tensor:
        """(count, *shape)."""
        return torch.randn(self.count, *shape, generator=self.generator)

    def often(self, share: float) -> Tensor:
        """1 in that share of pictures, else 0: (count, 1, 1, 1)."""
        return (self.uniform(0, 1, 1, 1, 1) < share).float()


def pictures(masks: Tensor, generator: torch.Generator) -> Tensor:
    """Masks (B, 1, S, S) in [0, 1] as normalised pictures (B, 3, S, S) in [−1, 1]."""
    draw = Draw(len(masks), generator)
    ink = placed(masks, draw)
    # another icon of the batch shines through the ground
    other = ink[torch.randperm(len(ink), generator=generator)].flip(3)
    return coloured(ink, other, draw) * 2 - 1


def placed(masks: Tensor, draw: Draw) -> Tensor:
    """Turn, zoom, stretch and shift masks (B, 1, S, S)."""
    side = masks.shape[-1]
    angle = draw.uniform(-ANGLE, ANGLE) * (math.pi / 180)
    width = draw.uniform(math.log(ZOOM[0]), math.log(ZOOM[1])).exp()
    height = width * draw.uniform(-STRETCH, STRETCH).exp()
    right, down = draw.uniform(-SHIFT, SHIFT, 2).unbind(1)
    cos, sin = angle.cos(), angle.sin()
    rows = [torch.stack([cos, -sin, right], 1) / width[:, None], torch.stack([sin, cos, down], 1) / height[:, None]]
    line = (torch.arange(side) * 2 + 1) / side - 1
    across, along = line.expand(side, side), line[:, None].expand(side, side)
    plane = torch.stack([across, along, torch.ones(side, side)]).flatten(1)
    grid = (torch.stack(rows, 1) @ plane).view(len(masks), 2, side, side).permute(0, 2, 3, 1)
    return functional.grid_sample(masks, grid, align_corners=False)


def coloured(ink: Tensor, other: Tensor, draw: Draw) -> Tensor:
    """Masks (B, 1, S, S) in random colours on random ground: (B, 3, S, S) in [0, 1].

    other: (B, 1, S, S), what shines through textured ground.
    """
    side = ink.shape[-1]
    stroke, paper = _colours(draw)
    textured = draw.often(TEXTURED)
    ground = paper + textured * draw.uniform(0, TEXTURE, 1, 1, 1) * _texture(side, draw)
    ground = ground + textured * draw.uniform(0, SHINE, 1, 1, 1) * other * (draw.uniform(0, 1, 3, 1, 1) - ground)
    drawn = ground + ink * (stroke - ground)
    drawn = torch.where(draw.often(DIFFERENCE) > 0, (ground - ink).abs(), drawn)
    soft = functional.avg_pool2d(functional.pad(drawn, (1, 1, 1, 1), mode="replicate"), 3, 1)
    drawn = torch.where(draw.often(BLURRED) > 0, soft, drawn)
    # most pictures have little noise
    strength = draw.uniform(0, 1, 1, 1, 1) ** 2 * NOISE
    return (drawn + strength * draw.normal(3, side, side)).clamp(0, 1)


def _colours(draw: Draw) -> tuple[Tensor, Tensor]:
    """Colours of ink and paper, (B, 3, 1, 1) each, that differ by CONTRAST at least."""
    ink, paper = draw.uniform(0, 1, 3, 1, 1), draw.uniform(0, 1, 3, 1, 1)
    grey, light = draw.often(GREY) > 0, draw.often(0.5)
    ink = torch.where(grey, light + 0.15 * (ink - light), ink)
    paper = torch.where(grey, 1 - light + 0.15 * (paper - 1 + light), paper)
    gap = (ink - paper).mean(1, keepdim=True)
    missing = (CONTRAST - gap.abs()).clamp(min=0) * torch.where(gap >= 0, 0.5, -0.5)
    return ink + missing, paper - missing


def _texture(side: int, draw: Draw) -> Tensor:
    """Smooth random fields of two scales, mostly grey: (B, 3, S, S) with mean 0."""
    field = torch.zeros(draw.count, 3, side, side)
    for points in (3, 12):
        weight = draw.uniform(0, 1, 1, 1, 1) ** 2
        coarse = 0.5 * draw.normal(3, points, points) + draw.normal(1, points, points)
        field += weight * functional.interpolate(coarse, side, mode="bilinear", align_corners=False)
    return field
