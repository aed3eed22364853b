"""Images of your own: a folder ``<domain>/<class>/<image>``, or a CSV list of images with their task and label.

Nothing is downloaded, and no code is to be written. docs/own-images.md shows how it is used.

Source: images of the user; the split, the checks and the manifest are this project's.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from pydantic import Field, NonNegativeInt, PositiveInt, field_validator

from mola.benchmarks import METRICS, SPLITS, Benchmark, Images, chosen_tasks
from mola.data import disk
from mola.data.batches import augment_photos
from mola.data.prepare import images, photos, store
from mola.data.prepare.prepared import Prepared, Recipe, write_prepared
from mola.data.splits.image_splits import ImageSplits
from mola.data.user.source import ImageSource
from mola.terminal import say
from mola.types import BadInput, Split, Task

DECODERS = ("pillow", "numpy")


class ImageFolder(Benchmark):
    """A task is a domain, or what the list says. The manifest fixes the splits once it is written; then the images are
    only asked for to prepare them.
    """

    class Options(Benchmark.Options):
        root: str | None = Field(
            None,
            description="the folder, or the CSV list; relative to the working folder. No part of what makes runs stale",
        )
        manifest: str | None = Field(
            None,
            description="file that fixes the splits; null: beside the configuration, <its name>.<label>.splits.json",
        )
        size: PositiveInt = Field(
            224, description="pixels of a side of the prepared images: squares, cut out of the middle"
        )
        split: dict[Split, PositiveInt] = Field(
            {"train": 60, "valid": 20, "test": 20},
            description="percent of each class; not where a list says the splits",
        )
        seed: NonNegativeInt = Field(0, description="of the split, which is the same for all runs")
        classes: Literal["auto", "shared", "per_task"] = Field(
            "auto",
            description="shared: all tasks have the same classes; per_task: each has its own ones; "
            "auto: shared where two tasks have a class in common",
        )
        missing_classes: Literal["refuse", "allow"] = Field(
            "refuse", description="what to do with tasks that lack one of the classes that they share"
        )
        augment: Literal["photos", "flip", "none"] = Field(
            "photos", description="of training images: crop, flip and colours; half of them mirrored; or as they are"
        )

        @field_validator("split")
        @classmethod
        def _whole(cls, value: dict[str, int]) -> dict[str, int]:
            if {*value} != {"train", "valid", "test"} or sum(value.values()) != 100:
                raise ValueError("expected train, valid and test, 100 together")
            return value

    options: Options
    name = "image_folder"
    version = 1
    tasks: tuple[Task, ...] = ()
    mean = std = (0.5, 0.5, 0.5)
    draws = augment_photos.DRAWS
    sources = ()
    divides_by_itself = True

    def __init__(self, root: Path, options: Options) -> None:
        self.root, self.options = Path(root), options
        self.path = Path(options.manifest) if options.manifest else None
        self.manifest = ImageSplits.read(self.path) if self.path else None
        self._describe()
        super().__init__(root, options)

    def _describe(self) -> None:
        """Take tasks and classes from the manifest, or before there is one from the names of folders or the list."""
        classes = self.manifest.classes if self.manifest else self.source.classes() if self.options.root else {}
        self.tasks = tuple(Task(task, "classes", len(names), METRICS) for task, names in classes.items())
        if self.options.tasks is not None:
            self.tasks = chosen_tasks(self.name, self.tasks, self.options.tasks)
        shared = all(names == next(iter(classes.values())) for names in classes.values())
        self.heterogeneity = "domain" if shared else "multi-input task"

    @cached_property
    def source(self) -> ImageSource:
        """The images. Raises BadInput where the suite names none."""
        if self.options.root is None:
            raise BadInput("image_folder.root: expected a folder of images or a CSV list, found none")
        return ImageSource(Path(self.options.root).expanduser(), self.options, self.root / "image_folder-checked")

    @property
    def splits_sha256(self) -> str:
        """A checksum of what the manifest says of the chosen tasks; "" as long as their images are not prepared."""
        return self.manifest.sha256(self.groups, self.options.size) if self.manifest else ""

    def check_raw(self) -> None:
        """Raise BadInput where images were added, removed or changed since the manifest was written, as far as the
        names, sizes and times of files tell; without a manifest where there is no task.
        """
        if self.manifest is None:
            if not self.source.classes():
                raise BadInput(f"{self.source.path}: expected folders <domain>/<class>/ with images, found none")
        elif self.options.root is None or self.source.path.exists():
            self._check_rule()
            self.source.check_unchanged(self.manifest, self._renewal, exact=False)

    def fetch(self) -> None:
        """Open all images once, and raise BadInput with all that is wrong with them; where there is a manifest, where
        they are no longer those that it names.
        """
        if self.manifest is None:
            self.source.checked()
            return
        self._check_rule()
        self.source.check_unchanged(self.manifest, self._renewal, exact=True)

    def verified(self) -> str:
        """Say how many images were checked."""
        number = len({file for splits in self._known.files.values() for each in splits.values() for file in each})
        return f"{number} images of {len(self.tasks)} tasks checked"

    def place(self, path: Path) -> None:
        """Raise BadInput: the images are used where they are."""
        raise BadInput(
            f"{path}: expected no --from for '{self.name}', whose images are used where they are: its option root"
        )

    def renew_splits(self) -> None:
        """Divide the images anew when they are prepared next. Raises BadInput where there are none."""
        self.source.checked()
        self.manifest = None
        self._describe()

    def prepare(self) -> Path:
        """Prepare the chosen tasks, write the manifest where it is new, and return the folder of the arrays."""
        with disk.errors_as_bad_input(self.root, "prepared arrays"):
            self.root.mkdir(parents=True, exist_ok=True)
        known, path = self._known, self._manifest_path
        folder = self._folder(known)
        with FileLock(f"{folder}.manifest.lock"):
            # another process may have prepared other tasks meanwhile
            if (current := ImageSplits.read(path)) is not None and current.digest == known.digest:
                known = known.model_copy(update={"arrays": current.arrays})
            with store.sole_writer(folder):
                checksums = self._write(folder, known)
            made_with = {package: version(package) for package in DECODERS}
            updated = known.with_arrays(self.options.size, checksums, made_with)
            if updated != current:
                with disk.errors_as_bad_input(path, "the split manifest"):
                    updated.write(path)
                say(f"{path}: fixes the splits; keep it with the configuration")
        self.manifest = updated
        for stale in ("arrays", "folder"):
            self.__dict__.pop(stale, None)
        return folder

    def _write(self, folder: Path, known: ImageSplits) -> dict[str, str]:
        """Write the arrays that are missing, and return the checksums of those of the chosen tasks."""
        every = Prepared.read(folder)
        old = every.of(self._stored) if every else None
        if old is None or old.fault(folder):
            others = {n: s for n, s in every.splits.items() if n not in self._stored} if every else {}
            write_prepared(folder, self._recipes(known), {"benchmark": self.name, "splits": known.digest}, others)
            every = Prepared.read(folder)
            old = every.of(self._stored) if every else None
        assert old is not None
        return old.checksums()

    def _recipes(self, known: ImageSplits) -> dict[str, Recipe]:
        recipes = {}
        for task in self.groups:
            for split, files in known.files[task].items():
                items = [(file, label) for file, (label, _) in files.items()]
                checksums = {self.source.folder / file: sha256 for file, (_, sha256) in files.items()}
                counts = dict.fromkeys(known.classes[task], 0)
                for _, label in items:
                    counts[known.classes[task][label]] += 1

                def reader(path: Path, checksums: Mapping[Path, str] = checksums) -> images.Pixels:
                    return photos.read(path, self.options.size, checksums[path])

                key = {"version": self.version, "files": [sha256 for _, sha256 in files.values()]}
                recipes[f"{task}.{split}"] = images.recipe(
                    self.source.folder, items, self.options.size, key, counts, reader=reader
                )
        return recipes

    @property
    def identity(self) -> str:
        """sha256 over the checksums of the arrays in the manifest. Raises BadInput where they are not known."""
        checksums = self.manifest.checksums(self.groups, self.options.size) if self.manifest else None
        if checksums is None:
            raise BadInput(f"{self.path or self.name}: expected prepared arrays, found none; {self._advice}")
        return hashlib.sha256(json.dumps(checksums, sort_keys=True).encode()).hexdigest()

    @cached_property
    def folder(self) -> Path:
        """Where the prepared arrays are. Raises BadInput as long as nothing fixes the splits."""
        if self.manifest is None:
            raise BadInput(f"{self.path or self.name}: expected a split manifest, found none; {self._advice}")
        return self._folder(self.manifest)

    @cached_property
    def arrays(self) -> Mapping[str, store.Array]:
        """The prepared arrays, memory-mapped. Raises BadInput where they are missing, or not those of the manifest."""
        every = Prepared.read(self.folder)
        prepared = every.of(self._stored) if every else None
        if prepared is None:
            raise BadInput(f"{self.folder}: expected prepared arrays, found none; {self._advice}")
        wrong = prepared.fault(self.folder)
        if (
            wrong is None
            and self.manifest
            and prepared.checksums() != self.manifest.checksums(self.groups, self.options.size)
        ):
            wrong = f"{self.folder}: expected the arrays of {self.path}, found others"
        if wrong:
            raise BadInput(f"{wrong}; {self._advice}")
        return prepared.open(self.folder)

    def lengths(self, split: Split) -> dict[str, int]:
        """Return the samples of each task in a split, as the manifest says."""
        if self.manifest is None:
            raise BadInput(f"{self.path or self.name}: expected a split manifest, found none; {self._advice}")
        return {task: len(self.manifest.files[task][split]) for task in self.groups}

    def augmented(self, images: Images, uniform: NDArray[np.float32]) -> Images:
        """Augment as the option says: as photographs, mirror half of the images, or not at all."""
        if self.options.augment == "photos":
            return augment_photos.augmented(images, uniform)
        if self.options.augment == "flip":
            return np.where(uniform[:, :1, None, None] < 0.5, images[:, :, ::-1], images)
        return images

    def class_names(self, task: str) -> tuple[str, ...]:
        """Return the names of the folders, or the labels of the list."""
        return tuple(self._known.classes[task])

    def remarks(self) -> tuple[str, ...]:
        """Return how the images were split, and what is odd about them."""
        return tuple(self.manifest.remarks) if self.manifest else ()

    def _folder(self, known: ImageSplits) -> Path:
        # by their content: entries and suites with the same splits share the arrays
        return self.root / f"{self.name}-{self.options.size}-{known.digest[:16]}"

    @property
    def _known(self) -> ImageSplits:
        """The manifest, or what it will be."""
        return self.manifest or self.source.checked()

    @property
    def _manifest_path(self) -> Path:
        if self.path is None:
            raise BadInput("image_folder.manifest: expected a file that fixes the splits, found none")
        return self.path

    @property
    def _stored(self) -> list[str]:
        return [f"{task}.{split}" for task in self.groups for split in SPLITS]

    def _check_rule(self) -> None:
        """Raise BadInput where the options ask for other splits than the manifest has."""
        assert self.manifest is not None
        for key, value in self.manifest.rule.items():
            if (actual := getattr(self.options, key)) != value:
                message = f"expected {value}, as {self.path} was written with, found {actual}"
                raise BadInput(f"image_folder.{key}: {message}; {self._renewal}")

    @property
    def _advice(self) -> str:
        return f"run `mola prepare -b {self.name}` with the same --config"

    @property
    def _renewal(self) -> str:
        return f"to divide them anew: `mola prepare -b {self.name} --renew-split` with the same --config"
