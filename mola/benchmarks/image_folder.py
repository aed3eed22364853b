"""Images of your own: a folder ``<domain>/<class>/<image>``, or a CSV list of images with their task and label.

Nothing is downloaded, and no code is to be written. docs/own-images.md shows how it is used.

Source: images of the user; the split, the checks and the manifest are this project's.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Literal

from pydantic import Field

from mola.benchmarks import METRICS, SPLITS
from mola.benchmarks._user_images import UserImages
from mola.data.prepare import images
from mola.data.prepare.prepared import Recipe
from mola.data.splits.image_splits import ImageSplits
from mola.data.user.source import RULE, ImageSource
from mola.types import Task


class ImageFolder(UserImages):
    """A task is a domain, or what the list says."""

    class Options(UserImages.Options):
        classes: Literal["auto", "shared", "per_task"] = Field(
            "auto",
            description="shared: all tasks have the same classes; per_task: each has its own ones; "
            "auto: shared where two tasks have a class in common",
        )
        missing_classes: Literal["refuse", "allow"] = Field(
            "refuse", description="what to do with tasks that lack one of the classes that they share"
        )

    options: Options
    name = "image_folder"
    version = 1
    splits = ImageSplits
    manifest: ImageSplits | None
    roots = "a folder of images or a CSV list"
    contents = "folders <domain>/<class>/ with images"

    def every_task(self) -> tuple[Task, ...]:
        """Those of the manifest, or before there is one of the names of folders or the list."""
        classes = self._classes()
        shared = all(names == next(iter(classes.values())) for names in classes.values())
        self.heterogeneity = "domain" if shared else "multi-input task"
        return tuple(Task(task, "classes", len(names), METRICS) for task, names in classes.items())

    @cached_property
    def source(self) -> ImageSource:
        """A folder or a list. Raises BadInput where the suite names none."""
        return ImageSource(self.place_of_images, self.options, self.cache)

    @property
    def rule(self) -> Mapping[str, object]:
        """The options that decide over the splits."""
        return {key: getattr(self.options, key) for key in RULE}

    @property
    def array_names(self) -> list[str]:
        """Images and labels of every chosen task."""
        return [f"{task}.{split}.{kind}" for task in self.groups for split in SPLITS for kind in ("images", "labels")]

    def recipes_of(self, known: ImageSplits) -> dict[str, Recipe]:
        """How the arrays of the chosen tasks are made."""
        recipes = {}
        for task in self.groups:
            for split, files in known.files[task].items():
                items = [(file, label) for file, (label, _) in files.items()]
                counts = dict.fromkeys(known.classes[task], 0)
                for _, label in items:
                    counts[known.classes[task][label]] += 1
                key = {"version": self.version, "files": [sha256 for _, sha256 in files.values()]}
                reader = self.reader({file: sha256 for file, (_, sha256) in files.items()})
                recipes[f"{task}.{split}"] = images.recipe(
                    self.source.folder, items, self.options.size, key, counts, reader=reader
                )
        return recipes

    def _classes(self) -> dict[str, list[str]]:
        """The classes of each task."""
        if self.manifest:
            return self.manifest.classes
        return self.source.classes() if self.options.root else {}

    def class_names(self, task: str) -> tuple[str, ...]:
        """Return the names of the folders, or the labels of the list."""
        return tuple(self._classes()[task])
