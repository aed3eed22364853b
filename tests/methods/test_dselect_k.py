"""DSelect-k: gates and the auxiliary loss by hand, and which experts run."""

import pytest
import torch
from building import TASKS, batch_of_mixed_tasks, build

from mola.methods.dselect_k import Gate
from mola.types import BadInput


@pytest.fixture
def batch():
    return batch_of_mixed_tasks()


def gate(z, w, experts, gamma=1.0):
    static = Gate(experts, len(w), gamma, None)
    static.z.value.data, static.w.value.data = torch.tensor(z).flatten(), torch.tensor(w)
    return static


def test_gate_values_by_hand():
    # S(0.25) = 1/2 + 3/2·1/4 − 2/64 = 27/32; S(−0.1) = 1/2 − 0.15 + 0.002 = 0.352; S(0) = 1/2; S(9) = 1
    weights, selectors = gate([[0.25, -0.1], [0.0, 9.0]], [0.0, 1.0], 4)(torch.zeros(1, 0))
    s, u = 27 / 32, 0.352
    expected = torch.tensor([[(1 - s) * (1 - u), s * (1 - u), (1 - s) * u, s * u], [0, 0, 0.5, 0.5]])
    torch.testing.assert_close(selectors[0], expected)
    first = 1 / (1 + torch.tensor(1.0).exp())
    torch.testing.assert_close(weights[0], first * expected[0] + (1 - first) * expected[1])
    _, wider = gate([[0.5, -0.2], [0.0, 9.0]], [0.0, 1.0], 4, gamma=2.0)(torch.zeros(1, 0))
    torch.testing.assert_close(wider, selectors)  # only z / γ counts


@pytest.mark.parametrize("experts", [3, 4, 5, 8])
def test_codes_of_integers_are_exactly_k_experts(experts):
    bits = (experts - 1).bit_length()
    signs = [[1.0 if number >> bit & 1 else -1.0 for bit in range(bits)] for number in (2, 0)]
    static = gate([[0.5 * sign for sign in row] for row in signs], [0.3, -0.2], experts)
    weights, selectors = static(torch.zeros(2, 0))
    assert selectors[0].tolist() == torch.eye(experts)[[2, 0]].tolist()
    assert (weights > 0).sum(1).tolist() == [2, 2]
    torch.testing.assert_close(weights.sum(1), torch.ones(2))
    weights[0, 2].backward()
    assert static.z.value.grad.eq(0).all() and static.w.value.grad.ne(0).all()  # the choice rests, its weights do not


def test_aux_loss_by_hand():
    half = torch.tensor(0.5)
    method = build("dselect_k", TASKS, entropy=0.1, experts=4)
    for of_task in method.gates.values():
        of_task.z.value.data.zero_()
    uniform = 3 * 2 * 0.1 * 2 * -half.log()  # tasks, selectors, λ, log 4
    assert method._regularisation(method.gates["a"](torch.zeros(5, 0))[1]).item() == pytest.approx(
        uniform.item() / 3, rel=1e-4
    )
    method = build("dselect_k", TASKS, entropy=0.0, experts=3)
    for of_task in method.gates.values():
        of_task.z.value.data.zero_()  # 3/4 of each selector's weight reaches an expert
    assert method._regularisation(method.gates["a"](torch.zeros(5, 0))[1]).item() == pytest.approx(2 * 4 / 3)


def test_entropy_and_reachability_drive_selectors_to_single_experts():
    method = build("dselect_k", TASKS, entropy=1.0, experts=3)
    of_task = method.gates["a"]
    optimizer = torch.optim.Adam(of_task.parameters(), lr=0.05)
    for _ in range(100):
        optimizer.zero_grad()
        method._regularisation(of_task(torch.zeros(1, 0))[1]).backward()
        optimizer.step()
    weights, selectors = of_task(torch.zeros(1, 0))
    assert selectors.max(2).values.eq(1).all()
    assert weights.sum().item() == pytest.approx(1)


@pytest.mark.parametrize("gates", ["static", "sample"])
def test_experts_without_weight_do_not_run_in_evaluation(gates, batch):
    method = build("dselect_k", TASKS, experts=4, top_k=1, gates=gates).eval()
    chosen = {"a": 1, "b": 1, "c": 3}
    for name, expert in chosen.items():
        of_task = method.gates[name].z
        bias = of_task.value if gates == "static" else of_task.bias
        bias.data = torch.tensor([9.0 if expert >> bit & 1 else -9.0 for bit in range(2)])
    sizes = {}
    for number, expert in enumerate(method.experts):
        expert.register_forward_pre_hook(lambda module, args, number=number: sizes.update({number: len(args[0])}))
    predictions = method(batch).predictions
    assert sizes == {1: 6, 3: 3}
    for name, expert in chosen.items():
        features = method.experts[expert](batch.x[batch.rows(name)])
        torch.testing.assert_close(predictions[name], method.heads.tasks[name](features), rtol=1e-4, atol=1e-5)
    method.train()(batch)
    assert sizes == dict.fromkeys(range(4), 9)


def test_aux_loss_in_training_alone_and_k_within_the_experts(batch):
    assert build("dselect_k", TASKS, experts=4)(batch).aux_loss > 0
    assert build("dselect_k", TASKS, experts=4).eval()(batch).aux_loss is None
    with pytest.raises(BadInput, match="top_k: expected at most the number of experts, 4, found 5"):
        build("dselect_k", TASKS, experts=4, top_k=5)


def test_one_expert_is_hard_sharing(batch):
    one, plain = build("dselect_k", TASKS, experts=1, top_k=1).eval(), build("shared", TASKS).eval()
    one.heads.load_state_dict(plain.heads.state_dict())
    one, plain = one(batch).predictions, plain(batch).predictions
    for name in batch.y:
        torch.testing.assert_close(one[name], plain[name], rtol=1e-4, atol=1e-5)
