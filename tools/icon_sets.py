"""Icon sets of Iconify as small grey masks, without icons of what benchmarks ask for.

A set is the npm package ``@iconify-json/<prefix>``. One concept, such as "airplane", is drawn in several styles: filled
and outlined, in six weights, by several teams.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import iconify
import numpy as np
from numpy.typing import NDArray

Masks = NDArray[np.uint8]  # (N, SIDE, SIDE), 255 where there is ink

SIDE = 32  # pixels

# The last words of a name that tell a style from a concept.
STYLES = frozenset(("outline", "filled", "fill", "thin", "light", "bold", "duotone", "variant"))

# Letters, digits and faces of emoji are left out by name, and so are logos, currencies, types of files and
# abbreviations, which are mostly letters. A word is what stands between two hyphens.
WORDS = (
    "abc abjad alphabet alpha am arabic ascii digit digits emoji emoticon face font format hours hz kanji keyboard "
    "keycap language letter letters mood number numbers numeric numerical omega phi pi pm roman sigma smiley sticker "
    "text translate type typography zodiac "
    "bitcoin brand code currency extension file logo money parking size "
    "ab ad adb ai api atm cc css csv dns gif gps hd hdr html http https ios jpg json nfc ok pdf php png sd seo sos sql "
    "ssl svg tv url usb vip vpn vr wc xl xml xs xxl xxxl"
)
LEFT_OUT = frozenset(WORDS.split())


class Source(NamedTuple):
    """A package that icons come from."""

    name: str
    version: str
    licence: str


class Icons(NamedTuple):
    """Drawings, and the concept that each shows.

    masks: (N, SIDE, SIDE). concepts: N names.
    """

    masks: Masks
    concepts: tuple[str, ...]

    def chosen(self, kept: Iterable[bool]) -> Icons:
        """Those drawings for which ``kept``, of length N, is true."""
        rows = [i for i, keep in enumerate(kept) if keep]
        return Icons(self.masks[rows], tuple(self.concepts[i] for i in rows))


def left_out(name: str) -> bool:
    """Whether an icon's name says that it depicts letters, digits or a face: by a word of LEFT_OUT, a word of one
    letter, or a digit, but for a last ``-2``, which counts drawings.
    """
    words = re.sub(r"-\d$", "", name).split("-")
    return any(word in LEFT_OUT or len(word) == 1 or re.search(r"\d", word) for word in words)


def concept(name: str) -> str:
    """An icon's name without its style: ``bell-ring-outline`` → ``bell-ring``."""
    words = name.split("-")
    while len(words) > 1 and words[-1] in STYLES:
        words.pop()
    return "-".join(words)


def read(path: Path) -> tuple[Source, Icons]:
    """Draw the icons of a package, a file of ``npm pack``, but for those left out and empty ones."""
    package, icons, info = iconify.contents(path, "package", "icons", "info")
    names = [name for name in icons["icons"] if not left_out(name)]
    masks = np.stack([_drawn(icons, name) for name in names])
    drawings = Icons(masks, tuple(concept(name) for name in names)).chosen(bool(mask.any()) for mask in masks)
    return Source(package["name"], package["version"], info["license"]["spdx"]), drawings


def _drawn(icons: dict[str, Any], name: str) -> Masks:
    """How much ink each pixel has, (SIDE, SIDE), from a rendering of twice the size."""
    body, box = iconify.body_and_box(icons, name)
    black = body.replace("currentColor", "#000")
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}">{black}</svg>'
    ink = np.asarray(iconify.rendered(svg, width=2 * SIDE, height=2 * SIDE))[..., 3]
    mean: Masks = ink.reshape(SIDE, 2, SIDE, 2).mean(axis=(1, 3)).round().astype(np.uint8)
    return mean
