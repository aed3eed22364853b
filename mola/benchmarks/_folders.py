"""Benchmarks of domains that share a set of classes, downloaded as folders ``<domain>/<class>/<image>``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveInt

from mola.benchmarks import SPLITS, Images
from mola.benchmarks._downloaded import Downloaded
from mola.data.batches import augment_photos
from mola.data.prepare import images
from mola.data.prepare.prepared import Recipe
from mola.data.splits.rule import divided, interleaved
from mola.types import BadInput, Split

ByClass = Sequence[Sequence[str]]  # of one domain: the images of each class, relative to the domain's folder
FEWEST = 3  # images of a class, so that each split has one


class Folders(Downloaded):
    """Domain heterogeneity: a task is a domain, whose images are in a folder per class."""

    class Options(Downloaded.Options):
        size: PositiveInt = Field(224, description="pixels of a side of the prepared images")

    options: Options
    heterogeneity = "domain"
    decoder = "images"
    draws = augment_photos.DRAWS
    domains: Mapping[str, str]  # task → folder; a blank may stand where an underscore does
    classes: Sequence[str]  # their folders; the position is the label

    def listed(self, domain: Path) -> ByClass:
        """List the images of a domain. Raises BadInput where a folder is missing, unknown, or has too few images."""
        return self.in_class_folders(domain, FEWEST)

    def splits(self, listed: Mapping[str, ByClass]) -> Mapping[str, Mapping[Split, ByClass]]:
        """Divide the images of every task: of every class 60/20/20 percent, by rank of ``<domain>/<class>/<image>``."""
        divisions = {
            task: [divided(names, self.rule.percent, f"{self.domains[task]}/") for names in by_class]
            for task, by_class in listed.items()
        }
        return {task: {s: [each[s] for each in by_class] for s in SPLITS} for task, by_class in divisions.items()}

    @property
    def listed_tasks(self) -> tuple[str, ...]:
        """The names of the tasks whose images decide over the splits: the chosen ones, as each is divided by itself."""
        return self.groups

    def published(self, task: str) -> int | Mapping[str, int]:
        """Return the published number of a domain's images, in all or of each class."""
        counts: int | Mapping[str, int] = self.rule.counts[task]
        return counts

    @property
    def variant(self) -> tuple[str, ...]:
        """The size of the images, and the split."""
        return (str(self.options.size), *super().variant)

    def recipes(self) -> Mapping[str, Recipe]:
        """Return how images and labels of every domain and split are made, those of a class spread evenly."""
        (source,) = self.sources
        tree = self.raw.tree(source)
        folders = self._domain_folders(tree)
        listed = {task: self._counted(task, folder) for task, folder in folders.items()}
        divisions = self.splits(listed)
        recipes = {}
        for task in self.groups:
            inside = folders[task].relative_to(tree)
            for split, by_class in divisions[task].items():
                items = interleaved(by_class)
                key = self.made_from(source, [f"{inside}/{file}" for file, _ in items])
                counts = dict(zip(self.classes, map(len, by_class), strict=True))
                recipes[f"{task}.{split}"] = images.recipe(folders[task], items, self.options.size, key, counts)
        return recipes

    def class_names(self, task: str) -> tuple[str, ...]:
        """Return the names of the folders."""
        return tuple(self.classes)

    def augmented(self, images: Images, uniform: NDArray[np.float32]) -> Images:
        """Augment as the paper does VLCS and OfficeHome: crop, flip, colours, some grey."""
        return augment_photos.augmented(images, uniform)

    def in_class_folders(self, folder: Path, fewest: int) -> list[list[str]]:
        """List ``<class>/<image>`` of each class, sorted. Raises BadInput as ``listed`` does."""
        folders = {path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith((".", "__"))}
        extra = sorted(folders - set(self.classes))
        for name in self.classes:
            if name not in folders:
                others = ", ".join(extra) or f"{len(folders)} of {len(self.classes)} classes"
                raise BadInput(f"{folder}: expected a folder of class '{name}', found none ({others})")
        if extra:
            raise BadInput(f"{folder}: expected {len(self.classes)} folders of classes, found also '{extra[0]}'")
        by_class = []
        for name in self.classes:
            files = sorted(images.files(folder / name))
            if len(files) < fewest:
                raise BadInput(f"{folder / name}: expected at least {fewest} images, found {len(files)}")
            by_class.append([f"{name}/{file}" for file in files])
        return by_class

    def _domain_folders(self, tree: Path) -> dict[str, Path]:
        """Return the folder of each task: directly in the tree, or one or two levels below, as the archives have it."""
        domains = {task: self.domains[task] for task in self.listed_tasks}
        expected = set(domains.values())
        for level in ("*", "*/*", "*/*/*"):
            # sorted, so that every machine takes the same one, should a folder stand twice
            paths = [path for path in sorted(tree.glob(level)) if path.is_dir()]
            if folders := {_plain(path): path for path in paths if _plain(path) in expected}:
                break
        for name in domains.values():
            if name not in folders:
                names = sorted(folders) or sorted(path.name for path in tree.iterdir())[:4] or ["nothing"]
                raise BadInput(f"{tree}: expected a folder of domain '{name}', found {', '.join(names)}")
        return {task: folders[name] for task, name in domains.items()}

    def _counted(self, task: str, folder: Path) -> ByClass:
        by_class = self.listed(folder)
        if self.options.official:
            published, hint = self.published(task), "; `official: false` takes data of other numbers"
            counts = dict(zip(self.classes, map(len, by_class), strict=True))
            for name, expected in published.items() if isinstance(published, Mapping) else ():
                if counts[name] != expected:
                    raise BadInput(f"{folder / name}: expected {expected} images, found {counts[name]}{hint}")
            if isinstance(published, int) and sum(counts.values()) != published:
                raise BadInput(f"{folder}: expected {published} images, found {sum(counts.values())}{hint}")
        return by_class


def _plain(path: Path) -> str:
    return path.name.replace(" ", "_")
