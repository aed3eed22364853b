import numpy as np
import pytest
import torch

from mola.benchmarks._synthetic import scene_pixels
from mola.benchmarks._synthetic.scene_pixels import geometry, photographed, rays, to_world
from mola.benchmarks._synthetic.scene_rooms import BALL, CEILING, CLASSES, FLOOR, LAMP, PICTURE, furnished
from mola.benchmarks.scenes import Scenes
from mola.data.batches.augment_dense import SCALES
from mola.data.splits import manifest

ROOMS = range(0, 480, 40)


def signed_distances(shape, points):
    """(N,) how far points (N, 3) lie outside of a shape (< 0: inside), by its own definition; no code is shared."""
    c, s = shape.turn
    x, y, z = (points - np.array(shape.centre)).T
    x, z = c * x - s * z, s * x + c * z
    a, b, d = shape.half
    if shape.kind == "ball":
        return np.hypot(np.hypot(x, y), z) - a
    if shape.kind == "cylinder":
        return np.maximum(np.hypot(x, z) - a, np.abs(y) - b)
    return np.max([np.abs(x) - a, np.abs(y) - b, np.abs(z) - d], axis=0)


def rendered(identity, height=48, width=64):
    """The scene, its depth, classes and normals, and where in the room each pixel's point lies (H·W, 3)."""
    scene = furnished(identity)
    depth, labels, normals = geometry(scene, height, width)
    ray = np.stack(to_world(scene, rays(height, width)), -1).reshape(-1, 3)
    return scene, depth, labels, normals, np.array(scene.camera), ray


@pytest.mark.parametrize("identity", ROOMS)
def test_depth_along_the_ray_hits_the_first_surface(identity):
    scene, depth, labels, _, camera, ray = rendered(identity)
    points = camera + ray * depth.reshape(-1, 1)
    near = np.array([signed_distances(shape, points) for shape in scene.shapes])
    walls = signed_distances(scene.interior, points)
    assert near.min() > -1e-9 and walls.max() < 1e-9  # inside nothing, and not beyond the walls
    assert np.abs(np.concatenate([near, walls[None]])).min(0).max() < 1e-9  # on something
    for part in np.linspace(0.02, 0.98, 25):  # and nothing stands before it
        between = camera + ray * (part * depth.reshape(-1, 1))
        assert all(signed_distances(shape, between).min() > -1e-9 for shape in scene.shapes)
    on_a_shape = near.min(0) < 1e-9
    owner = np.array(scene.labels)[near.argmin(0)]
    assert np.array_equal(labels.ravel()[on_a_shape], owner[on_a_shape])
    assert set(labels.ravel()[~on_a_shape]) <= {0, 1, 2}


@pytest.mark.parametrize("identity", ROOMS)
def test_normals_are_unit_vectors_towards_the_camera_and_across_the_surface(identity):
    scene, depth, _, normals, camera, ray = rendered(identity)
    assert np.abs(np.linalg.norm(normals, axis=-1) - 1).max() < 1e-12
    assert (normals * np.stack(rays(48, 64), -1)).sum(-1).max() < 0
    world = np.stack(to_world(scene, np.moveaxis(normals, -1, 0)), -1).reshape(-1, 3)
    points = camera + ray * depth.reshape(-1, 1)

    def free(at):  # how far from the nearest surface, > 0 in the air
        return np.min([-signed_distances(scene.interior, at), *(signed_distances(s, at) for s in scene.shapes)], axis=0)

    step = 1e-6
    gradient = np.stack([free(points + step * e) - free(points - step * e) for e in np.eye(3)], -1) / (2 * step)
    smooth = np.abs(np.linalg.norm(gradient, axis=1) - 1) < 1e-3  # not at an edge
    assert smooth.mean() > 0.98
    assert np.abs(gradient - world)[smooth].max() < 1e-3


def test_the_room_is_the_right_way_up():
    """y points down: floors look up, ceilings down, and floors lie below them."""
    for _, labels, normals in (geometry(furnished(i), 48, 64) for i in range(20)):
        for label, side in ((FLOOR, -1), (CEILING, 1)):
            assert np.all(side * normals[labels == label][:, 1] > 0.7)
        assert labels[-1].tolist().count(CEILING) == 0 and labels[0].tolist().count(FLOOR) == 0


def test_a_camera_turns_without_stretching():
    scene = furnished(5)
    axes = np.stack(to_world(scene, np.eye(3)))
    assert np.allclose(axes @ axes.T, np.eye(3), atol=1e-15) and np.linalg.det(axes) > 0.999
    assert np.allclose(np.stack(scene_pixels.to_camera(scene, to_world(scene, np.eye(3)))), np.eye(3), atol=1e-15)


