"""What sources of images that lie with the user have in common, whatever their labels."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from mola.data.splits.image_rule import Grouped
from mola.data.splits.user_splits import UserSplits
from mola.data.user.findings import Collected
from mola.data.user.inspection import Facts, Inspection
from mola.types import BadInput, Split


class Source(Protocol):
    """Where the images lie, and what is said of them there."""

    path: Path
    folder: Path

    def checked(self) -> UserSplits:
        """Open all images, and return how they are divided. Raises Findings with all that is wrong."""

    def check_unchanged(self, splits: Any, renewal: str, *, exact: bool) -> None:
        """Raise BadInput where the images are not those of the manifest any more."""


def inspection_of(folder: Path, cache: Path) -> Inspection:
    """What is known of the images below a folder. cache: where it is kept, of all folders."""
    name = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
    return Inspection(folder, cache / f"{name}.json")


def found_in_files(inspection: Inspection, files: Sequence[str], findings: Collected) -> dict[str, Facts]:
    """Open some files, and return what is known of them; adds those that can't be read."""
    facts = inspection.facts(list(dict.fromkeys(files)))
    findings.add("files that can't be read", [f"{file}: {f.problem}" for file, f in facts.items() if f.problem])
    return facts


def split_remarks(images: Sequence[Grouped], percent: Mapping[Split, int], seed: int, copies: int) -> list[str]:
    """How images were split, a line each."""
    shares = "/".join(str(percent[split]) for split in ("train", "valid", "test"))
    given = any(image.split for image in images)
    how = "by its list" if given else f"{shares} of every class, by seed {seed}"
    remarks = [f"data: images of the user, split {how}"]
    if groups := {image.group for image in images if image.group}:
        remarks.append(f"data: {len(groups)} groups of images, none in two splits")
    if copies:
        remarks.append(f"data: {copies} images are copies of others; copies are in one split")
    return remarks


def refuse_changes(path: Path, counts: Mapping[str, int], renewal: str) -> None:
    """Raise BadInput where images are not those of the manifest any more. counts: what differs → how often. renewal:
    what to do, for the message.
    """
    if changes := ", ".join(f"{number} {what}" for what, number in counts.items() if number):
        message = f"expected the images that the split manifest names, found {changes}"
        raise BadInput(f"{path}: {message}; {renewal}")
