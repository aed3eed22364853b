"""Maps: resampling equals torch's, backbones keep the plain model's names, heads answer at the image's size."""

import pytest
import timm
import torch
import torch.nn.functional as F
from fake_dense import TASKS, FakeDense
from hypothesis import given
from hypothesis import strategies as st

from mola.losses import task_losses
from mola.models.backbones import builder, width
from mola.models.heads import Heads, PyramidHead
from mola.models.resampling import pooled, resized
from mola.types import BadInput, Batch, Output, Task

SIDE = st.integers(1, 13)


@given(SIDE, SIDE, st.lists(st.integers(1, 8), min_size=1, max_size=4))
def test_pooling_is_torchs(height, width, levels):
    x = torch.randn(2, 3, height, width, dtype=torch.float64, requires_grad=True)
    ours, theirs = pooled(x, tuple(levels)), [F.adaptive_avg_pool2d(x, cells) for cells in levels]
    torch.testing.assert_close(ours, theirs)
    factors = [torch.randn_like(y) for y in ours]
    one, other = (
        torch.autograd.grad(sum((y * f).sum() for y, f in zip(ys, factors, strict=True)), x) for ys in (ours, theirs)
    )
    torch.testing.assert_close(one, other)


@given(SIDE, SIDE, st.integers(1, 40), st.integers(1, 40))
def test_resizing_is_torchs(height, width, to_height, to_width):
    x = torch.randn(2, 3, height, width, dtype=torch.float64, requires_grad=True)
    ours = resized(x, (to_height, to_width))
    theirs = F.interpolate(x, (to_height, to_width), mode="bilinear", align_corners=False)
    torch.testing.assert_close(ours, theirs)
    factors = torch.randn_like(ours)
    (one,), (other,) = (torch.autograd.grad((y * factors).sum(), x) for y in (ours, theirs))
    torch.testing.assert_close(one, other)


def test_resampling_is_fp32_under_autocast_and_after_inference_mode():
    x = torch.randn(2, 4, 5, 7, requires_grad=True)
    with torch.inference_mode():
        plain = resized(x, (11, 23))  # a size that is new: its matrix is made here
    with torch.autocast("cpu", torch.bfloat16):
        inside = resized(x, (11, 23))
    assert torch.equal(inside, plain)
    inside.sum().backward()
    assert resized(x.bfloat16(), (11, 23)).dtype == torch.float32


@pytest.mark.parametrize(
    ("name", "options", "grid"),
    [
        ("test_resnet", {"output_stride": 8}, (8, 12)),
        ("test_efficientnet", {"output_stride": 8}, (8, 12)),
        ("test_convnext", {}, (2, 3)),
        ("test_vit", {"img_size": (64, 96)}, (4, 6)),  # drops its class token
        ("swin_tiny_patch4_window7_224", {"img_size": (64, 96), "embed_dim": 12, "num_heads": (1, 2, 4, 8)}, (2, 3)),
        ("mobilenetv3_small_050", {}, (2, 3)),  # a layer behind the pooling
    ],
)
def test_a_map_under_the_plain_models_names(name, options, grid):
    model = builder(name, options, dense=True)().eval()
    assert model(torch.randn(2, 3, 64, 96)).shape == (2, width(model), *grid)
    assert set(model.state_dict()) == set(timm.create_model(name, num_classes=0, **options).state_dict())


def test_the_map_is_what_the_plain_model_pools():
    torch.manual_seed(0)
    mapped = builder("test_resnet", dense=True)().eval()
    plain = builder("test_resnet")().eval()
    plain.load_state_dict(mapped.state_dict())
    x = torch.randn(2, 3, 64, 96)
    torch.testing.assert_close(mapped(x).mean((2, 3)), plain(x))


def test_tokens_keep_their_place():
    model = builder("test_vit", {"img_size": (64, 96)}, dense=True)().eval()
    x = torch.randn(1, 3, 64, 96)
    tokens = model.forward_features(x)[:, 1:]
    torch.testing.assert_close(model(x)[0, :, 2, 5], tokens[0, 2 * 6 + 5])


