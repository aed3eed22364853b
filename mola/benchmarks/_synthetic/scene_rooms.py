"""What stands in the rooms of ``scenes``: furniture, balls, lamps and pictures, drawn from a room's own numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mola.benchmarks._synthetic.scene_shapes import Shape, Turn, turn
from mola.seeds import derive

CLASSES = ("floor", "wall", "ceiling", "picture", "cabinet", "table", "ball", "lamp")
FLOOR, WALL, CEILING, PICTURE, CABINET, TABLE, BALL, LAMP = range(len(CLASSES))


class Surface(NamedTuple):
    """Two colours (0 … 255 each) in cells: ``frequency`` of them to a metre along each axis, from ``phase`` on.

    A chequerboard of the two, or if ``mottled`` any mixture of them, cell by cell.
    """

    colours: tuple[tuple[float, float, float], tuple[float, float, float]]
    frequency: tuple[float, float, float]
    phase: tuple[float, float, float]
    mottled: bool
    glow: float = 0.0  # light of its own


@dataclass(frozen=True)
class Scene:
    """One room with what is in it, where the camera stands and where the light hangs; the floor lies at y = 0."""

    interior: Shape
    surfaces: tuple[Surface, Surface, Surface]  # of floor, walls and ceiling
    shapes: tuple[Shape, ...]
    labels: tuple[int, ...]  # of each shape
    materials: tuple[Surface, ...]  # of each shape
    camera: tuple[float, float, float]
    yaw: Turn
    pitch: Turn
    light: tuple[float, float, float]
    brightness: tuple[float, float, float]  # of red, green and blue


Item = tuple[Shape, int, Surface]


def furnished(identity: int) -> Scene:
    """Furnish the room of an id; it is always the same one."""
    rng = np.random.default_rng(derive(0, "scenes", identity))
    width, height, length = rng.uniform(3.2, 5.5), rng.uniform(2.3, 2.9), rng.uniform(3.5, 6.0)
    interior = Shape("box", (0.0, -height / 2, length / 2), (width / 2, height / 2, length / 2))
    camera = (rng.uniform(-0.25, 0.25) * width, -rng.uniform(1.2, 1.75), rng.uniform(0.2, 0.7))
    items = [*_standing(rng, width, height, length, camera), *_pictures(rng, width, height, length)]
    return Scene(
        interior=interior,
        surfaces=(_planks(rng), _wallpaper(rng), _plain(rng, 170, 256)),
        shapes=tuple(shape for shape, _, _ in items),
        labels=tuple(label for _, label, _ in items),
        materials=tuple(surface for _, _, surface in items),
        camera=camera,
        yaw=turn(rng.uniform(-0.28, 0.28)),
        pitch=turn(rng.uniform(0.02, 0.17)),
        light=(rng.uniform(-0.3, 0.3) * width, 0.15 - height, rng.uniform(0.2, 0.8) * length),
        brightness=_triple(rng, 0.95, 1.35),
    )


def _standing(
    rng: np.random.Generator, width: float, height: float, length: float, camera: tuple[float, float, float]
) -> Iterator[Item]:
    """Things on the floor: apart from each other, from the walls and from the camera, and before it."""
    taken = [(camera[0], camera[2], 0.6)]
    kinds = rng.permutation([CABINET, CABINET, TABLE, TABLE, BALL, BALL, LAMP])[: rng.integers(4, 8)]
    for label in sorted(kinds.tolist()):
        size = rng.uniform(*{CABINET: (0.3, 0.5), TABLE: (0.35, 0.6), BALL: (0.22, 0.45), LAMP: (0.18, 0.28)}[label])
        # half a diagonal
        reach = size * (1.4 if label in (CABINET, TABLE) else 1.05)
        for _ in range(20):
            z = rng.uniform(1.0 + reach, length - reach)
            left, right = (side * min(width / 2 - reach, 0.7 * z) for side in (-1, 1))
            x = rng.uniform(left, right)
            if all((x - a) * (x - a) + (z - b) * (z - b) > (reach + r) * (reach + r) for a, b, r in taken):
                taken.append((x, z, reach))
                yield from _thing(rng, label, x, z, size, height)
                break


def _thing(rng: np.random.Generator, label: int, x: float, z: float, size: float, height: float) -> Iterator[Item]:
    facing = turn(rng.uniform(-0.45, 0.45))
    if label == BALL:
        yield Shape("ball", (x, -size, z), (size, size, size), facing), BALL, _bright(rng)
    elif label == LAMP:
        foot, tall = rng.uniform(1.0, 1.5), rng.uniform(0.14, 0.22)
        yield Shape("cylinder", (x, -foot / 2, z), (0.05, foot / 2, 0.05)), LAMP, _plain(rng, 30, 120)
        shade = _plain(rng, 170, 256)._replace(glow=rng.uniform(0.35, 0.8))
        yield Shape("cylinder", (x, -foot - tall, z), (size, tall, size)), LAMP, shade
    elif label == CABINET:
        tall = rng.uniform(0.35, min(0.95, height / 2 - 0.15))
        yield Shape("box", (x, -tall, z), (size, tall, size * rng.uniform(0.5, 0.95)), facing), CABINET, _coloured(rng)
    else:
        wood, top, deep = _wood(rng), rng.uniform(0.65, 0.85), size * rng.uniform(0.6, 0.95)
        yield Shape("box", (x, -top, z), (size, 0.045, deep), facing), TABLE, wood
        for across, along in ((-1, -1), (-1, 1), (1, -1), (1, 1)):
            (c, s), a, b = facing, across * (size - 0.06), along * (deep - 0.06)
            leg = (x + c * a + s * b, (0.045 - top) / 2, z + c * b - s * a)
            yield Shape("box", leg, (0.045, (top - 0.045) / 2, 0.045), facing), TABLE, wood


def _pictures(rng: np.random.Generator, width: float, height: float, length: float) -> Iterator[Item]:
    """At most one on each of the walls that the camera may see, a few centimetres thick."""
    for wall in rng.permutation(3)[: rng.integers(1, 4)].tolist():
        half, tall, y = rng.uniform(0.3, 0.65), rng.uniform(0.25, 0.45), -rng.uniform(1.35, height - 0.6)
        if wall == 0:
            x = rng.uniform(half + 0.2 - width / 2, width / 2 - half - 0.2)
            shape = Shape("box", (x, y, length - 0.02), (half, tall, 0.03))
        else:
            z = rng.uniform(1.2 + half, length - half - 0.2)
            shape = Shape("box", ((wall * 2 - 3) * (width / 2 - 0.02), y, z), (0.03, tall, half))
        cells = _triple(rng, 2.0, 5.0)
        yield shape, PICTURE, Surface((_triple(rng, 0, 256), _triple(rng, 0, 256)), cells, _triple(rng, 0, 1), True)


def _planks(rng: np.random.Generator) -> Surface:
    one = _triple(rng, 70, 220)
    other = _darker(one, rng.uniform(0.6, 0.9))
    along = (rng.uniform(2, 7), 0.0, rng.uniform(0.4, 3))
    return Surface((one, other), along, _triple(rng, 0, 1), bool(rng.integers(2)))


def _wallpaper(rng: np.random.Generator) -> Surface:
    one = _triple(rng, 110, 245)
    stripes = (rng.uniform(2, 5), 0.0, rng.uniform(2, 5)) if rng.integers(2) else (0.0, 0.0, 0.0)
    return Surface((one, _darker(one, rng.uniform(0.75, 0.95))), stripes, _triple(rng, 0, 1), False)


def _coloured(rng: np.random.Generator, colour: tuple[float, float, float] | None = None) -> Surface:
    one = colour or _triple(rng, 30, 250)
    cells = _triple(rng, 1.5, 6) if rng.integers(2) else (0.0, 0.0, 0.0)
    return Surface((one, _darker(one, rng.uniform(0.5, 0.9))), cells, _triple(rng, 0, 1), bool(rng.integers(2)))


def _wood(rng: np.random.Generator) -> Surface:
    """Brown, as some cabinets and floors are too; painted in one of four."""
    red = rng.uniform(90, 210)
    brown = (red, red * rng.uniform(0.55, 0.8), red * rng.uniform(0.25, 0.55))
    return _coloured(rng, brown if rng.integers(4) else None)


def _bright(rng: np.random.Generator) -> Surface:
    """One channel strong and one weak."""
    channels = (rng.uniform(190, 256), rng.uniform(20, 256), rng.uniform(10, 70))
    red, green, blue = (channels[i] for i in rng.permutation(3).tolist())
    return _coloured(rng, (red, green, blue))


def _plain(rng: np.random.Generator, low: float, high: float) -> Surface:
    grey, one = rng.uniform(low, high), _triple(rng, 0.9, 1.05)
    colour = (grey * one[0], grey * one[1], grey * one[2])
    return Surface((colour, colour), (0.0, 0.0, 0.0), (0.0, 0.0, 0.0), False)


def _triple(rng: np.random.Generator, low: float, high: float) -> tuple[float, float, float]:
    return rng.uniform(low, high), rng.uniform(low, high), rng.uniform(low, high)


def _darker(colour: tuple[float, float, float], by: float) -> tuple[float, float, float]:
    return colour[0] * by, colour[1] * by, colour[2] * by
