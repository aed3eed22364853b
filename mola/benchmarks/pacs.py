"""PACS: photos, art paintings, cartoons and sketches of seven things; 9991 images of 227 pixels, downloaded.

Source: Li, Yang, Song & Hospedales, Deeper, Broader and Artier Domain Generalization, ICCV 2017 (arXiv 1710.03077).
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mola.benchmarks import METRICS
from mola.benchmarks._folders import Folders
from mola.data.fetch.download import Download
from mola.types import Task

CLASSES = ("dog", "elephant", "giraffe", "guitar", "horse", "house", "person")
DOMAINS = ("photo", "art_painting", "cartoon", "sketch")


class Pacs(Folders):
    """Archives have ``PACS/<domain>/<class>`` or ``kfold/<domain>/<class>``."""

    class Options(Folders.Options):
        split: Literal["ours"] = Field("ours", description="the paper has no split of PACS")

    name = "pacs"
    version = 1
    tasks = tuple(Task(name, "classes", len(CLASSES), METRICS) for name in DOMAINS)
    classes, domains = CLASSES, {name: name for name in DOMAINS}
    mean = std = (0.5, 0.5, 0.5)  # what the packaged weights of EfficientNet-Lite0 were trained with
    sources = (
        Download(
            "pacs",
            "https://github.com/facebookresearch/DomainBed",
            "none stated",
            "",
            file="PACS.zip",
            mirrors=(
                "1JFr8f805nMUelQWWmfnJR3y4_SYoN5Pd",
                "https://wjdcloud.blob.core.windows.net/dataset/PACS.zip",
                "1WWi9tuUNFmUiw7Eirq_JT_hxYZv3J-Vv",
            ),
            terms="Images come from four other collections: for research only.",
        ),
    )