def test_a_model_that_can_not_give_a_map():
    with pytest.raises(
        BadInput, match=r"backbone\.options: timm's efficientvit_b0 refuses them: Cannot disable pooling"
    ):
        builder("efficientvit_b0", dense=True)()


def test_the_pyramid_head_is_its_formula_with_torchs_operations():
    torch.manual_seed(0)
    head = PyramidHead(16, 5, 8).eval()
    x = torch.randn(2, 16, 7, 9)
    scales = [
        F.interpolate(level(F.adaptive_avg_pool2d(x, cells)), (7, 9), mode="bilinear")
        for cells, level in zip((1, 2, 3, 6), head.levels, strict=True)
    ]
    torch.testing.assert_close(head(x), head.predict(head.mix(torch.cat([x, *scales], 1))))
    assert [tuple(level.weight.shape) for level in head.levels] == [(4, 16, 1, 1)] * 4
    assert head.mix[0].weight.shape == (8, 32, 3, 3)


def test_heads_answer_at_the_images_size_and_train_on_one_image():
    benchmark = FakeDense()
    backbone = builder("test_resnet", {"output_stride": 8}, dense=True, head_width=12)()
    heads = Heads(benchmark.tasks, backbone)
    assert heads.tasks["depth"].predict.weight.shape == (1, 12, 1, 1)
    batch = next(benchmark.batches("train", size=1, seed=0, epoch=0))
    x = benchmark.normalised(batch.x)
    predictions = heads(backbone(x), Batch(x, None, batch.y, batch.tasks))
    assert {name: tuple(p.shape[1:]) for name, p in predictions.items()} == {
        "segmentation": (3, 24, 32),
        "depth": (1, 24, 32),
        "normals": (3, 24, 32),
    }
    sum(task_losses(TASKS, Output(predictions), batch).values()).backward()
    assert all(p.grad.isfinite().all() for p in heads.parameters())


def test_classes_beside_dense_tasks_see_the_mean_of_the_map():
    tasks = (Task("room", "classes", 4, {"accuracy": "higher"}), TASKS[1])
    backbone = builder("test_resnet", dense=True, head_width=8)()
    heads, features = Heads(tasks, backbone), torch.randn(2, width(backbone), 3, 4)
    batch = Batch(torch.zeros(2, 3, 24, 32), None, {"room": torch.zeros(2)}, ("room", "depth"))
    torch.testing.assert_close(heads(features, batch)["room"], heads.tasks["room"](features.mean((2, 3))))


# what torch 2.11 refuses in deterministic mode on CUDA, by the names of its backward
REFUSED = (
    "UpsampleLinear",
    "UpsampleBilinear",
    "UpsampleBicubic",
    "UpsampleTrilinear",
    "AdaptiveAvgPool2D",
    "AdaptiveMaxPool",
    "AvgPool3D",
    "FractionalMaxPool",
    "ReflectionPad",
    "NllLoss2D",
    "GridSampler",
    "Put",
)


def test_no_operation_of_a_training_step_lacks_a_deterministic_backward():
    benchmark = FakeDense()
    backbone = builder("test_resnet", {"output_stride": 8}, dense=True, head_width=8)()
    heads = Heads(benchmark.tasks, backbone)
    batch = next(benchmark.batches("train", size=2, seed=0, epoch=0))
    x = benchmark.normalised(batch.x)
    output = Output(heads(backbone(x), Batch(x, None, batch.y, batch.tasks)))
    names = operations(sum(task_losses(TASKS, output, batch).values()))
    assert any(name.startswith("Convolution") for name in names)
    assert [name for name in names if name.startswith(REFUSED)] == []
    control = F.interpolate(F.adaptive_avg_pool2d(x.requires_grad_(), 2), (4, 4), mode="bilinear")
    assert len([name for name in operations(control) if name.startswith(REFUSED)]) == 2


def operations(tensor):
    calls, waiting = set(), [tensor.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in calls:
            calls.add(node)
            waiting += [following for following, _ in node.next_functions]
    return {node.name() for node in calls}
