"""What must be equal between methods where every image has every task, on a convolutional backbone and on tokens."""

import pytest
import torch
from fake_dense import TASKS

from mola import registry
from mola.layers.gates import gate
from mola.models.backbones import builder
from mola.types import Batch

BACKBONES = {
    "test_resnet": ({"output_stride": 8, "zero_init_last": False}, r"layer[34]\..*conv\d"),
    "test_vit": ({"img_size": (32, 48)}, r"blocks\.[1-9]\..*(qkv|proj|fc1|fc2)"),
}


@pytest.fixture
def batch():
    x, names = torch.randn(2, 3, 32, 48), tuple(task.name for task in TASKS)
    return Batch(x, None, {name: torch.zeros(2) for name in names}, names)


def build(name, backbone, **options):
    torch.manual_seed(0)
    timm_options, where = BACKBONES[backbone]
    known = registry.option_names("methods", name)
    options |= {k: v for k, v in {"where": where, "router_width": 4}.items() if k in known}
    method = (
        registry.load("methods", name)
        .create(TASKS, builder(backbone, timm_options, dense=True, head_width=8), **options)
        .eval()
    )
    torch.manual_seed(1)
    for key, parameter in method.named_parameters():
        if key.endswith(".B"):
            torch.nn.init.normal_(parameter, std=0.05)
    return method


def same(one, other, batch):
    one, other = one(batch).predictions, other(batch).predictions
    for task in TASKS:
        assert one[task.name].shape == (2, task.outputs, 32, 48)
        torch.testing.assert_close(one[task.name], other[task.name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_mola_grad_is_every_tasks_adapter_before_its_head(backbone, batch):
    method = build("mola_grad", backbone)
    actual, features = method(batch).predictions, []
    for expert, task in enumerate(TASKS):
        with gate(method.backbone, torch.full((2,), expert)):
            features.append(method.backbone(batch.x))
        expected = method.heads(features[-1], batch)[task.name]
        torch.testing.assert_close(actual[task.name], expected, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(features[0], features[1], atol=1e-3)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_mmoe_with_one_expert_is_hard_sharing(backbone, batch):
    mixed, plain = build("mmoe", backbone, experts=1), build("shared", backbone)
    mixed.experts[0].load_state_dict(plain.backbone.state_dict())
    mixed.heads.load_state_dict(plain.heads.state_dict())
    same(mixed, plain, batch)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_top_k_of_all_experts_is_the_dense_router(backbone, batch):
    sparse, dense = build("lora_moe", backbone, top_k=3), build("mola_router", backbone)
    sparse.load_state_dict({k: v for k, v in dense.state_dict().items() if not k.startswith("projection")})
    same(sparse, dense, batch)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_single_task_is_hard_sharing_of_one_task(backbone, batch):
    towers, plain = build("single_task", backbone), build("shared", backbone)
    for task in TASKS:
        towers.towers[task.name].backbone.load_state_dict(plain.backbone.state_dict())
        towers.towers[task.name].heads.tasks[task.name].load_state_dict(plain.heads.tasks[task.name].state_dict())
    same(towers, plain, batch)
