"""MedMNIST and RadImageNet in miniature: random pixels under the publishers' file names, folders, keys and shapes."""

from __future__ import annotations

import csv
import gzip
import io
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

SPLITS = ("train", "val", "test")
# flag → classes and channels, as MedMNIST's README has them
FLAGS = {
    "pathmnist": (9, 3),
    "octmnist": (4, 1),
    "organcmnist": (11, 1),
    "bloodmnist": (8, 3),
    "breastmnist": (2, 1),
    "dermamnist": (7, 3),
    "organamnist": (11, 1),
    "organsmnist": (11, 1),
    "pneumoniamnist": (2, 1),
}
# class folders of RadImageNet that public text names; the others are invented
KNOWN = {
    "CT/lung": ("Nodule", "airspace_opacity", "bronchiectasis", "interstitial_lung_disease", "normal"),
    "CT/abd": ("normal",),
    "US": ("gb", "kidney", "liver", "ovary", "thyroid"),
    "MR/knee": ("acl_pathology", "meniscal_abnormality", "normal"),
    "MR/af": ("Plantar_plate_tear", "hematoma", "plantar_fascia_pathology", "normal"),
    "MR/brain": ("acute_infarct", "normal", "white_matter_changes"),
}
# folder → classes
ANATOMIES = {
    "CT/lung": 6,
    "CT/abd": 28,
    "US": 15,
    "MR/knee": 18,
    "MR/shoulder": 14,
    "MR/spine": 9,
    "MR/af": 25,
    "MR/abd": 26,
    "MR/brain": 10,
    "MR/hip": 14,
}


def medmnist(flag: str, size: int = 28, number: int = 24) -> dict[str, np.ndarray]:
    """The six arrays of a flag, ``number`` images in each split, every class among them."""
    rng = np.random.default_rng(sorted(FLAGS).index(flag))
    classes, channels = FLAGS[flag]
    arrays = {}
    for split in SPLITS:
        shape = (number, size, size, 3) if channels == 3 else (number, size, size)
        arrays[f"{split}_images"] = rng.integers(0, 256, shape, dtype=np.uint8)
        arrays[f"{split}_labels"] = (rng.permutation(number) % classes).astype(np.uint8)[:, None]
    return arrays


def write_medmnist(folder: Path, size: int = 28, number: int = 24) -> Path:
    """The nine files of one size."""
    folder.mkdir(parents=True, exist_ok=True)
    for flag in FLAGS:
        name = f"{flag}.npz" if size == 28 else f"{flag}_{size}.npz"
        np.savez_compressed(folder / name, **medmnist(flag, size, number))
    return folder


def class_folders() -> list[str]:
    """The 165 folders that hold RadImageNet's images, below ``radiology_ai``."""
    folders = []
    for anatomy, number in ANATOMIES.items():
        names = list(KNOWN.get(anatomy, ())) + (["thyroid_nodule"] if anatomy == "US" else [])
        names += [f"pathology_{i:02}" for i in range(number - len(names))]
        folders += [f"{anatomy}/{name}" for name in names]
    return folders


def radimagenet(each: int = 1, least: int = 24) -> dict[str, list[tuple[str, str]]]:
    """split → the rows (filename, label) of its CSV: at least ``each`` image of a class, ``least`` of an anatomy; by
    class, and so the worst order for whoever takes a part.
    """
    folders = class_folders()
    rows: dict[str, list[tuple[str, str]]] = {split: [] for split in SPLITS}
    serial = 0
    for folder in folders:
        anatomy = folder.rpartition("/")[0] if "thyroid" not in folder else "thyroid"
        siblings = 2 if anatomy == "thyroid" else 13 if anatomy == "US" else ANATOMIES[anatomy]
        for split in SPLITS:
            for _ in range(max(each, -(-least // siblings))):
                modality, *where = folder.split("/")
                stem = "usn" if modality == "US" else where[0]
                rows[split].append((f"radiology_ai/{folder}/{stem}{serial:06}.png", f"{where[0]}-{where[-1]}"))
                serial += 1
    return rows


def png(seed: int, size: tuple[int, int] = (24, 20)) -> bytes:
    """A grey image as PNG."""
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)).save(stream, "png")
    return stream.getvalue()


def write_csvs(folder: Path, rows: dict[str, list[tuple[str, str]]]) -> None:
    """RadiologyAI_{train,val,test}.csv."""
    for split, of_split in rows.items():
        with (folder / f"RadiologyAI_{split}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("filename", "label"))
            writer.writerows(of_split)


def write_radimagenet(folder: Path, *, archive: bool, each: int = 1, size: tuple[int, int] = (24, 20)) -> Path:
    """The images, as radimagenet.tar.gz or as the folder radiology_ai, and the three CSVs."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = radimagenet(each)
    write_csvs(folder, rows)
    names = [name for of_split in rows.values() for name, _ in of_split]
    if not archive:
        for seed, name in enumerate(names):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(png(seed, size))
        return folder
    with (
        (folder / "radimagenet.tar.gz").open("wb") as file,
        gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed,  # the same bytes at every call
        tarfile.open(fileobj=packed, mode="w") as tar,
    ):
        for seed, name in enumerate(names):
            content = png(seed, size)
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return folder
