"""What must be equal between methods, or to the written formula."""

import pytest
import torch
from building import build

from mola.layers.adapter import LowRankConv2d
from mola.losses import task_decorrelation
from mola.training.loading import load
from mola.types import BadInput, Batch


@pytest.fixture
def batch(digits):
    return next(iter(load(digits, "train", torch.device("cpu"), size=16)))


def fill_adapters(method):
    torch.manual_seed(7)
    for key, parameter in method.named_parameters():
        if key.endswith(".B"):
            torch.nn.init.normal_(parameter, std=0.05)


@pytest.mark.parametrize("name", ["shared_lora", "mola_grad", "mola_router", "lora_moe"])
def test_fresh_adapters_change_nothing(name, digits, batch):
    plain, adapted = build("shared", digits.tasks).eval(), build(name, digits.tasks).eval()
    adapted.heads.load_state_dict(plain.heads.state_dict())
    for task in digits.tasks:
        torch.testing.assert_close(adapted(batch).predictions[task.name], plain(batch).predictions[task.name])


def test_mola_grad_is_a_model_of_merged_weights_per_task(digits, batch):
    method = build("mola_grad", digits.tasks).eval()
    fill_adapters(method)
    outputs = method(batch).predictions
    for expert, task in enumerate(digits.tasks):
        plain = build("shared", digits.tasks).eval()
        plain.heads.load_state_dict(method.heads.state_dict())
        state = {k: v for k, v in method.backbone.state_dict().items() if not k.endswith((".A", ".B"))}
        for key, layer in method.backbone.named_modules():
            if isinstance(layer, LowRankConv2d):
                assert layer.delta()[expert].abs().sum() > 0
                state[f"{key}.weight"] = layer.weight + layer.delta()[expert]
        plain.backbone.load_state_dict(state)
        torch.testing.assert_close(plain(batch).predictions[task.name], outputs[task.name], rtol=1e-4, atol=1e-4)


def test_each_task_reaches_its_own_adapter_alone(digits, batch):
    method = build("mola_grad", digits.tasks)
    fill_adapters(method)
    kept = batch.rows("mnistm")
    expert = batch.tasks.index("mnistm")
    alone = Batch(batch.x[kept], batch.task[kept], {"mnistm": batch.y["mnistm"]}, batch.tasks)
    method(alone).predictions["mnistm"].sum().backward()
    for key, parameter in method.backbone.named_parameters():
        if key.endswith((".A", ".B")):
            reached = parameter.grad.flatten(1).abs().sum(1) > 0
            assert reached[expert], key
            assert reached.sum() == 1, key


def test_router_with_one_hot_weights_is_mola_grad(digits, batch):
    grad, router = build("mola_grad", digits.tasks).eval(), build("mola_router", digits.tasks).eval()
    fill_adapters(grad)
    router.backbone.load_state_dict(grad.backbone.state_dict())
    router.heads.load_state_dict(grad.heads.state_dict())

    class Certain(torch.nn.Module):
        def forward(self, x):
            return 1e4 * torch.nn.functional.one_hot(batch.task, len(digits.tasks)).float()

    router.router = Certain()
    for task in digits.tasks:
        torch.testing.assert_close(
            router(batch).predictions[task.name], grad(batch).predictions[task.name], rtol=1e-4, atol=1e-4
        )


def test_top_k_of_all_experts_is_the_dense_router(digits, batch):
    sparse, dense = build("lora_moe", digits.tasks, top_k=4).eval(), build("mola_router", digits.tasks).eval()
    fill_adapters(dense)
    sparse.load_state_dict({k: v for k, v in dense.state_dict().items() if not k.startswith("projection")})
    torch.testing.assert_close(sparse(batch).routing, dense(batch).routing)
    torch.testing.assert_close(sparse(batch).predictions["mnist"], dense(batch).predictions["mnist"])


def test_top_k_leaves_the_rest_at_zero(digits, batch):
    weights = build("lora_moe", digits.tasks, top_k=2)(batch).routing
    assert ((weights > 0).sum(1) == 2).all()
    with pytest.raises(BadInput, match="top_k: expected at most the number of experts, 4, found 9"):
        build("lora_moe", digits.tasks, top_k=9)


def test_the_aux_loss_is_the_weighted_decorrelation(digits, batch):
    method = build("mola_router", digits.tasks, twd=0.3, temperature=0.5)
    scores = method.router(batch.x)
    expected = 0.3 * task_decorrelation(method.projection(scores), batch.task, 0.5)
    torch.testing.assert_close(method(batch).aux_loss, expected)
    assert method.projection.weight.shape == (32, 4)
    assert build("mola_router", digits.tasks, twd=0.0)(batch).aux_loss is None
    assert method.eval()(batch).aux_loss is None


def test_single_task_towers_do_not_meet(digits, batch):
    method = build("single_task", digits.tasks)
    method(batch).predictions["mnist"].sum().backward()
    reached = {key.split(".")[1] for key, p in method.named_parameters() if p.grad is not None}
    assert reached == {"mnist"}
    first, *others = (tower.backbone.state_dict() for tower in method.towers.values())
    assert all(torch.equal(first[key], other[key]) for other in others for key in first if "running" not in key)


def test_mmoe_with_one_expert_is_hard_sharing(digits, batch):
    mixed, plain = build("mmoe", digits.tasks, experts=1).eval(), build("shared", digits.tasks).eval()
    mixed.experts[0].load_state_dict(plain.backbone.state_dict())
    mixed.heads.load_state_dict(plain.heads.state_dict())
    for task in digits.tasks:
        torch.testing.assert_close(mixed(batch).predictions[task.name], plain(batch).predictions[task.name])
