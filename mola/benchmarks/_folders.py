"""Benchmarks of domains that share a label set, downloaded as folders ``<domain>/<class>/<image>``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mola.benchmarks import SPLITS, Images
from mola.benchmarks._downloaded import Downloaded
from mola.data.batches import augment_photos as natural
from mola.data.prepare import images
from mola.data.prepare.prepared import Part
from mola.data.splits.rule import divided, interleaved
from mola.types import BadInput, Split

ByClass = Sequence[Sequence[str]]  # of one domain: the images of each class, relative to the domain's folder
FEWEST = 3  # images of a class, so that each split has one


class Folders(Downloaded):
    """Domain heterogeneity: a task is a domain, its images lie in a folder per class."""

    heterogeneity = "domain"
    draws = natural.DRAWS
    size: int  # pixels of a side
    domains: Mapping[str, str]  # task → folder; a blank may stand where an underscore does
    classes: Sequence[str]  # their folders; the position is the label

    def listed(self, domain: Path) -> ByClass:
        """The images of a domain. Raises BadInput where a folder is missing, too much, or has too few images."""
        return self.in_class_folders(domain, FEWEST)

    def splits(self, listed: Mapping[str, ByClass]) -> Mapping[str, Mapping[Split, ByClass]]:
        """Task → split → images: of every class 60/20/20 percent, by the rank of ``<domain>/<class>/<image>``."""
        divisions = {
            task: [divided(names, self.rule.percent, f"{self.domains[task]}/") for names in by_class]
            for task, by_class in listed.items()
        }
        return {task: {s: [each[s] for each in made] for s in SPLITS} for task, made in divisions.items()}

    def published(self, task: str) -> int | Mapping[str, int]:
        """The published number of a domain's images, in all or of each class."""
        counts: int | Mapping[str, int] = self.rule.counts[task]
        return counts

    @property
    def variant(self) -> tuple[str, ...]:
        """Size and split."""
        return (str(self.size), *super().variant)

    def parts(self) -> Mapping[str, Part]:
        """Images and labels of every domain and split, those of a class spread evenly."""
        (source,) = self.sources
        tree = self.tree(source)
        folders = self._domain_folders(tree)
        listed = {task: self._counted(task, folder) for task, folder in folders.items()}
        made = {}
        for task, splits in self.splits(listed).items():
            inside = folders[task].relative_to(tree)
            for split, by_class in splits.items():
                items = interleaved(by_class)
                key = self.made_from(source, [f"{inside}/{file}" for file, _ in items])
                counts = dict(zip(self.classes, map(len, by_class), strict=True))
                made[f"{task}.{split}"] = images.part(folders[task], items, self.size, key, counts)
        return made

    def augmented(self, images: Images, uniform: NDArray[np.float32]) -> Images:
        """The paper's for VLCS and OfficeHome: crop, flip, colours, some grey."""
        return natural.augmented(images, uniform)

    def in_class_folders(self, folder: Path, fewest: int) -> list[list[str]]:
        """``<class>/<image>`` of all classes, sorted."""
        found = {path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith((".", "__"))}
        for name in self.classes:
            if name not in found:
                told = ", ".join(sorted(found - set(self.classes))) or f"{len(found)} of {len(self.classes)} classes"
                raise BadInput(f"{folder}: expected a folder of class '{name}', found none ({told})")
        if extra := sorted(found - set(self.classes)):
            raise BadInput(f"{folder}: expected {len(self.classes)} folders of classes, found also '{extra[0]}'")
        by_class = []
        for name in self.classes:
            files = sorted(images.files(folder / name))
            if len(files) < fewest:
                raise BadInput(f"{folder / name}: expected at least {fewest} images, found {len(files)}")
            by_class.append([f"{name}/{file}" for file in files])
        return by_class

    def _domain_folders(self, tree: Path) -> dict[str, Path]:
        """Task → its folder: directly in the tree, or one or two levels below, as the archives have them."""
        wanted = set(self.domains.values())
        for level in ("*", "*/*", "*/*/*"):
            # sorted: the same one on every machine, should a folder stand twice
            found = {
                _plain(path): path for path in sorted(tree.glob(level)) if path.is_dir() and _plain(path) in wanted
            }
            if found:
                break
        for folder in self.domains.values():
            if folder not in found:
                told = ", ".join(sorted(found)) or ", ".join(sorted(p.name for p in tree.iterdir())[:4]) or "nothing"
                raise BadInput(f"{tree}: expected a folder of domain '{folder}', found {told}")
        return {task: found[folder] for task, folder in self.domains.items()}

    def _counted(self, task: str, folder: Path) -> ByClass:
        by_class = self.listed(folder)
        if self.official:
            published, hint = self.published(task), "; `official: false` takes data of other numbers"
            found = dict(zip(self.classes, map(len, by_class), strict=True))
            for name, wanted in published.items() if isinstance(published, Mapping) else ():
                if found[name] != wanted:
                    raise BadInput(f"{folder / name}: expected {wanted} images, found {found[name]}{hint}")
            if isinstance(published, int) and sum(found.values()) != published:
                raise BadInput(f"{folder}: expected {published} images, found {sum(found.values())}{hint}")
        return by_class


def _plain(path: Path) -> str:
    return path.name.replace(" ", "_")
