"""Opening a gate: nesting, copies, and gates that don't fit."""

import asyncio
import copy
import io
import threading

import pytest
import torch
from networks import MIXED, gradients
from reference import filled
from torch import nn

import mola
from mola.layers.adapter import LowRankConv2d


def test_no_gate_is_an_error_that_says_what_to_do(layer, x):
    with pytest.raises(RuntimeError, match=r"with mola\.gate\(model, gate\)"):
        layer(x)


def test_gates_nest_and_close_under_exceptions(layer, x):
    zero, two = torch.tensor([0, 0]), torch.tensor([2, 2])
    with mola.gate(layer, zero):
        outer = layer(x)
        with mola.gate(layer, two):
            inner = layer(x)
        assert torch.equal(layer(x), outer)
        with pytest.raises(KeyError), mola.gate(layer, two):
            raise KeyError
        assert torch.equal(layer(x), outer)
        with torch.no_grad():
            assert torch.equal(layer(x), outer)
    assert not torch.equal(inner, outer)
    with pytest.raises(RuntimeError):
        layer(x)


def test_a_gate_of_another_length(layer, x):
    for gate in (torch.tensor([0, 1, 2]), torch.rand(3, 3)):
        with pytest.raises(ValueError, match="found 3 for 2"), mola.gate(layer, gate):
            layer(x)


def test_a_model_without_adapters():
    with pytest.raises(ValueError, match=r"call mola\.adapt\(model"), mola.gate(nn.Linear(2, 2), torch.tensor([0])):
        pass


def test_a_gate_on_the_whole_reaches_the_adapted_part(x):
    whole = nn.Sequential(
        mola.adapt(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4)), experts=2, rank=1), nn.Linear(4, 1)
    )
    with mola.gate(whole, torch.tensor([1, 0])):
        assert whole(x).shape == (2, 1)


def test_a_copy_has_a_gate_of_its_own_and_pickles(layer, x):
    with mola.gate(layer, torch.tensor([0, 1])):
        twin = copy.deepcopy(layer)
        with pytest.raises(RuntimeError):
            twin(x)
        expected = layer(x)
    buffer = io.BytesIO()
    torch.save(twin, buffer)
    buffer.seek(0)
    loaded = torch.load(buffer, weights_only=False)
    with mola.gate(loaded, torch.tensor([0, 1])):
        assert torch.equal(loaded(x), expected)
    assert set(layer.state_dict()) == {"weight", "bias", "A", "B"}


def test_copies_of_a_model_share_no_slot_but_their_layers_do():
    model = mola.adapt(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)), experts=2, rank=1)
    twin = copy.deepcopy(model)
    assert model[0].slot is model[1].slot
    assert twin[0].slot is twin[1].slot
    assert twin[0].slot is not model[0].slot


@pytest.mark.parametrize("gate", [torch.zeros(0, dtype=torch.int64), torch.zeros(0, 3)], ids=["index", "weights"])
def test_an_empty_batch(layer, gate):
    with mola.gate(layer, gate):
        assert layer(torch.zeros(0, 4)).shape == (0, 5)
    convolution = filled(LowRankConv2d(nn.Conv2d(4, 5, 3), 3, 2))
    with mola.gate(convolution, gate):
        assert convolution(torch.zeros(0, 4, 8, 8)).shape == (0, 5, 6, 6)


def test_a_single_image_without_batch_axis_is_refused():
    """With C_in experts' worth of indices it would otherwise pass for a batch."""
    convolution = filled(LowRankConv2d(nn.Conv2d(4, 5, 3), 3, 2))
    gate = torch.zeros(4, dtype=torch.int64)
    with mola.gate(convolution, gate), pytest.raises(ValueError, match=r"\(B, C, H, W\), found \(4, 8, 8\)"):
        convolution(torch.zeros(4, 8, 8))


def test_replicas_have_gates_of_their_own(layer, x):
    replica = layer._replicate_for_data_parallel()
    with mola.gate(layer, torch.tensor([0, 1])):
        assert replica.slot.opened is None
        expected = layer(x)
    for name, parameter in layer.named_parameters():  # as torch.nn.parallel.replicate leaves it
        setattr(replica, name, parameter.detach())
    assert not list(replica.parameters())
    with mola.gate(replica, torch.tensor([0, 1])):
        assert torch.equal(replica(x), expected)


