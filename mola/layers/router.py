"""The router network: a small residual network that looks at the image and scores the experts.

Source: the ResNet-20 for small images of He et al. 2016 (arXiv 1512.03385, Section 4.2), as the paper's released code
describes it.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from mola.types import BadInput


class Router(nn.Module):
    """(B, C, H, W) → scores (B, E), before the softmax.

    width:    channels of the first stage; the next two have twice and four times as many. 16 is the paper's.
    blocks:   residual blocks of each of the three stages. 3 is the paper's.
    pool:     the image is average-pooled by this factor first. 1 is the paper's.
    channels: C of the image.

    The paper's network costs half of a ResNet-50; that of width 8, 1 block and pool 4 about a hundredth
    (``mola bench step --model resnet50``).
    """

    def __init__(self, experts: int, width: int = 16, blocks: int = 3, pool: int = 1, channels: int = 3) -> None:
        super().__init__()
        self.pool = pool
        self.stem = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )
        layers: list[nn.Module] = []
        inputs = width
        for stage in range(3):
            outputs = width * 2**stage
            for block in range(blocks):
                layers.append(_Block(inputs, outputs, stride=2 if stage and not block else 1))
                inputs = outputs
        self.blocks = nn.Sequential(*layers)
        self.head = nn.Linear(inputs, experts)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → (B, E). Raises BadInput for images smaller than ``pool``."""
        if self.pool > 1:
            if min(x.shape[-2:]) < self.pool:
                size = "×".join(map(str, x.shape[-2:]))
                raise BadInput(f"router_pool: expected no more than the images have pixels, {size}, found {self.pool}")
            x = F.avg_pool2d(x, self.pool)
        scores: Tensor = self.head(self.blocks(self.stem(x)).mean((2, 3)))
        return scores


class _Block(nn.Module):
    """Two 3×3 convolutions; the shortcut has no parameters: it subsamples and pads channels with zeros."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.stride, self.added = stride, outputs - inputs
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x[:, :, :: self.stride, :: self.stride]
        if self.added:
            shortcut = F.pad(shortcut, (0, 0, 0, 0, self.added // 2, self.added - self.added // 2))
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + shortcut)
