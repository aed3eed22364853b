"""Images of a user, drawn here: every kind of file in two domains of three classes, and lists of them."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CLASSES = ("cup", "hat", "key")
ROTATION = 0x0112


def pixels(key: int, label: int, side: int = 24) -> np.ndarray:
    """(side, side + 6, 3) uint8: clouds of the class's colour, and no two alike."""
    rng = np.random.default_rng([key, label])
    colour = np.array([(200, 60, 60), (60, 200, 60), (60, 60, 200)])[label % 3]
    coarse = np.clip(colour + rng.integers(-50, 50, (5, 5, 3)), 0, 255).astype(np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((side + 6, side), Image.Resampling.BICUBIC))


def saved(path: Path, array: np.ndarray, mode: str | None = None, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(path, **options)
    return path


def any_kind(folder: Path, key: int, label: int) -> Path:
    """One of many kinds of files, by the key."""
    array, name = pixels(key, label), str(folder / f"{key:03}")
    turned = Image.Exif()
    turned[ROTATION] = 6
    writers = [
        lambda: saved(Path(name + ".png"), array),
        lambda: saved(Path(name + ".JPG"), array, quality=90),
        lambda: saved(Path(name + ".webp"), array, lossless=True),
        lambda: saved(Path(name + ".tif"), array),
        lambda: saved(Path(name + ".png"), array[..., 0].astype(np.uint16) * 257),
        lambda: saved(Path(name + ".png"), array[..., label % 3]),
        lambda: saved(Path(name + ".jpg"), array, "CMYK"),
        lambda: saved(Path(name + ".png"), array, "P"),
        lambda: saved(Path(name + ".gif"), array, "P"),
        lambda: saved(Path(name + ".bmp"), array),
        lambda: saved(Path(name + ".jpeg"), array, exif=turned),
        lambda: saved(Path(name + ".png"), array, "RGBA"),
    ]
    return writers[key % len(writers)]()


def write_folder(root: Path, number: int = 40, domains: Iterable[str] = ("indoors", "out doors")) -> Path:
    """``<domain>/<class>/<image>``, ``number`` of each class, with a file that is none of them."""
    for place, domain in enumerate(domains):
        for label, name in enumerate(CLASSES):
            for key in range(number):
                any_kind(root / domain / name, 1000 * place + key, label)
        (root / domain / "notes.txt").write_text("no image\n")
    return root


KINDS = {"species": "classes", "Age": "regression", "defects": "multilabel"}


def labelled_rows(number: int, missing: int = 5) -> list[dict[str, str]]:
    """Rows with a class, a number and some of three labels; of every task one in ``missing`` is not known."""
    rows = []
    for i in range(number):
        defects = [name for name, there in (("dent", i % 2), ("hole", i % 3 == 0), ("scratch", i % 4 == 0)) if there]
        words = {"species": "xyz"[i % 3], "age": f"{20 + 10 * (i % 3) + i / number:.3f}", "defects": "; ".join(defects)}
        words["defects"] = words["defects"] or "none"
        for place, column in enumerate(words):
            if (i + place) % missing == 0:
                words[column] = ""
        rows.append({"image": f"pictures/{i}.png", **words, "label": "xyz"[i % 3]})
    return rows


def write_list(path: Path, rows: Iterable[dict[str, str]], delimiter: str = ",") -> Path:
    """A list whose columns are the keys of the rows; images that are not there are drawn, by the row's ``label``."""
    rows = list(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    for number, row in enumerate(rows):
        if not (path.parent / row["image"]).exists():
            saved(path.parent / row["image"], pixels(number, sum(row["label"].encode())))
    return path
