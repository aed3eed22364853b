"""MTAN: one shared backbone; each task has an attention module at every stage, which masks the shared features.

Source: Liu, Johns and Davison 2019, End-to-End Multi-Task Learning with Attention (CVPR, arXiv 1803.10704), Section 3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field, PositiveInt
from torch import Tensor, nn
from torch.nn import Parameter

from mola.methods import Method
from mola.models.heads import Heads
from mola.models.stages import at_stages, stages
from mola.models.tokens import Layout
from mola.types import BadInput, Batch, Output, SearchSpace, Task


class MTAN(Method):
    """a_t^j = h_t(g_t([p^j; f(â_t^(j−1))])), â_t^j = a_t^j ⊙ p^j, y_t = head_t(rest(â_t^S)).

    p^j: what stage j of the backbone gives; g and h: 1×1 convolutions of task t; f: a 3×3 convolution that all tasks
    share, and max-pooling to the next stage's size; rest: what the backbone has behind its last stage.

    Differs from the paper, which is defined for SegNet: masks are computed from p, where the paper takes the features
    one convolution earlier (a stage of one block has no such place); no attention on the way up, as heads are those of
    all methods; no f behind the last stage, so that masks of ones are hard sharing; a task's only value, one sample on
    a 1×1 map, is normalised by running statistics. On tokens f sees the map they come from, a class token alone.
    LibMTL's ResNet version has a residual block for f, and one attention module for all tasks.
    """

    class Options(Method.Options):
        reduction: PositiveInt = Field(1, description="divides a stage's channels to those between g and h")

    search_space: ClassVar[SearchSpace] = {"reduction": (1, 2, 4)}

    def __init__(self, tasks: Sequence[Task], backbone: Callable[[], nn.Module], options: Options) -> None:
        super().__init__(tasks, backbone, options)
        self.backbone = backbone()
        self.heads = Heads(tasks, self.backbone)
        widths = [stage.channels for stage in stages(self.backbone)]
        self.passages = nn.ModuleList(Passage(a, b) for a, b in pairwise(widths))
        self.attention = nn.ModuleDict(
            {
                task.name: nn.ModuleList(
                    attention(2 * width if stage else width, max(1, width // options.reduction), width)
                    for stage, width in enumerate(widths)
                )
                for task in tasks
            }
        )

    def forward(self, batch: Batch) -> Output:
        """One pass through the backbone. Each sample meets the attention of its own task; where it has all tasks, that
        of every one.
        """
        layout = Layout(self.backbone, (batch.x.shape[-2], batch.x.shape[-1]))
        rows = {name: batch.rows(name) for name in batch.y}
        attended: list[Tensor] = []  # (B_t, C, h, w) of every task present

        def attend(stage: int, output: Tensor) -> Tensor | None:
            nonlocal attended
            features = layout.unified(output)
            shared = [features[of_task] for of_task in rows.values()]
            inputs = shared
            if stage:
                passed = self.passages[stage - 1](torch.cat(attended), layout, features)
                before = passed.split([len(part) for part in attended])
                inputs = [torch.cat(pair, 1) for pair in zip(shared, before, strict=True)]
            masks = [self.attention[name][stage] for name in rows]  # type: ignore[index]  # a list of modules
            attended = [p * mask(s) for p, mask, s in zip(shared, masks, inputs, strict=True)]
            return None if stage < len(self.passages) else layout.restored(in_batch_order(attended, batch))

        with at_stages(self.backbone, attend):
            features = self.backbone(batch.x)  # (B, F), or (T·B, F, h, w) task by task
        if batch.task is not None:
            return Output(self.heads(features, batch))
        predictions: dict[str, Tensor] = {}
        for name, of_task in zip(rows, features.chunk(len(rows)), strict=True):
            predictions |= self.heads(of_task, batch.only(name))
        return Output(predictions)

    def shared_parameters(self) -> list[Parameter]:
        """The backbone, and f."""
        return [*self.backbone.parameters(), *self.passages.parameters()]


class Passage(nn.Module):
    """f: from the attended features of one stage to the attention of the next."""

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels, outputs, 3, padding=1, bias=False)
        self.norm = Norm(outputs)

    def forward(self, x: Tensor, layout: Layout, following: Tensor) -> Tensor:
        """(B, C, h, w) → (B, C', h', w'), the size of ``following``."""
        x = F.relu(self.norm(layout.convolved(self.convolution, x)))
        return pooled_to(x, (following.shape[-2], following.shape[-1]))


class Norm(nn.BatchNorm2d):
    """BatchNorm that takes its running statistics where a single value per channel has no variance."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w), all sizes."""
        if self.training and x.numel() == x.shape[1]:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(x)


def attention(channels: int, hidden: int, outputs: int) -> nn.Sequential:
    """h ∘ g: (B, C, h, w) → (B, C', h, w) in (0, 1)."""
    return nn.Sequential(
        nn.Conv2d(channels, hidden, 1, bias=False),
        Norm(hidden),
        nn.ReLU(inplace=True),
        nn.Conv2d(hidden, outputs, 1, bias=False),
        Norm(outputs),
        nn.Sigmoid(),
    )


def pooled_to(x: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, C, h, w) → (B, C, *size) by the maximum over windows as large as the stride between the stages; the last of
    them may be cut off by the border. Raises BadInput for a stage that is larger than the one before.
    """
    if tuple(x.shape[-2:]) == size:
        return x
    strides = [max(1, round(old / new)) for old, new in zip(x.shape[-2:], size, strict=True)]
    pad = [new * stride - old for old, new, stride in zip(x.shape[-2:], size, strides, strict=True)]
    if any(more >= stride for more, stride in zip(pad, strides, strict=True)):
        raise BadInput(f"backbone.name: expected stages of decreasing size, found {tuple(x.shape[-2:])} before {size}")
    return F.max_pool2d(F.pad(x, (0, pad[1], 0, pad[0]), value=-torch.inf), strides)


def in_batch_order(parts: list[Tensor], batch: Batch) -> Tensor:
    """Each present task's (B_t, …) → (B, …); where every sample has every task (T·B, …), task by task."""
    whole = torch.cat(parts)
    if batch.task is None:
        return whole
    order = torch.cat([(batch.task == batch.tasks.index(name)).nonzero().flatten() for name in batch.y])
    return whole if bool((order.diff() > 0).all()) else whole[order.argsort()]