def test_what_the_sensor_does_not_know_is_marked_and_the_rest_is_exact():
    for identity in ROOMS:
        arrays = photographed(identity, 48, 64)
        depth, labels, normals = geometry(furnished(identity), 48, 64)
        known, labelled = arrays["depth"] > 0, arrays["segmentation"] >= 0
        assert np.array_equal(arrays["depth"][known], depth.astype(np.float32)[known])
        assert np.array_equal(arrays["normals"][known], normals.astype(np.float32)[known])
        assert np.array_equal(arrays["segmentation"][labelled], labels[labelled])
        assert not arrays["normals"][~known].any() and set(arrays["segmentation"][~labelled].tolist()) <= {-1}
        assert 0.005 < (~known).mean() < 0.3 and 0.005 < (~labelled).mean() < 0.2


def test_every_kind_of_thing_is_somewhere_and_can_be_told_by_its_shape():
    items = [(shape.kind, label) for i in range(60) for shape, label in zip(*contents(i), strict=True)]
    assert {label for _, label in items} == set(range(PICTURE, len(CLASSES)))
    assert {label for kind, label in items if kind == "ball"} == {BALL}
    assert {label for kind, label in items if kind == "cylinder"} == {LAMP}


def contents(identity):
    scene = furnished(identity)
    return scene.shapes, scene.labels


def test_the_camera_stands_in_the_air_within_the_room():
    for identity in range(480):
        scene = furnished(identity)
        camera = np.array(scene.camera)[None]
        assert signed_distances(scene.interior, camera) < -0.1
        assert min(signed_distances(shape, camera)[0] for shape in scene.shapes) > 0.1


def test_classes_are_balanced_enough_to_be_learned(data_root):
    for split in ("train", "valid", "test"):
        labels = Scenes.create(data_root).arrays[f"all.{split}.segmentation"]
        share = np.bincount(labels[labels >= 0], minlength=len(CLASSES)) / labels.size
        assert share.min() > 0.01 and share.max() < 0.55


def test_augmentation_keeps_image_and_targets_together(data_root):
    """In a picture of its own labels the colour tells the class; so it does after augmentation, but where two meet."""
    benchmark = Scenes.create(data_root)
    benchmark.scales = SCALES
    labels = benchmark.arrays["all.valid.segmentation"][:32]
    painted = (labels + 1).astype(np.uint8)[..., None].repeat(3, -1) * 20
    uniform = np.random.default_rng(0).random((32, benchmark.draws), dtype=np.float32)
    images, moved = (
        benchmark.augmented(painted, uniform)[..., 0],
        benchmark.augmented_target("segmentation", labels, uniform),
    )
    inside = np.ones(moved.shape, dtype=bool)
    for axis in (1, 2):
        for step in (-1, 1):
            inside &= moved == np.roll(moved, step, axis)
    assert inside.mean() > 0.6 and (moved != labels).mean() > 0.2
    gain = images / np.maximum((moved + 1.0) * 20, 1)
    assert (np.abs(gain[inside & (moved >= 0)] - 1) < 0.19).mean() > 0.95  # within the tint, and a rounding


def test_a_batch_holds_every_task_of_every_sample(data_root):
    benchmark = Scenes.create(data_root, limit=6)
    (batch,) = benchmark.batches("valid", size=8, seed=0, epoch=0)
    assert batch.task is None and batch.x.shape == (6, 3, 48, 64)
    assert batch.y["segmentation"].shape == (6, 48, 64) and batch.y["segmentation"].dtype == torch.int64
    assert batch.y["depth"].shape == (6, 1, 48, 64) and batch.y["normals"].shape == (6, 3, 48, 64)
    stored = {name: benchmark.arrays[f"all.valid.{name}"][:6] for name in ("segmentation", "depth", "normals")}
    assert np.array_equal(batch.y["segmentation"], stored["segmentation"])
    assert np.array_equal(batch.y["depth"][:, 0], stored["depth"])
    assert np.array_equal(batch.y["normals"].permute(0, 2, 3, 1), stored["normals"])


def test_training_shows_every_sample_once(data_root):
    benchmark = Scenes.create(data_root, limit=21)
    for sampling in ("balanced", "proportional"):
        batches = list(benchmark.batches("train", size=4, seed=0, epoch=0, sampling=sampling))
        assert len(batches) == benchmark.steps(size=4, sampling=sampling) == 5
        assert len({image.numpy().tobytes() for batch in batches for image in batch.x}) == 20


def test_the_committed_manifest_comes_from_the_code(tmp_path, monkeypatch):
    committed = manifest.manifest_path("scenes").read_bytes()
    monkeypatch.setattr(manifest, "SPLITS", tmp_path)
    assert Scenes.create("nowhere").write_manifest().read_bytes() == committed


def test_a_room_hangs_on_its_id_alone():
    benchmark = Scenes.create("nowhere")
    ids = benchmark.manifest.ids["all"]["valid"][:3]
    together = benchmark.build("all", ids)
    for place, i in enumerate(ids):
        for kind, (alone,) in benchmark.build("all", [i]).items():
            assert np.array_equal(together[kind][place], alone)
