"""Loss-weighting balancers against their published formulas, written out here."""

import math

import pytest
import torch
from linear import CONFLICT, NAMES, VALUES, Problem, make, tasks, update

from mola import registry
from mola.types import BadInput


def weighted(weights, rows=CONFLICT):
    return torch.as_tensor(weights).double() @ rows


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("sum", [1, 1, 1]),
        ("mean", [1 / 3, 1 / 3, 1 / 3]),
        ("si", [1 / 0.5, 1 / 2.0, 1 / 1.2]),  # d log L = dL / L
        ("dwa", [1, 1, 1]),  # no history yet
        ("uw", [1, 1, 1]),  # s = 0
        ("imtl_l", [1, 1, 1]),
        ("gradnorm", [1, 1, 1]),
    ],
)
def test_first_update(name, weights):
    torch.testing.assert_close(update(name, CONFLICT, VALUES), weighted(weights))


def test_static_weights_by_name():
    torch.testing.assert_close(update("static", CONFLICT, weights={"a": 2.0, "c": 0.0}), weighted([2, 1, 0]))
    with pytest.raises(BadInput, match=r"balancer\.weights: expected names of a, b, c, found 'd'"):
        make("static", 3, weights={"d": 1.0})


def test_rlw_draws_from_the_simplex_anew():
    problem, balancer = Problem(torch.eye(3)), make("rlw", 3)
    draws = torch.stack([problem.update(balancer)[0] for _ in range(400)])
    torch.testing.assert_close(draws.sum(1), torch.ones(400).double())
    assert (draws > 0).all()
    assert draws.unique(dim=0).shape == draws.shape
    assert (draws.mean(0) - 1 / 3).abs().max() < 0.05
    logs = draws.log() - draws.log().mean(1, keepdim=True)  # of a softmax of N(0, 1): centred normals
    assert abs(float(logs.var()) - 2 / 3) < 0.1


def test_dwa_follows_the_rates_of_two_epochs():
    balancer = make("dwa", 2, temperature=2.0)
    for values in ([[4.0, 1.0], [2.0, 3.0]], [[1.5, 1.0], [0.5, 1.0]]):
        for value in values:
            first = Problem(torch.eye(3)[:2], value).update(balancer)[0]
        balancer.end_epoch()
    torch.testing.assert_close(first[:2], torch.ones(2).double())
    rates = [1.0 / 3.0, 1.0 / 2.0]
    scores = [math.exp(rate / 2.0) for rate in rates]
    expected = torch.tensor([2 * score / sum(scores) for score in scores]).double()
    torch.testing.assert_close(Problem(torch.eye(3)[:2]).update(balancer)[0][:2], expected)


def test_dwa_of_the_tasks_present():
    """b misses a whole epoch: its rate is of its own last two, and the softmax runs over those who are there."""
    balancer = make("dwa", 3, temperature=2.0)
    for names, values in (("abc", [4.0, 2.0, 3.0]), ("abc", [2.0, 3.0, 3.0]), ("ac", [1.0, 1.5])):
        Problem(torch.eye(3)[["abc".index(name) for name in names]], values, tuple(names)).update(balancer)
        balancer.end_epoch()
    rates = {"a": 1.0 / 2.0, "b": 3.0 / 2.0, "c": 1.5 / 3.0}
    for names in ("abc", "ab", "bc"):
        scores = torch.tensor([math.exp(rates[name] / 2.0) for name in names]).double()
        rows = torch.eye(3)[: len(names)]
        result = Problem(rows, names=tuple(names)).update(balancer)[0][: len(names)]
        torch.testing.assert_close(result, len(names) * scores / scores.sum())


