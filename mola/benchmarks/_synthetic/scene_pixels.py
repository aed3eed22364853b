"""What the camera of ``scenes`` sees: colours, classes, depth and normals of a room, and where nothing is known.

Camera coordinates: x right, y down, z forward. The pixel (v, u) of an image (H, W) looks along ((u + ½ − W/2)/f,
(v + ½ − H/2)/f, 1), so this ray times the depth is the point seen; f is 0.8125 of the width, as of a Kinect.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mola.benchmarks._synthetic.scene_rooms import CEILING, FLOOR, WALL, Scene, Surface, furnished
from mola.benchmarks._synthetic.scene_shapes import Grid, Vector, first, lit, normal, turned, within
from mola.seeds import derive

FOCAL = 0.8125  # of the image's width
Arrays = dict[str, NDArray[Any]]


def photographed(identity: int, height: int, width: int) -> Arrays:
    """Render the room of an id: "images" (H, W, 3) uint8; "segmentation" (H, W) int8, −1 unlabelled; "depth" (H, W)
    float32 metres along the camera's axis, 0 unknown; "normals" (H, W, 3) float32 towards the camera, 0 unknown.
    """
    scene = furnished(identity)
    rng = np.random.default_rng(derive(0, "scenes", "sensor", identity))
    depth, labels, normals = geometry(scene, height, width)
    image = _noisy(_averaged(_colours(scene, 2 * height, 2 * width)), rng)
    known, labelled = _known(depth, labels, rng)
    return {
        "images": image,
        "segmentation": np.where(labelled, labels, -1).astype(np.int8),
        "depth": np.where(known, depth, 0).astype(np.float32),
        "normals": np.where(known[..., None], normals, 0).astype(np.float32),
    }


def rays(height: int, width: int) -> Vector:
    """Return the directions (H, W) of an image's pixels, in the camera's coordinates."""
    focal = FOCAL * width
    x = (np.arange(width) + 0.5 - width / 2) / focal
    y = (np.arange(height) + 0.5 - height / 2) / focal
    return np.broadcast_to(x, (height, width)), np.broadcast_to(y[:, None], (height, width)), np.ones((height, width))


def to_world(scene: Scene, v: Vector) -> Vector:
    """Turn a direction from the camera's coordinates into the room's."""
    (x, y, z), (c, s) = v, scene.pitch
    return turned((x, c * y + s * z, c * z - s * y), scene.yaw)


def to_camera(scene: Scene, v: Vector) -> Vector:
    """The inverse of :func:`to_world`."""
    x, y, z = turned(v, (scene.yaw[0], -scene.yaw[1]))
    c, s = scene.pitch
    return x, c * y - s * z, c * z + s * y


def geometry(scene: Scene, height: int, width: int) -> tuple[Grid, NDArray[np.int64], Grid]:
    """Return depth (H, W), classes (H, W) and normals (H, W, 3) in camera coordinates, all known."""
    direction = to_world(scene, rays(height, width))
    depth, met = first(scene.shapes, scene.interior, scene.camera, direction)
    labels, normals = np.empty(depth.shape, np.int64), np.empty((*depth.shape, 3))
    for part in _parts(scene, met, _along(scene.camera, direction, depth)):
        labels[part.where] = part.label
        normals[part.where] = np.stack(to_camera(scene, part.normal), -1)
    return depth, labels, normals


class _Part(NamedTuple):
    """The M pixels of one surface."""

    where: NDArray[np.bool_]  # (H, W)
    point: Vector  # (M,) each, in the surface's own coordinates
    normal: Vector  # (M,) each, towards the camera
    label: int
    surface: Surface


def _parts(scene: Scene, met: NDArray[np.int64], point: Vector) -> Iterator[_Part]:
    for index in np.unique(met).tolist():
        where = met == index
        points = point[0][where], point[1][where], point[2][where]
        if index >= 0:
            shape = scene.shapes[index]
            yield _Part(
                where, within(shape, points), normal(shape, points), scene.labels[index], scene.materials[index]
            )
            continue
        out = normal(scene.interior, points)
        for label, surface in zip((FLOOR, WALL, CEILING), scene.surfaces, strict=True):
            chosen = {FLOOR: out[1] > 0, WALL: out[1] == 0, CEILING: out[1] < 0}[label]
            here = where.copy()
            here[where] = chosen
            x, y, z = (p[chosen] for p in points)
            yield _Part(here, (x, y, z), (-out[0][chosen], -out[1][chosen], -out[2][chosen]), label, surface)


def _along(origin: Vector, direction: Vector, distance: Grid) -> Vector:
    x, y, z = (o + d * distance for o, d in zip(origin, direction, strict=True))
    return x, y, z


def _colours(scene: Scene, height: int, width: int) -> Grid:
    """Render (H, W, 3), 0 … 255 and beyond, by Lambert's law from one light with shadows, and some ambient light."""
    direction = to_world(scene, rays(height, width))
    distance, met = first(scene.shapes, scene.interior, scene.camera, direction)
    point = _along(scene.camera, direction, distance)
    free = lit(scene.shapes, point, scene.light)
    colours = np.empty((height, width, 3))
    for part in _parts(scene, met, point):
        x, y, z = (a - p[part.where] for a, p in zip(scene.light, point, strict=True))
        square = x * x + y * y + z * z
        facing = np.maximum(part.normal[0] * x + part.normal[1] * y + part.normal[2] * z, 0) / np.sqrt(square)
        strength = 0.42 + part.surface.glow + 0.85 * facing * free[part.where] / (1 + 0.08 * square)
        colours[part.where] = _painted(part.surface, part.point) * strength[:, None]
    bright: Grid = colours * np.array(scene.brightness)
    return bright


