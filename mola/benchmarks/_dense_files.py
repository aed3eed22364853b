"""Dense data in the layout of MTAN's NYUv2, ``<part>/{image,label,depth,normal}/{i}.npy``: every file is checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mola.types import BadInput

Size = tuple[int, int]  # height and width
FOLDERS = ("image", "label", "depth", "normal")
DEEPEST = 100.0  # metres: more than any sensor for rooms sees, less than millimetres or pixels would give
SLACK = 1e-3  # beyond [0, 1] and [−1, 1]: rounding, where somebody resized


def parts_in(tree: Path, names: Sequence[str]) -> dict[str, Path]:
    """Find the folders of some names in one folder: the tree, or up to two levels below. Raises BadInput."""
    for level in (".", "*", "*/*"):
        for folder in sorted(tree.glob(level)) if level != "." else [tree]:
            if all((folder / name).is_dir() for name in names):
                return {name: folder / name for name in names}
    others = sorted(path.name for path in tree.iterdir() if not path.name.startswith("."))[:4] or ["nothing"]
    raise BadInput(f"{tree}: expected folders {' and '.join(names)}, found {', '.join(others)}")


def counted(part: Path, published: int | None) -> int:
    """Count the samples of a part, whose four folders have the files 0.npy … each. Raises BadInput, also where the
    number is not the published one.
    """
    numbers = {}
    for name in FOLDERS:
        if not (part / name).is_dir():
            others = ", ".join(sorted(path.name for path in part.iterdir() if path.is_dir())) or "none"
            raise BadInput(f"{part}: expected folders {', '.join(FOLDERS)}, found {others}")
        files = {path.name for path in (part / name).glob("*.npy") if not path.name.startswith(".")}
        numbers[name] = len(files)
        if published is not None and len(files) != published:
            raise BadInput(f"{part / name}: expected {published} files, found {len(files)}")
        if (missing := next((i for i in range(len(files)) if f"{i}.npy" not in files), None)) is not None:
            raise BadInput(f"{part / name}: expected 0.npy … {len(files) - 1}.npy, found no {missing}.npy")
        if len(files) != numbers["image"] or not files:
            raise BadInput(f"{part / name}: expected as many files as images, {numbers['image']}, found {len(files)}")
    return numbers["image"]


@dataclass(frozen=True)
class Samples:
    """The samples of one part, all of one size; segmentation has ``classes`` of them."""

    part: Path
    size: Size
    classes: int

    def check_shapes(self, indices: Sequence[int]) -> None:
        """Read the heads of all files. Raises BadInput for the first that is no array of the right shape."""
        for i in indices:
            for name in FOLDERS:
                self._opened(name, i)

    def read(self, i: int) -> dict[str, NDArray[Any]]:
        """Read one sample: "images" (H, W, 3) uint8, "segmentation" (H, W) int8, "depth" (H, W) float32 and "normals"
        (H, W, 3) float32 of unit length. Raises BadInput for values that can't be.
        """
        image = self._within("image", i, -SLACK, 1 + SLACK, "colours in 0 … 1")
        label = self._within("label", i, -1, self.classes - 1, f"classes in -1 … {self.classes - 1}")
        if (label != np.rint(label)).any():
            raise BadInput(f"{self._path('label', i)}: expected whole numbers, found fractions")
        depth = self._within("depth", i, 0, DEEPEST, f"metres in 0 … {DEEPEST:.0f}")
        normal = self._within("normal", i, -1 - SLACK, 1 + SLACK, "unit vectors").astype(np.float64)
        length = np.sqrt((normal * normal).sum(-1, keepdims=True))
        return {
            "images": np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8),
            "segmentation": label.astype(np.int8),
            "depth": depth[..., 0].astype(np.float32),
            "normals": (normal / np.where(length > 0, length, 1)).astype(np.float32),
        }

    def _within(self, name: str, i: int, low: float, high: float, expected: str) -> NDArray[Any]:
        path = self._path(name, i)
        try:
            array = np.array(self._opened(name, i))
        except OSError as error:
            raise BadInput(f"{path}: expected an array, found: {error.strerror or error}") from None
        least, most = float(array.min()), float(array.max())
        # written so that NaN is refused too
        if not (low <= least and most <= high):
            raise BadInput(f"{path}: expected {expected}, found {least:g} … {most:g}")
        return array

    def _opened(self, name: str, i: int) -> NDArray[Any]:
        path, channels = self._path(name, i), {"image": (3,), "label": (), "depth": (1,), "normal": (3,)}[name]
        try:
            array: NDArray[Any] = np.load(path, mmap_mode="r")
        # numpy's parser of damaged files raises nearly anything
        except Exception as error:
            reason = str(error).partition("\n")[0] or type(error).__name__
            raise BadInput(f"{path}: expected an array of numbers, found: {reason}") from None
        expected = (*self.size, *channels)
        if array.shape != expected or array.dtype.kind not in "fiu":
            raise BadInput(f"{path}: expected numbers of shape {expected}, found {array.dtype} of shape {array.shape}")
        return array

    def _path(self, name: str, i: int) -> Path:
        return self.part / name / f"{i}.npy"


def size_of(part: Path) -> Size:
    """Return the height and width of a part's first image. Raises BadInput where it is none."""
    path = part / "image" / "0.npy"
    try:
        shape = np.load(path, mmap_mode="r").shape
    except Exception as error:
        raise BadInput(f"{path}: expected an array of numbers, found: {str(error).partition(chr(10))[0]}") from None
    if len(shape) != 3:
        raise BadInput(f"{path}: expected numbers of shape (H, W, 3), found shape {shape}")
    return shape[0], shape[1]
