"""Benchmarks of images that lie with the user: checked and divided here, and fixed by a manifest that is written once.

Nothing is downloaded. The manifest fixes the splits; once it is written, the images are only asked for to prepare them.
"""

from __future__ import annotations

import hashlib
import json
from abc import abstractmethod
from collections.abc import Mapping
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from pydantic import Field, NonNegativeInt, PositiveInt, field_validator

from mola.benchmarks import SPLITS, Benchmark, Images, chosen_tasks
from mola.data import disk
from mola.data.batches import augment_photos
from mola.data.prepare import photos, store
from mola.data.prepare.images import Pixels, Reader
from mola.data.prepare.prepared import Prepared, Recipe, write_prepared
from mola.data.splits.user_splits import UserSplits
from mola.data.user.checking import Source
from mola.terminal import say
from mola.types import BadInput, Split, Task

DECODERS = ("pillow", "numpy")


class UserImages(Benchmark):
    """What benchmarks of the user's images share, whatever their labels."""

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
    splits: ClassVar[type[UserSplits]]  # of the manifest
    tasks: tuple[Task, ...] = ()
    mean = std = (0.5, 0.5, 0.5)
    draws = augment_photos.DRAWS
    sources = ()
    divides_by_itself = True
    roots: ClassVar[str]  # what the option root may name, in messages
    contents: ClassVar[str]  # what has to be there, in messages

    def __init__(self, root: Path, options: Options) -> None:
        self.root, self.options = Path(root), options
        self.path = Path(options.manifest) if options.manifest else None
        self.manifest: UserSplits | None = self.splits.read(self.path) if self.path else None
        self._describe()
        super().__init__(root, options)

    @abstractmethod
    def every_task(self) -> tuple[Task, ...]:
        """The tasks as the manifest says, or before there is one as the list or the names of folders do; none without
        a root.
        """

    @property
    @abstractmethod
    def source(self) -> Source:
        """The images, looked at once. Raises BadInput where the suite names none."""

    @abstractmethod
    def recipes_of(self, known: Any) -> dict[str, Recipe]:
        """How the arrays of each group and split are made that the manifest names."""

    @property
    @abstractmethod
    def array_names(self) -> list[str]:
        """The arrays that the chosen tasks need, ``<group>.<split>.<kind>``."""

    @property
    @abstractmethod
    def rule(self) -> Mapping[str, object]:
        """The options that decide over the splits."""

    def _describe(self) -> None:
        self.tasks = self.every_task()
        if self.options.tasks is not None:
            self.tasks = chosen_tasks(self.name, self.tasks, self.options.tasks)

    @property
    def place_of_images(self) -> Path:
        """The root. Raises BadInput where the suite names none."""
        if self.options.root is None:
            raise BadInput(f"{self.name}.root: expected {self.roots}, found none")
        return Path(self.options.root).expanduser()

    @property
    def cache(self) -> Path:
        """The folder of what is known of images, of all benchmarks."""
        return self.root / "image_folder-checked"

    @property
    def splits_sha256(self) -> str:
        """A checksum of what the manifest says of the chosen tasks; "" as long as their images are not prepared."""
        if self.manifest is None:
            return ""
        return self.manifest.sha256([task.name for task in self.tasks], self.array_names, self.options.size)

    def check_raw(self) -> None:
        """Raise BadInput where images were added, removed or changed since the manifest was written, as far as the
        names, sizes and times of files tell; without a manifest where there is no task.
        """
        if self.manifest is None:
            if not self.every_task():
                raise BadInput(f"{self.source.path}: expected {self.contents}, found none")
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
        number = len({file for splits in self._known.ids.values() for each in splits.values() for file in each})
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
            if (current := self.splits.read(path)) is not None and current.digest == known.digest:
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
        # mean and deviation of numbers are those of the training split
        self._describe()
        for stale in ("arrays", "folder"):
            self.__dict__.pop(stale, None)
        return folder

    def _write(self, folder: Path, known: UserSplits) -> dict[str, str]:
        """Write the arrays that are missing, and return the checksums of those of the chosen tasks."""
        every = Prepared.read(folder)
        old = every.of(self._stored) if every else None
        if old is None or old.fault(folder):
            others = {n: s for n, s in every.splits.items() if n not in self._stored} if every else {}
            write_prepared(folder, self.recipes_of(known), {"benchmark": self.name, "splits": known.digest}, others)
            every = Prepared.read(folder)
            old = every.of(self._stored) if every else None
        assert old is not None
        return old.checksums()

    def reader(self, checksums: Mapping[str, str]) -> Reader:
        """What reads a file as the square in its middle. checksums: file → sha256 that it must have."""
        expected = {self.source.folder / file: sha256 for file, sha256 in checksums.items()}

        def read(path: Path) -> Pixels:
            return photos.read(path, self.options.size, expected[path])

        return read

    @property
    def identity(self) -> str:
        """sha256 over the checksums of the arrays in the manifest. Raises BadInput where they are not known."""
        checksums = self.manifest.known(self.array_names, self.options.size) if self.manifest else None
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
        if wrong is None and self.manifest:
            actual, expected = prepared.checksums(), self.manifest.known(self.array_names, self.options.size)
            if expected is None or any(actual.get(name) != sha256 for name, sha256 in expected.items()):
                wrong = f"{self.folder}: expected the arrays of {self.path}, found others"
        if wrong:
            raise BadInput(f"{wrong}; {self._advice}")
        return prepared.open(self.folder, self._advice)

    def lengths(self, split: Split) -> dict[str, int]:
        """Return the samples of each task in a split, as the manifest says."""
        if self.manifest is None:
            raise BadInput(f"{self.path or self.name}: expected a split manifest, found none; {self._advice}")
        return {group: len(self.manifest.ids[group][split]) for group in self.groups}

    def augmented(self, images: Images, uniform: NDArray[np.float32]) -> Images:
        """Augment as the option says: as photographs, mirror half of the images, or not at all."""
        if self.options.augment == "photos":
            return augment_photos.augmented(images, uniform)
        if self.options.augment == "flip":
            return np.where(uniform[:, :1, None, None] < 0.5, images[:, :, ::-1], images)
        return images

    def remarks(self) -> tuple[str, ...]:
        """Return how the images were split, and what is odd about them."""
        return tuple(self.manifest.remarks) if self.manifest else ()

    def _folder(self, known: UserSplits) -> Path:
        # by their content: entries and suites with the same splits share the arrays
        return self.root / f"{self.name}-{self.options.size}-{known.digest[:16]}"

    @property
    def _known(self) -> UserSplits:
        """The manifest, or what it will be."""
        return self.manifest or self.source.checked()

    @property
    def _manifest_path(self) -> Path:
        if self.path is None:
            raise BadInput(f"{self.name}.manifest: expected a file that fixes the splits, found none")
        return self.path

    @property
    def _stored(self) -> list[str]:
        return [f"{group}.{split}" for group in self.groups for split in SPLITS]

    def _check_rule(self) -> None:
        """Raise BadInput where the options ask for other splits than the manifest has."""
        assert self.manifest is not None
        for key, value in self.manifest.rule.items():
            if (actual := self.rule[key]) != value:
                message = f"expected {value}, as {self.path} was written with, found {actual}"
                raise BadInput(f"{self.name}.{key}: {message}; {self._renewal}")

    @property
    def _advice(self) -> str:
        return f"run `mola prepare -b {self.name}` with the same --config"

    @property
    def _renewal(self) -> str:
        return f"to divide them anew: `mola prepare -b {self.name} --renew-split` with the same --config"