def _painted(surface: Surface, point: Vector) -> Grid:
    """Return the colours (M, 3) of points (M,) of a surface."""
    x, y, z = (
        np.floor(p * f + o).astype(np.int64) for p, f, o in zip(point, surface.frequency, surface.phase, strict=True)
    )
    if surface.mottled:
        mixed = (x * 73856093 ^ y * 19349663 ^ z * 83492791) * 2654435761 >> 16 & 255
        share = mixed / 255.0
    else:
        share = ((x + y + z) & 1).astype(np.float64)
    one, other = (np.array(colour) for colour in surface.colours)
    mixture: Grid = one * (1 - share[:, None]) + other * share[:, None]
    return mixture


def _averaged(fine: Grid) -> Grid:
    """(2H, 2W, 3) → (H, W, 3): four rays a pixel soften the edges."""
    rows = fine[0::2] + fine[1::2]
    return (rows[:, 0::2] + rows[:, 1::2]) / 4


def _noisy(image: Grid, rng: np.random.Generator) -> NDArray[np.uint8]:
    strength = int(rng.integers(4, 14))
    noise = rng.integers(-strength, strength + 1, image.shape) + rng.integers(-strength, strength + 1, image.shape)
    noisy: NDArray[np.uint8] = np.clip(np.rint(image) + noise, 0, 255).astype(np.uint8)
    return noisy


def _known(
    depth: Grid, labels: NDArray[np.int64], rng: np.random.Generator
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Draw where the sensor knows depth and normals, and where annotators gave a class: (H, W) each.

    A depth sensor sees nothing in the shadow of its projector, to the left of what is nearer, misses single pixels and
    a spot here and there; annotators leave out some pixels at the borders of things.
    """
    height, width = depth.shape
    shadow = np.zeros(depth.shape, dtype=bool)
    shadow[:, :-1] = depth[:, :-1] - depth[:, 1:] > 0.25
    known = ~shadow & (rng.random(depth.shape) >= 0.02)
    ys, xs = np.arange(height)[:, None], np.arange(width)
    for _ in range(int(rng.integers(0, 4))):
        v, u, radius = rng.uniform(0, height), rng.uniform(0, width), rng.uniform(0.02, 0.07) * width
        known &= (ys - v) * (ys - v) + (xs - u) * (xs - u) > radius * radius
    border = np.zeros(depth.shape, dtype=bool)
    border[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    border[:-1] |= labels[:-1] != labels[1:]
    labelled = ~(border & (rng.random(depth.shape) < 0.5)) & (rng.random(depth.shape) >= 0.01)
    return known, labelled
