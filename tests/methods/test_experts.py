"""Methods with several backbones: what must be equal between them, values by hand, and who learns from whom."""

from dataclasses import replace

import pytest
import torch
from building import TASKS, batch_of_mixed_tasks
from fake_dense import TASKS as DENSE

from mola import registry
from mola.methods._stages import parameters_after
from mola.models.backbones import builder
from mola.models.stages import run_stage, stages, start_pass
from mola.types import BadInput, Batch

NAMES = tuple(task.name for task in TASKS)
BACKBONES = {
    "test_resnet": {"zero_init_last": False},
    "resnet10t": {"channels": [4, 8, 8, 16], "stem_width": 8},
    "test_convnext": {},
    "test_efficientnet": {},
    "test_vit": {"img_size": (32, 32)},
    "swin_tiny_patch4_window7_224": {"img_size": 32, "embed_dim": 8, "depths": (1, 1, 2, 1), "num_heads": (1, 1, 2, 2)},
    "densenet121": {"block_config": (1, 1, 1, 1)},
}
METHODS = {
    "mmoe": {},
    "cgc": {},
    "ple": {"levels": 2},
    "ple of three levels": {"levels": 3, "own_experts": 2},
    "dselect_k": {"experts": 4},
    "dselect_k of samples": {"gates": "sample"},
    "cross_stitch": {},
}


def build(label, backbone="test_resnet", tasks=TASKS, seed=0, **options):
    torch.manual_seed(seed)
    name = label.split(" ")[0]
    build_backbone = builder(backbone, BACKBONES[backbone], dense=tasks is DENSE, head_width=8)
    return registry.load("methods", name).create(tasks, build_backbone, **METHODS.get(label, {}) | options)


@pytest.fixture
def batch():
    return batch_of_mixed_tasks()


def dense(batch):
    names = tuple(task.name for task in DENSE)
    return Batch(batch.x[:2], None, {name: torch.zeros(2) for name in names}, names)


def without(batch, name):
    kept = batch.task != batch.tasks.index(name)
    y = {other: target for other, target in batch.y.items() if other != name}
    return Batch(batch.x[kept], batch.task[kept], y, batch.tasks)


def same(one, other, batch):
    one, other = one(batch).predictions, other(batch).predictions
    for name in batch.y:
        torch.testing.assert_close(one[name], other[name], rtol=1e-4, atol=1e-5)


def differing_towers(backbone="test_resnet", tasks=TASKS):
    """Single-task models whose backbones differ, and Cross-stitch over the same."""
    towers, stitched = build("single_task", backbone, tasks).eval(), build("cross_stitch", backbone, tasks).eval()
    for number, task in enumerate(tasks):
        other = build("shared", backbone, tasks, seed=10 + number)
        for tower in (towers.towers[task.name].backbone, stitched.towers[number]):
            tower.load_state_dict(other.backbone.state_dict())
        stitched.heads.tasks[task.name].load_state_dict(towers.towers[task.name].heads.tasks[task.name].state_dict())
    return towers, stitched


@pytest.mark.parametrize("tasks", [TASKS, DENSE], ids=["classes", "dense"])
@pytest.mark.parametrize("backbone", ["test_resnet", "test_vit"])
def test_identity_units_are_single_task_towers(backbone, tasks, batch):
    towers, stitched = differing_towers(backbone, tasks)
    batch = batch if tasks is TASKS else dense(batch)
    for unit in stitched.units:
        unit.data = torch.eye(3)[:, :, None].expand_as(unit).clone()
    same(stitched, towers, batch)
    stitched.units[2].data[0, 1] += 0.5
    with pytest.raises(AssertionError):
        same(stitched, towers, batch)


