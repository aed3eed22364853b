"""Random gate: adapters mixed per sample as the image says, by a function that never learns. A control for routers.

Source: a control of this project; fixed random routing was found strong by Roller et al. 2021, Hash Layers (arXiv
2106.04426).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from pydantic import Field, PositiveFloat
from torch import Tensor, nn

from mola.methods._adapted import Gates, MixedMethod
from mola.methods._experts import GATE_INPUTS, gate_input
from mola.types import Batch, Task


class LoRARandomGate(MixedMethod):
    """γ = softmax(sharpness · P z), z the image pooled to 8×8 pixels, its mean taken off, at length one; P fixed noise.

    Alike images get alike mixtures, as from a router, but none of it is learnt: what MoLA-Router gains over this row is
    what its routing has learnt, not that it mixes.
    """

    class Options(MixedMethod.Options):
        sharpness: PositiveFloat = Field(2.0, description="factor of the scores before the softmax")

    noise: Tensor  # (E, 192)

    looks_at_images = True

    def __init__(self, tasks: Sequence[Task], backbone: Callable[[], nn.Module], options: Options) -> None:
        super().__init__(tasks, backbone, options)
        self.sharpness = options.sharpness
        self.register_buffer("noise", torch.randn(self.experts_for(tasks, options), GATE_INPUTS))

    def gates(self, batch: Batch) -> Gates:
        """One mixture per sample."""
        pixels = gate_input(batch.images).float()
        pixels = nn.functional.normalize(pixels - pixels.mean(1, keepdim=True), dim=1)  # (B, 192)
        weights = (self.sharpness * pixels @ self.noise.T).softmax(1)  # (B, E)
        return Gates(weights, weights)
