"""A BatchNorm layer of every task: T separate layers, whatever the order of the batch."""

import copy

import pytest
import timm
import torch
from timm.layers import BatchNormAct2d
from torch import nn

import mola
from mola.layers.expand import every_expert
from mola.layers.frozen import freeze
from mola.layers.norms import TaskBatchNorm, TaskNorms, keep_task
from mola.types import BadInput, Batch

NAMES = ("a", "b", "c")
BATCHES = {
    "sorted": [0, 0, 1, 1, 1, 2, 2],
    "unsorted": [2, 0, 1, 1, 0, 2, 1],
    "a task is absent": [0, 0, 2, 2, 2],
    "one task": [1, 1, 1],
}
LAYERS = {
    "2d": (lambda: nn.BatchNorm2d(4), (4, 3, 2)),
    "1d": (lambda: nn.BatchNorm1d(4), (4,)),
    "averages over all batches": (lambda: nn.BatchNorm2d(4, momentum=None), (4, 3, 2)),
    "with activation": (lambda: BatchNormAct2d(4, act_layer=nn.LeakyReLU), (4, 3, 2)),
}


def filled(model):
    """Every BatchNorm with parameters and statistics that are not those of a fresh one."""
    for layer in model.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            nn.init.normal_(layer.weight)
            nn.init.normal_(layer.bias)
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2)
    return model


def divided(model):
    """(the model with layers of every task, the object that opens it)"""
    norms = TaskNorms(NAMES)
    return norms.divide(model), norms


def opened(norms, task):
    norms.rows.enter(None, (Batch(torch.empty(len(task)), torch.tensor(task), {}, NAMES),))


@pytest.mark.parametrize("order", BATCHES)
@pytest.mark.parametrize("kind", LAYERS)
def test_a_layer_is_one_of_each_task(kind, order):
    build, shape = LAYERS[kind]
    layer, task = filled(build()), torch.tensor(BATCHES[order])
    separate = [copy.deepcopy(layer) for _ in NAMES]
    model, norms = divided(nn.Sequential(layer))
    for mode, _ in ((True, 0), (True, 1), (False, 2)):
        for module in (model, norms, *separate):
            module.train(mode)
        x = torch.randn(len(task), *shape, requires_grad=True)
        opened(norms, BATCHES[order])
        y = model(x)
        expected = torch.empty_like(x)
        for number in task.unique().tolist():
            expected[task == number] = separate[number](x[task == number])
        torch.testing.assert_close(y, expected)
        weight = torch.randn_like(y)
        actual_gradient, expected_gradient = (
            torch.autograd.grad((z * weight).sum(), x, retain_graph=True) for z in (y, expected)
        )
        torch.testing.assert_close(actual_gradient, expected_gradient)
        (y * weight).sum().backward()
        (expected * weight).sum().backward()
    for number, name in enumerate(NAMES):
        of_task = norms.layers[0][name]
        for key, value in separate[number].state_dict().items():
            torch.testing.assert_close(of_task.state_dict()[key], value)
        for key, parameter in separate[number].named_parameters():
            actual = dict(of_task.named_parameters())[key].grad
            assert (actual is None) == (parameter.grad is None) == (number not in task)
            if actual is not None:
                torch.testing.assert_close(actual, parameter.grad)


