"""VLCS: five things in four collections of photographs (PASCAL VOC 2007, LabelMe, Caltech-101, SUN09); downloaded.

Source: Fang, Xu & Rockmore, Unbiased Metric Learning, ICCV 2013; as packed for JigenDG (Carlucci et al. 2019, arXiv
1903.06864), which the MoLA paper reads, or for DomainBed (Gulrajani & Lopez-Paz 2021, arXiv 2007.01434).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field

from mola.benchmarks import METRICS
from mola.benchmarks._folders import ByClass, Folders
from mola.data.fetch.download import Download
from mola.data.splits.rule import ranked
from mola.types import BadInput, Split, Task

CLASSES = ("bird", "car", "chair", "dog", "person")
TASKS = ("pascal", "labelme", "caltech", "sun")  # the paper's order
DOMAINS = {
    "jigen": ("PASCAL", "LABELME", "CALTECH", "SUN"),
    "domainbed": ("VOC2007", "LabelMe", "Caltech101", "SUN09"),
}
# split → folder of JigenDG's archive
PACKED: Mapping[Split, str] = {"train": "train", "valid": "crossval", "test": "test"}
TERMS = "VOC2007, LabelMe, Caltech-101 and SUN09 have terms of their own: for research only."
SOURCES = {
    "jigen": Download(
        "vlcs",
        "https://github.com/fmcarlucci/JigenDG; also https://www.mediafire.com/file/7yv132lgn1v267r/vlcs.tar.gz/file",
        "none stated",
        "",
        file="vlcs-jigen.zip",
        mirrors=("1r0WL5DDqKfSPp9E3tRENwHaXNs1olLZd",),  # mediafire's address is a page: by hand, with --from
        size=192_000_000,
        terms=TERMS,
    ),
    "domainbed": Download(
        "vlcs",
        "https://github.com/facebookresearch/DomainBed",
        "none stated",
        "",
        file="VLCS.tar.gz",
        mirrors=("1skwblH1_okBwxWxmRsp9_qi15hyPpxg8", "1yDuLrJdPSvMbTmpq-7XmwG0HnJengD-T"),
        checksums={"domainbed": "md5:8870171eba660927d9668f4e515928e4"},
        terms=TERMS,
    ),
}


class Vlcs(Folders):
    """JigenDG's archive has ``<domain>/{train,crossval,test}/{0…4}``, whose folders are the splits; the paper trains on
    train and reports crossval. DomainBed's has ``<domain>/<class>`` with larger images, which are split by rank.
    """

    class Options(Folders.Options):
        layout: Literal["jigen", "domainbed"] = Field("jigen", description="which of two archives")

    options: Options
    name = "vlcs"
    version = 1
    tasks = tuple(Task(name, "classes", len(CLASSES), METRICS) for name in TASKS)
    mean = (0.48145466, 0.4578275, 0.40821073)  # CLIP's, as in the paper's code
    std = (0.26862954, 0.26130258, 0.27577711)

    def __init__(self, root: Path, options: Options) -> None:
        if options.layout == "domainbed" and options.split == "paper":
            raise BadInput(
                "vlcs.split: expected 'ours' with layout 'domainbed', which lacks the paper's, found 'paper'"
            )
        super().__init__(root, options)
        self.domains = dict(zip(TASKS, DOMAINS[options.layout], strict=True))
        self.classes = CLASSES if options.layout == "domainbed" else ("0", "1", "2", "3", "4")

    def published_sources(self) -> tuple[Download, ...]:
        """Return the archive of the layout."""
        return (SOURCES[self.options.layout],)

    @property
    def variant(self) -> tuple[str, ...]:
        """The layout, the size of the images, and the split."""
        return (self.options.layout, *super().variant)

    def published(self, task: str) -> int | Mapping[str, int]:
        """Return the number of every class, or of all images of JigenDG's archive, whose classes were not counted."""
        counts: Mapping[str, int] = self.rule.counts[task]
        return counts if self.options.layout == "domainbed" else sum(counts.values())

    def listed(self, domain: Path) -> ByClass:
        """List the images of a domain; those of JigenDG's archive from all its splits."""
        if self.options.layout == "domainbed":
            return super().listed(domain)
        by_class: list[list[str]] = [[] for _ in CLASSES]
        for folder in PACKED.values():
            if not (domain / folder).is_dir():
                raise BadInput(f"{domain}: expected a folder '{folder}', found none; or is it `layout: domainbed`?")
            # a tenth of the 14 birds of SUN may be none
            fewest = 0 if folder == "crossval" else 1
            for names, more in zip(by_class, self.in_class_folders(domain / folder, fewest), strict=True):
                names += [f"{folder}/{name}" for name in more]
        return by_class

    def splits(self, listed: Mapping[str, ByClass]) -> Mapping[str, Mapping[Split, ByClass]]:
        """Split by folder, or by rank."""
        if self.options.layout == "domainbed":
            return super().splits(listed)
        packed: Mapping[Split, str] = PACKED if self.options.split == "ours" else {"train": "train", "test": "crossval"}
        return {
            task: {
                split: [ranked(name for name in names if name.startswith(f"{folder}/")) for names in by_class]
                for split, folder in packed.items()
            }
            for task, by_class in listed.items()
        }
