"""Miniatures of the downloaded benchmarks' archives, in exactly the layouts of their publishers; every image is drawn
here. The same bytes at every call, so what was prepared from one is not prepared again.
"""

from __future__ import annotations

import io
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import miniature_medical
import numpy as np
import own_images
from PIL import Image

from mola import registry
from mola.benchmarks import officehome, pacs, scenes, vlcs

Files = Iterable[tuple[str, bytes]]


def benchmark(name: str, root: Path, **options: Any) -> Any:
    """A benchmark as the tests use it: a downloaded one on its miniature."""
    standing = OWN[name](root) if name in OWN else OPTIONS.get(name, {})
    return registry.load("benchmarks", name).create(root, **{**standing, **options})


def own_folder(root: Path) -> dict[str, Any]:
    """The options of ``image_folder`` on images of a user, which are drawn where they are not there."""
    folder, drawn_there = root / "own images", root / "own images.drawn"
    if not drawn_there.exists():
        own_images.write_folder(folder)
        drawn_there.touch()
    return {"root": str(folder), "manifest": str(root / "own.splits.json"), "size": 32}


def own_labels(root: Path) -> dict[str, Any]:
    """The options of ``image_labels`` on a list of images, which are drawn where they are not there."""
    path = root / "own labels" / "list.csv"
    if not path.exists():
        own_images.write_list(path, own_images.labelled_rows(120))
    return {"root": str(path), "manifest": str(root / "labels.splits.json"), "size": 32, "labels": own_images.KINDS}


def pacs_files(number: int = 12) -> Iterator[tuple[str, bytes]]:
    """``kfold/<domain>/<class>/pic_NNN.jpg``, with what a Mac adds."""
    yield "kfold/.DS_Store", b"\0\0\0\1Bud1"
    yield "__MACOSX/kfold/photo/dog/._pic_000.jpg", b"\0\5\26\7"
    for domain in sorted(pacs.DOMAINS):
        for label, name in enumerate(pacs.CLASSES):
            for i in range(number):
                path = f"kfold/{domain}/{name}/pic_{i:03}.jpg"
                yield path, drawn(path, label)


def jigen_files() -> Iterator[tuple[str, bytes]]:
    """``VLCS/<domain>/{train,crossval,test,full}/<label>/imgs_NNNNNN.jpg``; full is train and crossval again."""
    for domain in sorted(vlcs.DOMAINS["jigen"]):
        for label in range(5):
            for folders, images in (
                (("train", "full"), range(8)),
                (("crossval", "full"), range(8, 12)),
                (("test",), range(12, 16)),
            ):
                for i in images:
                    content = drawn(f"{domain} {label} {i}", label)
                    for folder in folders:
                        yield f"VLCS/{domain}/{folder}/{label}/imgs_{i:06}.jpg", content


def domainbed_files() -> Iterator[tuple[str, bytes]]:
    """``VLCS/<domain>/<class>/N.jpg``."""
    for domain in sorted(vlcs.DOMAINS["domainbed"]):
        for label, name in enumerate(vlcs.CLASSES):
            for i in range(12):
                path = f"VLCS/{domain}/{name}/{i}.jpg"
                yield path, drawn(path, label)


def officehome_files() -> Iterator[tuple[str, bytes]]:
    """``OfficeHomeDataset_10072016/<domain>/<class>/NNNNN.jpg``, one domain with a blank, beside lists."""
    top = "OfficeHomeDataset_10072016"
    yield f"{top}/ImageInfo.csv", b"a list\n"
    for domain in ("Art", "Clipart", "Product", "Real World"):
        for label, name in enumerate(officehome.CLASSES):
            for i in range(1, 6):
                path = f"{top}/{domain}/{name}/{i:05}.jpg"
                yield path, drawn(path, label)


def nyuv2_files() -> Iterator[tuple[str, bytes]]:
    """``{train,val}/{image,label,depth,normal}/{i}.npy`` with rooms of ``scenes`` at 24×32, and an entry for the root,
    as Dropbox packs a folder. Every second room has other classes, so that all 13 occur.
    """
    yield "/", b""
    for part, i, arrays in scenes.rooms({"train": 100, "val": 24}, 24, 32):
        arrays["label"][arrays["label"] >= 0] += 5 * (i % 2)
        for kind, array in arrays.items():
            content = io.BytesIO()
            np.save(content, array)
            yield f"{part}/{kind}/{i}.npy", content.getvalue()


def drawn(key: str, label: int) -> bytes:
    """A JPEG of 36 to 55 × 36 to 55 pixels: clouds of the class's colour, and no two alike."""
    rng = np.random.default_rng(zlib.crc32(key.encode()))
    height, width = rng.integers(36, 56, 2)
    colour = np.random.default_rng(label).integers(40, 216, 3)
    coarse = np.clip(colour + rng.integers(-40, 40, (6, 6, 3)), 0, 255).astype(np.uint8)
    content = io.BytesIO()
    Image.fromarray(coarse).resize((int(width), int(height)), Image.Resampling.BICUBIC).save(
        content, "JPEG", quality=90
    )
    return content.getvalue()


def zipped(path: Path, files: Files) -> Path:
    """A zip archive; entries have no time of their own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files:
            archive.writestr(zipfile.ZipInfo(name), content)
    return path


def tarred(path: Path, files: Files) -> Path:
    """A tar.gz archive without times."""
    path.parent.mkdir(parents=True, exist_ok=True)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, content in files:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    path.write_bytes(zlib.compress(packed.getvalue(), wbits=31))
    return path


def unpacked(folder: Path, files: Files) -> Path:
    """The files in a folder, as if an archive had been unpacked by hand."""
    for name, content in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


# by benchmark: what writes its miniature into a folder and returns the path to be placed
BUILDERS: dict[str, Callable[[Path], Path]] = {
    "pacs": lambda folder: zipped(folder / "PACS.zip", pacs_files()),
    "vlcs": lambda folder: zipped(folder / "vlcs.zip", jigen_files()),
    "officehome": lambda folder: zipped(folder / "OfficeHomeDataset_10072016.zip", officehome_files()),
    "nyuv2": lambda folder: zipped(folder / "nyuv2.zip", nyuv2_files()),
    "medmnist": lambda folder: miniature_medical.write_medmnist(folder / "medmnist"),
    "radimagenet": lambda folder: miniature_medical.write_radimagenet(folder / "radimagenet", archive=True),
}
# benchmarks of a user's images: what draws them and gives their options
OWN: dict[str, Callable[[Path], dict[str, Any]]] = {"image_folder": own_folder, "image_labels": own_labels}
# by benchmark: the options that its miniature is used with
OPTIONS: dict[str, dict[str, Any]] = {
    **{name: {"official": False, "size": 32} for name in ("pacs", "vlcs", "officehome")},
    "nyuv2": {"official": False},
    "medmnist": {"official": False, "resize": 32},
    "radimagenet": {"official": False, "size": 32, "crop": 24},
}