def test_layers_start_as_those_of_the_backbone_and_are_no_parameters_of_it():
    plain = filled(timm.create_model("test_resnet", num_classes=0))
    model, norms = divided(copy.deepcopy(plain))
    layers = [module for module in plain.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(norms.layers) == len(layers) > 5
    for before, after in zip(layers, norms.layers, strict=True):
        for name in NAMES:
            assert all(torch.equal(value, after[name].state_dict()[key]) for key, value in before.state_dict().items())
    of_norms = {id(p) for layer in layers for p in layer.parameters()}
    expected = [key for key, p in plain.named_parameters() if id(p) not in of_norms]
    assert [key for key, _ in model.named_parameters()] == expected
    x = torch.randn(3, 3, 32, 32)
    opened(norms.eval(), [2, 0, 1])
    torch.testing.assert_close(model.eval()(x), plain.eval()(x))


def test_a_layer_that_stands_under_two_names_is_divided_once():
    layer = nn.BatchNorm1d(4)
    model, norms = divided(nn.Sequential(layer, nn.Linear(4, 4), layer))
    assert model[0] is model[2] and len(norms.layers) == 1


def test_a_copy_of_model_and_layers_stands_for_itself():
    class Holder(nn.Module):
        def __init__(self):
            super().__init__()
            self.model, self.norms = divided(nn.Sequential(nn.BatchNorm1d(4)))
            self.norms.follow(self)

        def forward(self, batch):
            return self.model(batch.x)

    holder = Holder().eval()
    twin = copy.deepcopy(holder)
    nn.init.constant_(twin.norms.layers[0]["a"].bias, 5)
    batch = Batch(torch.zeros(2, 4), torch.tensor([0, 1]), {}, NAMES)
    assert twin(batch)[:, 0].tolist() == [5, 0] and holder(batch)[:, 0].tolist() == [0, 0]


@pytest.mark.parametrize("task", [[2, 0, 1, 2, 0, 0], [0, 0, 0, 1, 2, 2]])
@pytest.mark.parametrize("gate", ["index", "weights", "sorted index"])
def test_under_a_gate_each_sample_has_the_norms_of_its_task(gate, task):
    model, norms = divided(filled(timm.create_model("test_resnet", num_classes=0, zero_init_last=False)))
    mola.adapt(model, experts=4, rank=2, where=r"layer[2-4]\..*conv\d")
    for layer in norms.layers:
        for of_task in layer.values():
            filled(of_task)
    for key, parameter in model.named_parameters():
        if key.endswith(".B"):
            nn.init.normal_(parameter, std=0.1)
    model.eval()
    norms.eval()
    gates = {
        "index": torch.tensor([3, 1, 0, 1, 2, 0]),
        "weights": torch.rand(6, 4),
        "sorted index": torch.arange(6) // 2,
    }
    x, experts = torch.randn(6, 3, 32, 32), gates[gate]
    opened(norms, task)
    with mola.gate(model, experts):
        together = model(x)
    for i in range(6):
        opened(norms, task[i : i + 1])
        with mola.gate(model, experts[i : i + 1]):
            torch.testing.assert_close(together[i], model(x[i : i + 1])[0], rtol=1e-4, atol=1e-4)
    opened(norms, task)
    with every_expert(model, 6):
        every = model(x).unflatten(0, (4, 6))
    for expert in range(4):
        opened(norms, task)
        with mola.gate(model, torch.full((6,), expert)):
            torch.testing.assert_close(every[expert], model(x), rtol=1e-4, atol=1e-4)


def test_rows_restrict_the_samples_until_the_block_ends():
    model, norms = divided(nn.Sequential(nn.BatchNorm1d(4)))
    for number, name in enumerate(NAMES):
        nn.init.constant_(norms.layers[0][name].bias, number)
    model.eval()
    norms.eval()
    opened(norms, [2, 0, 1, 1])
    x = torch.zeros(4, 4)
    with norms.rows.on(torch.tensor([0, 3])):
        assert model(x[:2])[:, 0].tolist() == [2, 1]
        with norms.rows.on(slice(1, 2)):
            assert model(x[:1])[:, 0].tolist() == [1]
    assert model(x)[:, 0].tolist() == [2, 0, 1, 1]


def test_only_the_layers_of_one_task_are_kept():
    model, norms = divided(nn.Sequential(nn.BatchNorm1d(4), nn.BatchNorm1d(4)))
    keep_task(model[1], "b")
    keep_task(nn.Linear(2, 2), "b")
    assert [[*layer] for layer in norms.layers] == [[*NAMES], ["b"]]
    opened(norms, [1, 1])
    assert model(torch.randn(2, 4)).shape == (2, 4)


def test_frozen_layers_stay_common_to_the_tasks():
    model = nn.Sequential(nn.BatchNorm1d(4), nn.BatchNorm1d(4))
    freeze(model[0])
    frozen = model[0]
    model, norms = divided(model)
    assert model[0] is frozen and isinstance(model[1], TaskBatchNorm) and len(norms.layers) == 1
    with pytest.raises(BadInput, match="no BatchNorm to train"):
        TaskNorms(NAMES).divide(nn.Sequential(frozen))


def test_refusals_are_one_line():
    with pytest.raises(BadInput, match=r"^norm: expected .* that has no BatchNorm to train, as Linear"):
        TaskNorms(NAMES).divide(nn.Linear(2, 2))
    model, norms = divided(nn.Sequential(nn.BatchNorm2d(4)))
    with pytest.raises(BadInput, match="inside its method alone"):
        model(torch.randn(2, 4, 3, 3))
    opened(norms, [0, 0, 1])
    with pytest.raises(BadInput, match=r"a row for each of 3 samples, found 6 rows"):
        model(torch.randn(6, 4, 3, 3))
    assert model(torch.randn(3, 4, 2, 2)).shape == (3, 4, 2, 2)
    with pytest.raises(BadInput, match=r"one value per channel of 'b', found one sample"):
        model(torch.randn(3, 4, 1, 1))
    norms.eval()
    assert model(torch.randn(3, 4, 1, 1)).shape == (3, 4, 1, 1)
    with pytest.raises(BadInput, match=r"^norm: expected shared where every image has every task"):
        norms.rows.enter(None, (Batch(torch.empty(3), None, {}, NAMES),))
    assert all(isinstance(module, TaskBatchNorm) for module in model)