@pytest.mark.parametrize(
    ("name", "kind", "weight", "slope"),
    [
        ("uw", "classes", lambda s: math.exp(-s), lambda s, loss: -math.exp(-s) * loss + 0.5),
        ("uw", "depth", lambda s: 0.5 * math.exp(-s), lambda s, loss: -0.5 * math.exp(-s) * loss + 0.5),
        ("imtl_l", "classes", lambda s: math.exp(s), lambda s, loss: math.exp(s) * loss - 1),
    ],
)
def test_learnt_scales(name, kind, weight, slope):
    balancer, s = registry.load("balancers", name).create(tasks(3, kind)), [0.3, -0.2, 0.7]
    with torch.no_grad():
        for parameter, value in zip(balancer.parameters(), s, strict=True):
            parameter.fill_(value)
    update, private = Problem(CONFLICT, VALUES).update(balancer)
    torch.testing.assert_close(update, weighted([weight(v) for v in s]), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(
        private, torch.tensor([(1 + t) * weight(v) for t, v in enumerate(s)]).double(), rtol=1e-6, atol=1e-6
    )
    slopes = torch.stack([p.grad for p in balancer.parameters()]).double()
    expected = torch.tensor([slope(v, float(x)) for v, x in zip(s, VALUES, strict=True)]).double()
    torch.testing.assert_close(slopes, expected, rtol=1e-6, atol=1e-6)


def test_an_absent_tasks_scale_has_no_gradient():
    balancer = make("uw", 3)
    Problem(CONFLICT[:2], names=("a", "c")).update(balancer)
    a, b, c = balancer.parameters()
    assert a.grad is not None and b.grad is None and c.grad is not None


def adam_steps(start, gradients, lr, decay=0.0):
    """Kingma and Ba's Adam on numbers: the value after each gradient."""
    value, m, v, result = start, 0.0, 0.0, []
    for n, gradient in enumerate(gradients, start=1):
        total = gradient + decay * value
        m, v = 0.9 * m + 0.1 * total, 0.999 * v + 0.001 * total**2
        value -= lr * (m / (1 - 0.9**n)) / (math.sqrt(v / (1 - 0.999**n)) + 1e-8)
        result.append(value)
    return result


def test_gradnorm_descends_on_the_published_objective():
    """∂/∂w of Σ_t |w_t n_t − target_t|, by autograd on weights that stand in the loss, target constant."""
    alpha, lr = 1.5, 0.1
    balancer = make("gradnorm", 3, alpha=alpha, lr=lr)
    rows = CONFLICT
    Problem(rows, VALUES).update(balancer)
    later = torch.tensor([0.4, 1.9, 0.3]).double()
    problem = Problem(rows, later)
    norms = rows[:, :2].norm(dim=1)  # the shared matrix; the vector counts as a bias

    w, slopes = torch.ones(3).double(), []
    for values in (VALUES, later):
        leaf = w.clone().requires_grad_()
        ratio = values / VALUES
        target = ((w * norms).mean() * (ratio / ratio.mean()) ** alpha).detach()
        (leaf * norms - target).abs().sum().backward()
        slopes.append(leaf.grad)
        # scaling by T/Σw afterwards enters the next step's value, so Adam is followed by hand
        steps = [adam_steps(0.0, [float(s[t]) for s in slopes], lr) for t in range(3)]
        moved = torch.tensor([s[-1] - (s[-2] if len(s) > 1 else 0.0) for s in steps]).double()
        w = (w + moved).clamp(min=0)
        w = w * 3 / w.sum()
    problem.update(balancer)
    torch.testing.assert_close(problem.update(balancer)[0], w @ rows, rtol=1e-5, atol=1e-5)


def test_gradnorm_reads_the_shared_weight_nearest_to_the_losses():
    from mola.balancers.gradnorm import last_shared

    first, norm, last, head = torch.nn.Linear(3, 4), torch.nn.LayerNorm(4), torch.nn.Linear(4, 4), torch.nn.Linear(4, 1)
    shared = [*last.parameters(), *first.parameters(), *norm.parameters()]  # the list's order says nothing
    loss = head(norm(last(torch.relu(first(torch.randn(2, 3))))).relu()).sum()
    assert [id(p) for p in last_shared({"a": loss}, shared)] == [id(last.weight)]
    assert last_shared({"a": loss}, []) == []


def test_gradnorm_reads_a_weight_that_every_loss_reaches():
    from mola.balancers.gradnorm import last_shared

    first, middle, last = (torch.nn.Linear(3, 3) for _ in range(3))
    shared = [p for layer in (first, middle, last) for p in layer.parameters()]
    z = middle(first(torch.randn(2, 3)).relu()).relu()
    long, early = last(z).relu(), z.sum()  # b parts before the last layer
    losses = {"a": long.sum(), "b": early, "c": torch.nn.Linear(3, 1)(long.relu().tanh()).sum()}
    for names in ("abc", "cba", "bac"):
        assert [id(p) for p in last_shared({n: losses[n] for n in names}, shared)] == [id(middle.weight)]
    for names in ("ac", "ca"):
        assert [id(p) for p in last_shared({n: losses[n] for n in names}, shared)] == [id(last.weight)]
    apart = {"a": first(torch.randn(2, 3)).sum(), "b": last(torch.randn(2, 3)).sum()}
    assert last_shared(apart, shared) == []


def test_famo_weighs_logarithms_and_follows_how_fast_they_fall():
    lr, decay = 0.1, 0.01
    balancer, rows = make("famo", 3, lr=lr, decay=decay), CONFLICT
    z = torch.ones(3).double() / 3
    c = 1 / (z / VALUES).sum()
    torch.testing.assert_close(Problem(rows, VALUES).update(balancer)[0], (c * z / VALUES) @ rows, rtol=1e-6, atol=1e-6)

    later = torch.tensor([0.1, 1.9, 1.3]).double()
    xi = torch.zeros(3).double().requires_grad_()
    (xi.softmax(0) @ (VALUES.log() - later.log())).backward()
    xi = torch.tensor([adam_steps(0.0, [float(g)], lr, decay)[0] for g in xi.grad]).double()
    z = xi.softmax(0)
    assert z.argmin() == 0  # it fell most
    c = 1 / (z / later).sum()
    torch.testing.assert_close(Problem(rows, later).update(balancer)[0], (c * z / later) @ rows, rtol=1e-5, atol=1e-5)


def test_famo_takes_a_loss_of_zero_for_an_absent_task():
    zero, absent = make("famo", 3), make("famo", 3)
    rows = torch.cat([CONFLICT[:2], torch.zeros(1, 4).double()])
    for values in (VALUES, torch.tensor([0.4, 1.9, 0.0]).double(), torch.tensor([0.3, 1.5, 1.1]).double()):
        if values[2] > 0:
            one, other = (Problem(CONFLICT, values).update(balancer)[0] for balancer in (zero, absent))
        else:
            one = Problem(rows, values).update(zero)[0]
            other = Problem(CONFLICT[:2], values[:2], names=("a", "b")).update(absent)[0]
        torch.testing.assert_close(one, other)
        torch.testing.assert_close(zero.xi.of(NAMES[:3]), absent.xi.of(NAMES[:3]))
        assert one.norm() > 0.1
    assert float(zero.before["c"]) == pytest.approx(math.log(1.1))
    before = zero.xi.of(NAMES[:3])
    assert torch.equal(Problem(torch.zeros(3, 4), [0.0] * 3).update(zero)[0], torch.zeros(4).double())
    assert torch.equal(zero.xi.of(NAMES[:3]), before)


def test_famo_and_gradnorm_leave_absent_tasks_alone():
    for name in ("famo", "gradnorm"):
        balancer = make(name, 3)
        Problem(CONFLICT, VALUES).update(balancer)
        stepped = balancer.xi if name == "famo" else balancer.w
        before = stepped.of(NAMES[:3])
        Problem(CONFLICT[:2], [0.1, 0.2], names=("a", "b")).update(balancer)
        after = stepped.of(NAMES[:3])
        assert stepped.adam.state[stepped.values["c"]].get("step", 0) <= 1
        assert not torch.equal(before[:2], after[:2])
        assert before[2] == after[2]
        if name == "gradnorm":  # those present keep their own sum
            assert float(after.sum()) == pytest.approx(3.0)


def test_gradnorm_weights_stay_positive_and_keep_their_sum():
    """Through batches of every pair, at a rate that drives some of them to the floor."""
    balancer = make("gradnorm", 3, lr=0.7)
    generator = torch.Generator().manual_seed(0)
    for _ in range(60):
        pair = sorted(torch.randperm(3, generator=generator)[:2].tolist())
        absent = NAMES[({0, 1, 2} - set(pair)).pop()]
        kept = balancer.w.of([absent])
        values = torch.rand(2, generator=generator) + 0.1
        Problem(CONFLICT[pair], values, names=tuple(NAMES[i] for i in pair)).update(balancer)
        assert torch.equal(balancer.w.of([absent]), kept)
        w = balancer.w.of(NAMES[:3])
        assert (w > 0).all() and float(w.sum()) == pytest.approx(3.0, abs=1e-5)


def test_si_does_not_feel_scale():
    torch.testing.assert_close(
        update("si", CONFLICT * torch.tensor([[7.0], [1.0], [0.1]]), VALUES * torch.tensor([7.0, 1.0, 0.1])),
        update("si", CONFLICT, VALUES),
    )
    assert update("si", CONFLICT, [0.0, 1.0, 1.0]).isfinite().all()
