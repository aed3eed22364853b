"""The figures of the suite inside the page, as many as its size allows."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from mola.reporting.report.captions import caption

# these come first, and the others by name
ORDER = ("tasks", "amounts", "length", "cost", "curves", "critical_difference")


@dataclass(frozen=True)
class Picture:
    """A figure. data: its content as a URL; empty where the page is full, and it is a file beside the page alone."""

    name: str
    caption: str
    alt: str
    width: int
    height: int
    data: str
    file: str


def pictures(
    folder: Path, of: Sequence[str], config: Mapping[str, object], free_bytes: int
) -> dict[str, list[Picture]]:
    """What they are of (a benchmark, or summary) → its figures in ``folder``.

    config:     the content of the suite's file.
    free_bytes: what all may have. Those of many benchmarks are taken in turn, so that none lacks the first ones.
    """
    files = {name: sorted(_figures(folder, name), key=_rank) for name in of}
    shown: dict[str, list[Picture]] = {name: [] for name in of}
    for number in range(max(map(len, files.values()), default=0)):
        for name, paths in files.items():
            if number < len(paths):
                picture = _picture(paths[number], name, config, free_bytes)
                free_bytes -= len(picture.data)
                shown[name].append(picture)
    return shown


def _figures(folder: Path, name: str) -> list[Path]:
    return [path for path in folder.glob("*.png") if path.stem.rpartition(".")[0] == name]


def _rank(path: Path) -> tuple[int, str]:
    figure = path.stem.rpartition(".")[2]
    return (ORDER.index(figure) if figure in ORDER else len(ORDER), figure)


def _picture(path: Path, of: str, config: Mapping[str, object], free_bytes: int) -> Picture:
    figure = path.stem.rpartition(".")[2]
    text = caption(of, figure, config)
    name = figure.replace("_", " ")
    with Image.open(path) as image:
        width, height = image.size
        data = _url(image)
    first, dot, _ = text.partition(". ")
    alt = f"Figure {name} of {of}: {first}{dot.strip()} The numbers are in {path.stem}.csv."
    # a figure is drawn with 180 dots an inch, and a page has 96
    size = round(width * 96 / 180), round(height * 96 / 180)
    return Picture(name, text, alt, *size, data if len(data) <= free_bytes else "", f"figures/{path.name}")


def _url(image: Image.Image) -> str:
    """The picture without loss, in half the bytes of its PNG."""
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "WEBP", lossless=True, method=2)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"
