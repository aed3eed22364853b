"""Packages of Iconify, as files of ``npm pack``: what is in them, and their drawings, rendered by resvg-py."""

from __future__ import annotations

import importlib
import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image


def contents(path: Path, *names: str) -> list[Any]:
    """The JSON files ``<name>.json`` of a package, in the order of the names."""
    with tarfile.open(path) as archive:
        return [json.load(archive.extractfile(f"package/{name}.json") or io.BytesIO()) for name in names]


def body_and_box(icons: Mapping[str, Any], name: str) -> tuple[str, str]:
    """What an icon of ``icons.json`` draws, as SVG, and its viewBox: left, top, width and height."""
    icon = {**{key: icons[key] for key in ("width", "height")}, **icons["icons"][name]}
    return icon["body"], " ".join(str(icon.get(key, 0)) for key in ("left", "top", "width", "height"))


def rendered(svg: str, **size: int) -> Image.Image:
    """A picture with an alpha channel, of the size that the SVG itself gives, unless ``width`` and ``height`` do."""
    # no dependency of this project: nothing else may import it
    png = importlib.import_module("resvg_py").svg_to_bytes(svg_string=svg, **size)
    return Image.open(io.BytesIO(bytes(png))).convert("RGBA")
