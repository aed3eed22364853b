"""Render the images of the benchmark ``emoji``, and write the file that the package ships: for maintainers.

It needs four npm packages, as files of ``npm pack`` in one folder, and resvg-py, which no other part of this project
needs. The shipped file was made with these versions:

    npm pack @iconify-json/twemoji@1.2.5 @iconify-json/noto@1.2.9 \\
             @iconify-json/fluent-emoji-flat@1.2.6 @iconify-json/fluent-emoji-high-contrast@1.2.6
    pip install resvg-py==0.5.0
    python tools/make_emoji.py FOLDER

If the file has changed, follow mola/benchmarks/emoji.py, and put the new checksums into its sources: they are what
``mola fetch -b emoji`` says.
"""

from __future__ import annotations

import sys
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import iconify
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mola import files
from mola.benchmarks.emoji import CLASSES, FILE, STYLES
from mola.data.splits.rule import ranked

Images = NDArray[np.uint8]  # (N, H, W, 3)

PACKAGES = {
    "twemoji": "twemoji-1.2.5",
    "noto": "noto-1.2.9",
    "fluent_flat": "fluent-emoji-flat-1.2.6",
    "fluent_contrast": "fluent-emoji-high-contrast-1.2.6",
}
# the style whose package says what an emoji is called and of which class it is: it has one icon for each emoji
NAMING = "fluent_contrast"
RENDERED = 128  # pixels; the mean of 4 × 4 of them is one that is shipped

# Words of a name that say which variant of an emoji it is: a family is what is left without them.
WORDS = (
    "man woman person men women people boy girl child baby old older mrs mx with and "
    "bald beard curly blonde hair "
    "left right up down leftwards rightwards facing forward reverse last next first waning waxing "
    "red orange yellow green blue light purple brown black white pink grey large medium small "
    "one two three four five six seven eight nine ten eleven twelve thirty oclock "
    "0 1 2 3 4 5 6 7 8 9 10 hashtag asterisk 1st 2nd 3rd"
)
VARIANTS = frozenset(WORDS.split())
ALIKE = 8  # levels of 255: images whose root mean square difference is not larger are of one family
LARGE = 8  # emoji: a family of so many trains, as it would tip another split
SHARES = (60, 75)  # percent of a class's emoji that train, and that train or validate


class Icons(NamedTuple):
    """What a package says."""

    icons: dict[str, Any]  # the drawings, by name
    names: dict[str, str]  # code points in hexadecimal → name
    classes: dict[str, list[str]]  # class → names

    @classmethod
    def read(cls, path: Path) -> Icons:
        """Read a file of ``npm pack``."""
        icons, names, metadata = iconify.contents(path, "icons", "chars", "metadata")
        return cls(icons, names, metadata["categories"])

    def rendered(self, code: str) -> Images:
        """Render an emoji, (128, 128, 3): in the middle of a white square."""
        name, icons = self.names[code], self.icons
        alias = icons["aliases"][name] if name not in icons["icons"] else {"parent": name}
        if set(alias) - {"parent", "hFlip"}:
            raise ValueError(f"{name}: expected an icon as it is or mirrored, found {alias}")
        body, box = iconify.body_and_box(icons, alias["parent"])
        svg = (
            f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="{box}" '
            f'width="{RENDERED}" height="{RENDERED}">{body}</svg>'
        )
        drawing = iconify.rendered(svg)
        white = Image.new("RGBA", (RENDERED, RENDERED), "white")
        pixels = np.asarray(Image.alpha_composite(white, drawing).convert("RGB"))
        return pixels[:, ::-1] if alias.get("hFlip") else pixels


