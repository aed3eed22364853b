"""What is measured: models with the batch they see, and the setting they run in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn

from mola.types import BadInput, Rank

M = TypeVar("M", bound=nn.Module)
Precision = Literal["fp32", "bf16"]


@dataclass(frozen=True)
class Case:
    """A timm model, where its adapters sit, and a batch. options: of timm's constructor."""

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


STAGES, BY_STAGE = r"layer[2-4]\..*conv\d", {r"layer4\..*": 8, r".*": 4}
LIVE = (("zero_init_last", False),)  # timm starts residual branches at 0: then the adapters in them had nothing to do
CASES = {
    "resnet50": Case("resnet50", 32, 64, STAGES, BY_STAGE, LIVE),
    "resnet18": Case("resnet18", 32, 64, STAGES, BY_STAGE, LIVE),
    "vit_small": Case("vit_small_patch16_224", 8, 224, r"blocks\..*(qkv|proj|fc1|fc2)", 8),
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

    def place(self, model: M) -> M:
        """The model, on the device."""
        model = model.to(self.on)
        if self.channels_last:
            model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if self.compiled:
            model.compile()
        return model

    def images(self, case: Case) -> Tensor:
        """(B, 3, H, W), random."""
        x = torch.randn(case.batch, 3, case.size, case.size, device=self.on)
        return x.contiguous(memory_format=torch.channels_last) if self.channels_last else x

    @contextmanager
    def running(self) -> Iterator[None]:
        """Around a forward pass."""
        with torch.autocast(self.device, torch.bfloat16, enabled=self.precision == "bf16"):
            yield


def case_of(name: str, batch: int | None, size: int | None) -> Case:
    """A case by its name, with another batch or image size where one is given. Raises BadInput."""
    if name not in CASES:
        raise BadInput(f"--model: expected {', '.join(CASES)}, found '{name}'")
    case = CASES[name]
    if size is not None and "vit" in name:
        case = replace(case, options=(*case.options, ("img_size", size)))
    case = replace(case, batch=batch or case.batch, size=size or case.size)
    if case.batch == 1 and case.size <= 32 and "resnet" in name:
        raise BadInput("--batch: expected at least 2 for images of 32 pixels: BatchNorm has one position left, found 1")
    return case
