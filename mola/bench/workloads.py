"""Workloads: models with the batch that they see, and the setting that they run in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn

from mola.types import BadInput, Rank

M = TypeVar("M", bound=nn.Module)
Precision = Literal["fp32", "bf16"]


@dataclass(frozen=True)
class Workload:
    """A timm model, where its adapters sit, and the size of a batch.

    batch:   images. size: their height and width in pixels.
    where:   regular expression for the adapted layers' names.
    options: of timm's constructor.
    """

    model: str
    batch: int
    size: int
    where: str
    rank: Rank
    options: tuple[tuple[str, Any], ...] = ()

    def plain(self, classes: int) -> nn.Module:
        """The model without adapters; 0 classes: the feature extractor."""
        import timm

        model: nn.Module = timm.create_model(self.model, num_classes=classes, **dict(self.options))
        return model

    @property
    def adapters(self) -> dict[str, Any]:
        """The options of a low-rank method."""
        return {"where": self.where, "rank": self.rank}


STAGES, RANK_BY_STAGE = r"layer[2-4]\..*conv\d", {r"layer4\..*": 8, r".*": 4}
# timm starts residual branches at 0, where the adapters in them would have nothing to do
ACTIVE_BRANCHES = (("zero_init_last", False),)
WORKLOADS = {
    "resnet50": Workload("resnet50", 32, 64, STAGES, RANK_BY_STAGE, ACTIVE_BRANCHES),
    "resnet18": Workload("resnet18", 32, 64, STAGES, RANK_BY_STAGE, ACTIVE_BRANCHES),
    # samples don't meet in these two: one backward pass is enough for balancers; a batch of both 4 and 9 tasks
    "vit_tiny": Workload("vit_tiny_patch16_224", 36, 112, r"blocks\..*(qkv|proj|fc1|fc2)", 8, (("img_size", 112),)),
    "resnet26_gn": Workload("resnet26", 36, 64, STAGES, 4, (*ACTIVE_BRANCHES, ("norm_layer", "groupnorm"))),
    "vit_small": Workload("vit_small_patch16_224", 8, 224, r"blocks\..*(qkv|proj|fc1|fc2)", 8),
}


@dataclass(frozen=True)
class Setting:
    """How models run. device: "cpu" or "cuda"; precision: bf16 under autocast; compiled: by torch.compile."""

    device: str = "cpu"
    precision: Precision = "fp32"
    channels_last: bool = False
    compiled: bool = False

    def __post_init__(self) -> None:
        if self.device != "cpu" and not (self.device == "cuda" and torch.cuda.is_available()):
            raise BadInput(f"--device: expected cpu{', or cuda' * torch.cuda.is_available()}, found '{self.device}'")
        if self.precision not in ("fp32", "bf16"):
            raise BadInput(f"--precision: expected fp32 or bf16, found '{self.precision}'")

    @property
    def on(self) -> torch.device:
        """The device itself."""
        return torch.device(self.device)

    @property
    def dtype(self) -> torch.dtype:
        """Of the forward pass."""
        return torch.bfloat16 if self.precision == "bf16" else torch.float32

    def place(self, model: M) -> M:
        """The model, on the device."""
        model = model.to(self.on)
        if self.channels_last:
            model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if self.compiled:
            model.compile()
        return model

    def images(self, workload: Workload) -> Tensor:
        """A random batch (B, 3, H, W)."""
        x = torch.randn(workload.batch, 3, workload.size, workload.size, device=self.on)
        return x.contiguous(memory_format=torch.channels_last) if self.channels_last else x

    @contextmanager
    def running(self) -> Iterator[None]:
        """Around a forward pass."""
        with torch.autocast(self.device, torch.bfloat16, enabled=self.precision == "bf16"):
            yield