def test_units_start_as_published_and_equal_towers_are_not_changed_by_them(batch):
    towers, stitched = build("single_task").eval(), build("cross_stitch").eval()
    for task in TASKS:
        stitched.heads.tasks[task.name].load_state_dict(towers.towers[task.name].heads.tasks[task.name].state_dict())
    same(stitched, towers, batch)
    expected = torch.tensor([[0.9, 0.05, 0.05], [0.05, 0.9, 0.05], [0.05, 0.05, 0.9]])
    for unit, stage in zip(stitched.units, stages(stitched.towers[0]), strict=True):
        torch.testing.assert_close(unit.detach(), expected[:, :, None].expand(3, 3, stage.channels))
    assert build("cross_stitch", tasks=TASKS[:1]).units[0].eq(1).all()
    with pytest.raises(BadInput, match=r"m\.own_weight: should be less than or equal to 1, found 1\.5"):
        registry.check_options("methods", "cross_stitch", {"own_weight": 1.5}, "m")


@pytest.mark.parametrize(
    ("backbone", "axis"), [("test_resnet", 1), ("swin_tiny_patch4_window7_224", 3), ("test_vit", 2)]
)
def test_units_weigh_channels(backbone, axis):
    method = build("cross_stitch", backbone)
    shape = (2, 4, 4, 4)[: 4 if backbone != "test_vit" else 3]  # places and channels can't be told apart by number
    values = torch.randn(2, 3, *shape[1:])
    weights = torch.randn(3, 4)
    actual = method._stitched(weights, values).movedim(axis, -1)
    channels = values.movedim(axis + 1, -1)
    for channel in range(4):
        expected = sum(weights[task, channel] * channels[:, task, ..., channel] for task in range(3))
        torch.testing.assert_close(actual[..., channel], expected)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_behind_a_stage_is_what_its_output_does_not_depend_on(backbone):
    model, paused = builder(backbone, BACKBONES[backbone])(), start_pass(torch.randn(2, 3, 32, 32))
    for stage in stages(model):
        paused = run_stage(model, paused)
        gradients = torch.autograd.grad(paused.value.sum(), [*model.parameters()], retain_graph=True, allow_unused=True)
        expected = {p for p, gradient in zip(model.parameters(), gradients, strict=True) if gradient is None}
        assert set(parameters_after(model, stage)) == expected


STAGED = [label for label in METHODS if label.startswith(("ple", "cross_stitch"))]


@pytest.mark.parametrize(
    ("label", "backbone"),
    [(label, "test_resnet") for label in METHODS]
    + [(label, other) for label in STAGED for other in ("test_convnext", "test_efficientnet", "test_vit")],
)
def test_shared_is_exactly_what_all_tasks_reach(label, backbone, batch):
    method = build(label, backbone)
    parameters = dict(method.named_parameters())
    reached = []
    for prediction in method(batch).predictions.values():
        gradients = torch.autograd.grad(prediction.sum(), [*parameters.values()], retain_graph=True, allow_unused=True)
        reached.append({name for name, gradient in zip(parameters, gradients, strict=True) if gradient is not None})
    shared = set(method.shared_parameters())
    assert set.intersection(*reached) == {name for name, p in parameters.items() if p in shared}
    assert set.union(*reached) == set(parameters)