@pytest.mark.parametrize(
    ("gate", "plan"),
    [(MIXED, "grouped"), (MIXED, "separate"), (torch.rand(6, 3), "factored")],
    ids=lambda v: str(v)[:8],
)
def test_backward_keeps_its_precision_under_autocast(gate, plan):
    model = mola.adapt(nn.Sequential(nn.Conv2d(4, 6, 3), nn.Flatten(2), nn.Linear(9, 5)), experts=3, rank=2, plan=plan)
    filled(model[0])
    filled(model[2])
    x = torch.randn(6, 4, 5, 5)
    with mola.gate(model, gate):
        expected, y = gradients(model, model(x)), model(x)
        with torch.autocast("cpu", torch.bfloat16):
            actual = gradients(model, y)
    for one, other in zip(actual, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_a_gate_of_another_length_stops_before_any_computation():
    model = mola.adapt(nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 3)), experts=3, rank=1)
    for gate in (MIXED, torch.rand(6, 3)):
        with mola.gate(model, gate), pytest.raises(ValueError, match="found 6 for 5 samples"):
            model(torch.randn(5, 4))
    assert model[0].num_batches_tracked == 0


def outputs(layer, x, expert):
    with mola.gate(layer, torch.tensor([expert] * len(x))):
        return layer(x)


def test_threads_have_gates_of_their_own(layer, x):
    expected = [outputs(layer, x, expert) for expert in range(3)]
    wrong, start = [], threading.Barrier(3)

    def work(expert):
        start.wait()
        for _ in range(100):
            if not torch.equal(outputs(layer, x, expert), expected[expert]):
                wrong.append(expert)

    threads = [threading.Thread(target=work, args=(expert,)) for expert in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    with pytest.raises(RuntimeError, match="open gate"):
        layer(x)


def test_a_thread_sees_no_gate_of_the_one_that_started_it(layer, x):
    errors = []

    def work():
        try:
            layer(x)
        except RuntimeError as error:
            errors.append(str(error))

    with mola.gate(layer, torch.tensor([0, 1])):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        assert layer(x).shape == (2, 5)
    assert len(errors) == 1 and "open gate" in errors[0]


def test_asyncio_tasks_have_gates_of_their_own(layer, x):
    async def work(expert):
        with mola.gate(layer, torch.tensor([expert] * 2)):
            outputs_of_task = []
            for _ in range(5):
                await asyncio.sleep(0)
                outputs_of_task.append(layer(x))
            return outputs_of_task

    async def all_of_them():
        return await asyncio.gather(*(work(expert) for expert in range(3)))

    for expert, outputs_of_task in enumerate(asyncio.run(all_of_them())):
        assert all(torch.equal(y, outputs(layer, x, expert)) for y in outputs_of_task)


def test_generators_may_end_in_any_order(layer, x):
    def generator(expert):
        with mola.gate(layer, torch.tensor([expert] * 2)):
            while True:
                yield layer(x)

    one, two = generator(1), generator(2)
    assert torch.equal(next(one), outputs(layer, x, 1))
    assert torch.equal(next(two), outputs(layer, x, 2))
    with mola.gate(layer, torch.tensor([0, 0])):
        one.close()
        assert torch.equal(layer(x), outputs(layer, x, 0))
        two.close()
        assert torch.equal(layer(x), outputs(layer, x, 0))
    with pytest.raises(RuntimeError, match="open gate"):
        layer(x)


def test_a_gate_that_another_thread_closes_is_closed(layer, x):
    def generator():
        with mola.gate(layer, torch.tensor([1, 1])):
            yield

    opened = generator()
    next(opened)
    thread = threading.Thread(target=opened.close)
    thread.start()
    thread.join()
    with pytest.raises(RuntimeError, match="open gate"):
        layer(x)


def test_experts_may_have_names(x):
    model = mola.adapt(nn.Sequential(nn.Linear(4, 5)), experts=["photo", "sketch", "cartoon"], rank=2)
    filled(model[0])
    with mola.gate(model, torch.tensor([2, 0])):
        expected = model(x)
    for twin in (model, copy.deepcopy(model)):
        with mola.gate(twin, ["cartoon", "photo"]):
            assert torch.equal(twin(x), expected)
    torch.testing.assert_close(mola.export(model, "photo")(x)[1], expected[1])
    with (
        pytest.raises(ValueError, match="expected names among photo, sketch, cartoon, found 'foto'"),
        mola.gate(model, ["foto", "photo"]),
    ):
        pass
    with pytest.raises(ValueError, match="export: expected one of photo, sketch, cartoon, found 'foto'"):
        mola.export(model, "foto")
    nameless = mola.adapt(nn.Sequential(nn.Linear(4, 5)), experts=3, rank=2)
    with pytest.raises(ValueError, match="the experts have no names"), mola.gate(nameless, ["photo", "photo"]):
        pass


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_are_finite_of_any_sign_and_any_sum(layer, x, value):
    weights = torch.tensor([[0.5, -2.0, 10.0], [0.1, 0.2, value]])
    with (
        pytest.raises(ValueError, match=r"gate: expected finite weights, found .* for sample 1"),
        mola.gate(layer, weights),
    ):
        pass
    weights[1, 2] = 3e38
    weights[0, 2] = 3e38
    with mola.gate(layer, weights):
        assert layer(x).shape == (2, 5)