def halved(images: Images) -> Images:
    """Average 2 × 2 pixels, rounding half up: (N, H, W, 3) → (N, H/2, W/2, 3)."""
    number, height, width, channels = images.shape
    blocks = images.reshape(number, height // 2, 2, width // 2, 2, channels)
    means: Images = ((blocks.sum((2, 4), dtype=np.uint16) + 2) // 4).astype(np.uint8)
    return means


def family(name: str) -> str:
    """Return an emoji's name without the words of variants: that of what it shows.

    Where nothing is left, it is a clock of some hour or somebody of some age, gender and hair.
    """
    words = name.split("-")
    kept = "-".join(word for word in words if word not in VARIANTS)
    return kept or ("clock" if {"oclock", "thirty"} & set(words) else "person")


def alike(images: Images) -> Iterator[tuple[int, int]]:
    """Yield the pairs i < j of images that are alike, as they are or when one is mirrored."""
    # sums of integers below 2 ** 53: exact in any order
    flat, mirrored = (x.reshape(len(images), -1).astype(np.float64) for x in (images, images[:, :, ::-1]))
    squares = (flat**2).sum(1)
    for other in (flat, mirrored):
        distance = squares[:, None] + squares - 2 * flat @ other.T
        for i, j in np.argwhere(np.triu(distance <= ALIKE**2 * flat.shape[1], 1)):
            yield int(i), int(j)


def families(names: Sequence[str], images: Mapping[str, Images]) -> list[str]:
    """Return each emoji's family: by its name, and families with images that are alike in some style are one."""
    by_name = [family(name) for name in names]
    joined = {name: name for name in by_name}
    for style in images:
        for i, j in alike(images[style]):
            first, second = sorted(joined[by_name[k]] for k in (i, j))
            if first != second:
                print(f"{style}: {names[i]} and {names[j]} are alike: {second} is {first}")
            joined = {name: first if target == second else target for name, target in joined.items()}
    return [joined[name] for name in by_name]


def split(labels: Sequence[int], family_of: Sequence[str]) -> NDArray[np.int8]:
    """Return 0 train, 1 valid or 2 test for each emoji, (N,): of each class about 60, 15 and 25 percent, in families.

    A family counts to the class of its first emoji. Large ones train; the others follow by the sha256 of their names.
    """
    members: dict[str, list[int]] = {}
    for i, name in enumerate(family_of):
        members.setdefault(name, []).append(i)
    result = np.empty(len(labels), np.int8)
    for label in sorted(set(labels)):
        of_class = ranked(name for name, indices in members.items() if labels[indices[0]] == label)
        order = sorted(of_class, key=lambda name: len(members[name]) < LARGE)
        total, before = sum(len(members[name]) for name in order), 0
        for name in order:
            result[members[name]] = sum(100 * before >= share * total for share in SHARES)
            before += len(members[name])
    return result


def write(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write a file for ``np.load``, compressed by LZMA: a quarter smaller than by ``np.savez_compressed``.

    The same arrays give the same bytes.
    """
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            entry = zipfile.ZipInfo(f"{name}.npy")
            entry.compress_type = zipfile.ZIP_LZMA
            with archive.open(entry, "w") as file:
                np.lib.format.write_array(file, array, allow_pickle=False)


def main(folder: Path) -> None:
    """Render all emoji that the four packages share, but for flags, and write the file."""
    packages = {style: Icons.read(folder / f"iconify-json-{PACKAGES[style]}.tgz") for style in STYLES}
    names = packages[NAMING].names
    class_of = {name: CLASSES.index(key) for key, v in packages[NAMING].classes.items() if key in CLASSES for name in v}
    shared = set.intersection(*(set(package.names) for package in packages.values()))
    codes = sorted(code for code in shared if names[code] in class_of)
    labels = [class_of[names[code]] for code in codes]
    images = {}
    for style, package in packages.items():
        images[style] = halved(halved(np.stack([package.rendered(code) for code in codes])))
    # drawn in black: one channel says all
    images["fluent_contrast"] = images["fluent_contrast"][..., :1]
    family_of = families([names[code] for code in codes], images)
    splits = split(labels, family_of)
    texts = {"code": codes, "name": [names[code] for code in codes], "family": family_of}
    arrays = {key: np.array(value) for key, value in texts.items()}
    files.write(
        FILE, lambda path: write(path, {"label": np.array(labels, np.int8), "split": splits, **arrays, **images})
    )
    print(f"{FILE}: {FILE.stat().st_size} bytes, {len(codes)} emoji in {len(set(family_of))} families")
    for label, name in enumerate(CLASSES):
        print(name, [Counter(splits[np.array(labels) == label].tolist())[i] for i in range(3)])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