@pytest.mark.parametrize(
    "backbone", ["test_resnet", "test_convnext", "test_efficientnet", "swin_tiny_patch4_window7_224"]
)
@pytest.mark.parametrize("label", ["ple", "cross_stitch"])
def test_maps_of_all_families_for_dense_tasks(label, backbone, batch):
    method = build(label, backbone, DENSE)
    predictions = method(dense(batch)).predictions
    assert {name: tuple(p.shape) for name, p in predictions.items()} == {
        task.name: (2, task.outputs, 32, 32) for task in DENSE
    }
    sum(p.sum() for p in predictions.values()).backward()
    assert [name for name, p in method.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("label", METHODS)
def test_an_absent_task_is_not_touched(label, batch):
    method = build(label)
    output = method(without(batch, "b"))
    sum([p.sum() for p in output.predictions.values()], output.aux_loss or torch.zeros(())).backward()
    rest = {id(p) for p in method.own_parameters()}
    touched = {name for name, p in method.named_parameters() if p.grad is not None and id(p) in rest}
    assert not any(".b." in name for name in touched)
    assert any(".a." in name for name in touched) and any(".c." in name for name in touched)
    assert all(p.grad is not None for p in method.shared_parameters())


@pytest.mark.parametrize("label", METHODS)
def test_the_first_shared_backbone_starts_like_that_of_hard_sharing(label):
    method, plain = build(label), build("shared")
    first = next(module for module in (*method.children(),) if isinstance(module, torch.nn.ModuleList))[0]
    for key, value in plain.backbone.state_dict().items():
        assert torch.equal(value, first.state_dict()[key]), key


def test_cgc_without_weight_on_own_experts_is_mmoe(batch):
    cgc, mmoe = build("cgc", shared_experts=2, own_experts=2).eval(), build("mmoe", experts=2).eval()
    mmoe.experts.load_state_dict(cgc.shared.state_dict())
    mmoe.heads.load_state_dict(cgc.heads.state_dict())
    for name in NAMES:
        cgc.gates[name].weight.data[:2] = mmoe.gates[name].weight.data
        cgc.gates[name].bias.data = torch.cat([mmoe.gates[name].bias.data, torch.full((2,), -1e4)])
    same(cgc, mmoe, batch)


def test_own_experts_alone_are_single_task_models(batch):
    towers, _ = differing_towers()
    cgc = build("cgc").train()
    for name in NAMES:
        cgc.task_experts[name][0].load_state_dict(towers.towers[name].backbone.state_dict())
        cgc.heads.tasks[name].load_state_dict(towers.towers[name].heads.tasks[name].state_dict())
        cgc.gates[name].bias.data = torch.tensor([-1e4, 0.0])
    same(cgc, towers.train(), batch)  # also in training: BatchNorm sees a task's samples alone


@pytest.mark.parametrize("tasks", [TASKS, DENSE], ids=["classes", "dense"])
def test_ple_of_one_level_is_cgc(tasks, batch):
    options = {"shared_experts": 2, "own_experts": 2}
    ple, cgc = build("ple", tasks=tasks, levels=1, **options), build("cgc", tasks=tasks, **options)
    batch = batch if tasks is TASKS else dense(batch)
    same(ple, cgc, batch)
    torch.testing.assert_close(ple(batch).features, cgc(batch).features)
    assert [p.shape for p in ple.shared_parameters()] == [p.shape for p in cgc.shared_parameters()]
    assert build("ple")(replace(batch, y={}) if tasks is DENSE else batch).features is None


def test_ple_of_two_levels_by_hand(batch):
    method = build("ple").eval()
    predictions = method(batch).predictions

    def lower(e, x):
        return e.layer2(e.layer1(e.maxpool(e.act1(e.bn1(e.conv1(x))))))

    def upper(e, x):
        return e.global_pool(e.layer4(e.layer3(x)))

    def weighed(gate, inputs, outputs):
        weights = gate(inputs).softmax(1)
        return sum(w.view(-1, *[1] * (g.dim() - 1)) * g for w, g in zip(weights.unbind(1), outputs, strict=True))

    pooled = torch.nn.functional.adaptive_avg_pool2d(batch.x, 8).flatten(1)
    low = {name: lower(method.task_experts[name][0], batch.x) for name in NAMES}
    common = lower(method.shared[0], batch.x)
    for_all = weighed(method.shared_gates[0], pooled, [common, *low.values()])
    for name in NAMES:
        mixed = weighed(method.gates[name][0], pooled, [common, low[name]])
        high = [upper(method.shared[0], for_all), upper(method.task_experts[name][0], mixed)]
        features = weighed(method.gates[name][1], mixed.mean((2, 3)), high)[batch.rows(name)]
        torch.testing.assert_close(predictions[name], method.heads.tasks[name](features), rtol=1e-4, atol=1e-5)


def test_levels_share_the_stages():
    assert [build("ple", levels=levels).ends for levels in (1, 2, 3, 4)] == [[1], [2, 5], [1, 3, 5], [1, 2, 3, 5]]
    with pytest.raises(BadInput, match="levels: expected at most the backbone's number of stages, 4, found 5"):
        build("ple", levels=5)
