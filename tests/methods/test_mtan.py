"""MTAN masks what the backbone gives, per task and stage."""

import pytest
import torch
import torch.nn.functional as F
from building import build
from fake_dense import TASKS

from mola import registry
from mola.losses import task_losses
from mola.methods.mtan import pooled_to
from mola.models.backbones import builder
from mola.models.stages import stages
from mola.models.tokens import Layout
from mola.training.loading import load
from mola.types import BadInput, Batch, Task

TINY_SWIN = {"img_size": (32, 64), "embed_dim": 8, "depths": (1, 1, 1, 1), "num_heads": (1, 1, 1, 1)}
BACKBONES = {
    "resnet10t": {"channels": [16, 32, 64, 128], "stem_width": 16},
    "test_convnext": {},
    "test_efficientnet": {},
    "test_vit": {"img_size": (32, 64)},
    "swin_tiny_patch4_window7_224": TINY_SWIN,
}
CLASSES = tuple(Task(name, "classes", 3, {"accuracy": "higher"}) for name in ("one", "two"))


@pytest.fixture
def batch(digits):
    return next(iter(load(digits, "train", torch.device("cpu"), size=16)))


def images(tasks):
    """Two images: of a task each, in the other order, or of all tasks."""
    x, names = torch.randn(2, 3, 32, 64), tuple(task.name for task in tasks)
    y = {name: torch.zeros(1, dtype=torch.int64) for name in names}
    return Batch(x, torch.tensor([1, 0]) if tasks is CLASSES else None, y, names)


def opened(method):
    """All masks at one: a sigmoid of 40."""
    for of_task in method.attention.values():
        for mask in of_task:
            torch.nn.init.zeros_(mask[4].weight)
            torch.nn.init.constant_(mask[4].bias, 40)
    return method


@pytest.mark.parametrize("training", [False, True])
def test_open_masks_are_hard_sharing(digits, batch, training):
    masked, plain = (build(name, digits.tasks).train(training) for name in ("mtan", "shared"))
    opened(masked).heads.load_state_dict(plain.heads.state_dict())
    expected = plain(batch).predictions
    for name, actual in masked(batch).predictions.items():
        torch.testing.assert_close(actual, expected[name])
    torch.nn.init.constant_(masked.attention["mnist"][-1][4].bias, 0)
    assert not torch.allclose(masked(batch).predictions["mnist"], expected["mnist"])


@pytest.mark.parametrize("tasks", [CLASSES, TASKS], ids=["classes", "dense"])
@pytest.mark.parametrize("name", BACKBONES)
def test_open_masks_are_hard_sharing_on_any_backbone(name, tasks):
    backbone, batch = builder(name, BACKBONES[name], dense=tasks is TASKS, head_width=8), images(tasks)
    masked, plain = (registry.load("methods", method).create(tasks, backbone).eval() for method in ("mtan", "shared"))
    plain.load_state_dict({k: v for k, v in masked.state_dict().items() if k in plain.state_dict()})
    expected, closed = plain(batch).predictions, masked(batch).predictions
    actual = opened(masked)(batch).predictions
    for task in tasks:
        assert not torch.equal(closed[task.name], expected[task.name])
        torch.testing.assert_close(actual[task.name], expected[task.name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", BACKBONES)
def test_every_mask_and_passage_learns(name):
    method = registry.load("methods", "mtan").create(CLASSES, builder(name, BACKBONES[name]))
    torch.stack(list(task_losses(CLASSES, method(images(CLASSES)), images(CLASSES)).values())).sum().backward()
    widths = [stage.channels for stage in stages(method.backbone)]
    assert [[mask[4].num_features for mask in of_task] for of_task in method.attention.values()] == 2 * [widths]
    silent = {key for key, p in method.named_parameters() if p.grad is None}
    assert silent == set()


def test_a_task_reaches_its_own_masks_alone(digits, batch):
    method = build("mtan", digits.tasks).eval()  # in training tasks also meet in the statistics of f's BatchNorm
    method(batch).predictions["mnist"].sum().backward()
    actual = {key: p.grad for key, p in method.named_parameters() if p.grad is not None and p.grad.any()}
    reached = {tuple(key.split(".")[:2]) for key in actual}
    assert {name for part, name in reached if part == "attention"} == {"mnist"}
    assert {part for part, _ in reached} == {"attention", "backbone", "heads", "passages"}


def test_a_mask_meets_the_samples_of_its_task_in_any_order(digits, batch):
    method = build("mtan", digits.tasks).eval()
    met = []
    for of_task in method.attention.values():
        of_task[1].register_forward_hook(lambda module, args, output: met.append(len(output)))
    expected = method(batch).predictions
    assert met == [4, 4, 4, 4]
    order = torch.arange(16).view(4, 4).T.flatten()  # tasks take turns; within a task the order stays
    mixed = Batch(batch.x[order], batch.task[order], batch.y, batch.tasks)
    for name, actual in method(mixed).predictions.items():
        torch.testing.assert_close(actual, expected[name])


def test_one_sample_on_a_map_of_one_pixel_can_be_trained_on(digits, batch):
    method = build("mtan", digits.tasks)
    kept = [*torch.arange(16)[batch.task != batch.tasks.index("mnist")].tolist(), batch.rows("mnist").start]
    y = batch.y | {"mnist": batch.y["mnist"][:1]}
    before = method.attention["mnist"][-1][4].running_mean.clone()
    assert method(Batch(batch.x[kept], batch.task[kept], y, batch.tasks)).predictions["mnist"].isfinite().all()
    assert torch.equal(method.attention["mnist"][-1][4].running_mean, before)


def test_pooling_to_the_next_stage():
    x = torch.randn(2, 3, 8, 12)
    torch.testing.assert_close(pooled_to(x, (4, 6)), F.max_pool2d(x, 2))
    torch.testing.assert_close(pooled_to(x[..., :7, :11], (4, 6)), F.max_pool2d(x[..., :7, :11], 2, ceil_mode=True))
    torch.testing.assert_close(pooled_to(x[..., :7, :11], (3, 5)), F.max_pool2d(x[..., :7, :11], 2))
    assert pooled_to(x, (8, 12)) is x
    with pytest.raises(BadInput, match=r"stages of decreasing size, found \(8, 12\) before \(16, 24\)"):
        pooled_to(x, (16, 24))


def test_tokens_meet_their_neighbours_on_the_map():
    backbone, convolution = builder("test_vit", {"img_size": (32, 64)})(), torch.nn.Conv2d(4, 5, 3, padding=1)
    layout, image, lone = (
        Layout(backbone, (32, 64)),
        torch.randn(2, 4, 2, 4),
        torch.randn(2, backbone.num_prefix_tokens, 4),
    )
    tokens = torch.cat([lone, image.flatten(2).transpose(1, 2)], 1)
    unified = layout.unified(tokens)
    assert torch.equal(layout.restored(unified), tokens)
    actual = layout.restored(layout.convolved(convolution, unified))
    torch.testing.assert_close(actual[:, lone.shape[1] :].transpose(1, 2).reshape(2, 5, 2, 4), convolution(image))
    torch.testing.assert_close(actual[:, 0], F.linear(lone[:, 0], convolution.weight[:, :, 1, 1], convolution.bias))
    with pytest.raises(BadInput, match="a token for every square patch; found 7 for images of 32×64"):
        layout.convolved(convolution, unified[:, :, :7])
    without = unified[:, :, lone.shape[1] :]  # a model that adds its class token later
    torch.testing.assert_close(layout.convolved(convolution, without).view(2, 5, 2, 4), convolution(image))
