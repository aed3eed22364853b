"""What the tools read of Iconify's packages, and what they hand to the renderer, which is not installed here."""

from __future__ import annotations

import io
import json
import sys
import tarfile
from types import SimpleNamespace

import icon_sets
import iconify
import make_emoji
import numpy as np
import pytest
from PIL import Image

ICONS = {
    "width": 24,
    "height": 24,
    "icons": {"bell": {"body": '<path fill="currentColor"/>'}, "map": {"body": "<g/>", "left": -2, "height": 30}},
}
FILES = {
    "icons": ICONS | {"aliases": {"pam": {"parent": "map", "hFlip": True}}},
    "package": {"name": "@iconify-json/few", "version": "1.0.0"},
    "info": {"license": {"spdx": "MIT"}},
    "chars": {"1f5fa": "map", "1f5fb": "pam"},
    "metadata": {"categories": {"Objects": ["map", "pam"]}},
}


@pytest.fixture
def package(tmp_path):
    """A file of ``npm pack``."""
    path = tmp_path / "few.tgz"
    with tarfile.open(path, "w:gz") as archive:
        for name, content in FILES.items():
            data = json.dumps(content).encode()
            entry = tarfile.TarInfo(f"package/{name}.json")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return path


@pytest.fixture
def drawn(monkeypatch):
    """The arguments that the renderer was called with; its picture is opaque in the upper and left three quarters."""
    calls = []

    def svg_to_bytes(**arguments):
        calls.append(arguments)
        pixels = np.zeros((arguments.get("height", 128), arguments.get("width", 128), 4), dtype=np.uint8)
        pixels[: 3 * len(pixels) // 4, : 3 * len(pixels) // 4, 3] = 255
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "png")
        return list(file.getvalue())

    monkeypatch.setitem(sys.modules, "resvg_py", SimpleNamespace(svg_to_bytes=svg_to_bytes))
    return calls


def test_files_come_in_the_order_of_their_names(package):
    assert iconify.contents(package, "info", "package") == [FILES["info"], FILES["package"]]


def test_an_icon_has_the_box_of_its_set_unless_its_own_differs():
    assert iconify.body_and_box(ICONS, "bell") == ('<path fill="currentColor"/>', "0 0 24 24")
    assert iconify.body_and_box(ICONS, "map") == ("<g/>", "-2 0 24 30")


def test_masks_are_drawn_in_black_at_twice_their_size(package, drawn):
    source, icons = icon_sets.read(package)
    assert tuple(source) == ("@iconify-json/few", "1.0.0", "MIT") and icons.concepts == ("bell", "map")
    svg = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24"><path fill="#000"/></svg>'
    assert drawn[0] == {"svg_string": svg, "width": 64, "height": 64}
    assert icons.masks[0, :24, :24].min() == 255 and icons.masks[0, 24:].max() == icons.masks[0, :, 24:].max() == 0


def test_emoji_are_drawn_on_white_and_mirrored_where_they_are_an_alias(package, drawn):
    icons = make_emoji.Icons.read(package)
    plain, mirrored = icons.rendered("1f5fa"), icons.rendered("1f5fb")
    (svg,) = {call.pop("svg_string") for call in drawn}
    assert drawn == [{}, {}]
    assert svg.startswith('<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" ')
    assert svg.endswith('viewBox="-2 0 24 30" width="128" height="128"><g/></svg>')
    assert plain.shape == (128, 128, 3) and np.array_equal(mirrored, plain[:, ::-1])
    assert plain[:96, :96].max() == 0 and plain[96:].min() == plain[:, 96:].min() == 255
