"""The geometry behind ``scenes``: boxes, balls and upright cylinders that rays meet, exactly.

Only + − × ÷, square roots and comparisons, element by element: IEEE 754 fixes every bit of them, so every machine
renders the same arrays. A vector is a tuple of its x, y and z; x points right, y down, z forward; lengths in metres.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Grid = NDArray[np.float64]
Vector = tuple[Any, Any, Any]  # of arrays of one shape, or of numbers
Turn = tuple[float, float]  # cosine and sine


@dataclass(frozen=True)
class Shape:
    """A convex body.

    half: half its extent along its own axes; of a ball its radius, three times; of a cylinder radius, half the height,
          radius.
    turn: about the vertical.
    """

    kind: Literal["box", "ball", "cylinder"]
    centre: tuple[float, float, float]
    half: tuple[float, float, float]
    turn: Turn = (1.0, 0.0)


def turn(t: float) -> Turn:
    """Return the rotation by 2·arctan(t), from arithmetic alone."""
    return (1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)


def turned(v: Vector, by: Turn) -> Vector:
    """Turn a vector about the vertical: forward to the right where the sine is positive."""
    (x, y, z), (c, s) = v, by
    return c * x + s * z, y, c * z - s * x


def within(shape: Shape, point: Vector) -> Vector:
    """Return a point in the shape's own coordinates."""
    x, y, z = (p - c for p, c in zip(point, shape.centre, strict=True))
    return turned((x, y, z), (shape.turn[0], -shape.turn[1]))


def crossing(shape: Shape, origin: Vector, direction: Vector) -> tuple[Grid, Grid]:
    """Return where rays enter and leave, in multiples of ``direction``; they miss where enter ≥ leave."""
    o = within(shape, origin)
    d = turned(direction, (shape.turn[0], -shape.turn[1]))
    if shape.kind == "ball":
        return _round(o, d, shape.half[0])
    y_in, y_out = _between(o[1], d[1], shape.half[1])
    if shape.kind == "cylinder":
        side_in, side_out = _round((o[0], 0.0, o[2]), (d[0], 0.0, d[2]), shape.half[0])
        return np.maximum(y_in, side_in), np.minimum(y_out, side_out)
    x_in, x_out = _between(o[0], d[0], shape.half[0])
    z_in, z_out = _between(o[2], d[2], shape.half[2])
    return np.maximum(np.maximum(x_in, y_in), z_in), np.minimum(np.minimum(x_out, y_out), z_out)


def normal(shape: Shape, point: Vector) -> Vector:
    """Return the outward unit normals (M,) at points (M,) of the surface."""
    x, y, z = within(shape, point)
    if shape.kind == "ball":
        radius = shape.half[0]
        outward = x / radius, y / radius, z / radius
    elif shape.kind == "cylinder":
        radius = np.sqrt(x * x + z * z)
        end = np.abs(y) / shape.half[1] > radius / shape.half[0]
        outward = np.where(end, 0, x / radius), np.where(end, np.sign(y), 0), np.where(end, 0, z / radius)
    else:
        across, up, along = (np.abs(p) / h for p, h in zip((x, y, z), shape.half, strict=True))
        sideways, vertical = (across >= up) & (across >= along), (up > across) & (up >= along)
        outward = (
            np.where(sideways, np.sign(x), 0),
            np.where(vertical, np.sign(y), 0),
            np.where(sideways | vertical, 0, np.sign(z)),
        )
    return turned(outward, shape.turn)


def first(
    shapes: Sequence[Shape], interior: Shape, origin: Vector, direction: Vector
) -> tuple[Grid, NDArray[np.int64]]:
    """Return for each ray how far it goes, in multiples of ``direction``, and what it meets: the position in
    ``shapes``, −1 for the inner surface of ``interior``.
    """
    distance = crossing(interior, origin, direction)[1]
    met = np.full(distance.shape, -1)
    for index, shape in enumerate(shapes):
        enter, leave = crossing(shape, origin, direction)
        nearer = (enter < leave) & (enter > 0) & (enter < distance)
        distance, met = np.where(nearer, enter, distance), np.where(nearer, index, met)
    return distance, met


def lit(shapes: Sequence[Shape], point: Vector, light: Vector) -> NDArray[np.bool_]:
    """Return whether nothing stands between points and a light."""
    towards = tuple(b - a for a, b in zip(point, light, strict=True))
    free = np.ones(np.shape(point[0]), dtype=bool)
    for shape in shapes:
        enter, leave = crossing(shape, point, (towards[0], towards[1], towards[2]))
        # at 0, but for rounding: the body of the point itself
        free &= (enter >= leave) | (leave < 1e-6) | (enter > 1)
    return free


def _between(o: Any, d: Any, half: float) -> tuple[Grid, Grid]:
    # parallel to the two planes: ± infinity, as it should be
    with np.errstate(divide="ignore", invalid="ignore"):
        one, other = (-half - o) / d, (half - o) / d
    return np.minimum(one, other), np.maximum(one, other)


def _round(o: Vector, d: Vector, radius: float) -> tuple[Grid, Grid]:
    a = d[0] * d[0] + d[1] * d[1] + d[2] * d[2]
    b = o[0] * d[0] + o[1] * d[1] + o[2] * d[2]
    inside = b * b - a * (o[0] * o[0] + o[1] * o[1] + o[2] * o[2] - radius * radius)
    root = np.sqrt(np.maximum(inside, 0))
    missed = inside <= 0
    return np.where(missed, np.inf, (-b - root) / a), np.where(missed, -np.inf, (root - b) / a)
