"""Jacobian balancers against their published formulas, worked out here by other means: general solvers on the vectors
themselves where the code works on inner products.
"""

import itertools
import math

import numpy as np
import pytest
import torch
from linear import AGREE, CONFLICT, VALUES, Problem, make, update
from scipy.optimize import minimize, root

from mola.types import BadInput

BOTH = pytest.mark.parametrize("rows", [CONFLICT, AGREE], ids=["conflict", "agree"])
SCALED = CONFLICT * torch.tensor([[30.0], [0.01], [1.0]])


def solve(objective, start, constraints, bounds=None):
    result = minimize(
        objective,
        start,
        method="SLSQP",
        constraints=constraints,
        bounds=bounds,
        options={"maxiter": 2000, "ftol": 1e-13},
    )
    # 8: no step is downhill to the precision of its differences; where that is depends on the processor
    assert result.success or result.status == 8, result.message
    return result.x


def min_norm(g):
    """The shortest vector of the convex hull of the rows."""
    size = len(g)
    on_simplex = {"type": "eq", "fun": lambda a: a.sum() - 1}
    return solve(lambda a: ((a @ g) ** 2).sum(), np.ones(size) / size, on_simplex, [(0, 1)] * size) @ g


def close(actual, expected, tolerance=1e-4):
    torch.testing.assert_close(actual, torch.as_tensor(np.asarray(expected)).double(), rtol=tolerance, atol=tolerance)


@BOTH
def test_mgda_is_the_min_norm_point(rows):
    close(update("mgda", rows), min_norm(rows.numpy()), 5e-3)  # Frank-Wolfe stops early


def test_mgda_normalises_for_the_search_alone():
    g, values = CONFLICT[:2].numpy(), VALUES[:2].numpy()
    for normalisation, factor in {
        "l2": 1 / np.linalg.norm(g, axis=1),
        "loss": 1 / values,
        "loss+": 1 / values / np.linalg.norm(g, axis=1),
    }.items():
        small = g * factor[:, None]
        # two vectors: the foot of the perpendicular, in closed form
        difference = small[0] - small[1]
        a = np.clip(-(small[1] @ difference) / (difference @ difference), 0, 1)
        close(update("mgda", CONFLICT[:2], VALUES[:2], normalisation=normalisation), a * g[0] + (1 - a) * g[1])


@pytest.mark.parametrize("normalisation", ["loss", "loss+"])
def test_mgda_with_a_loss_of_zero_that_has_a_gradient(normalisation):
    """Over its loss the gradient is endless: the shortest combination is the other's."""
    close(update("mgda", CONFLICT[:2], [0.0, 2.0], normalisation=normalisation), CONFLICT[1])


@BOTH
@pytest.mark.parametrize("c", [0.0, 0.4, 0.9])
def test_cagrad_maximises_the_worst_improvement_in_the_ball(rows, c):
    pytest.importorskip("cvxpy")
    g = rows.numpy()
    mean = g.mean(0)
    radius = c * np.linalg.norm(mean)
    # over (d, m): maximise m with g_t·d ≥ m and ‖d − g_0‖ ≤ radius
    constraints = [
        {"type": "ineq", "fun": lambda v: g @ v[:-1] - v[-1]},
        {"type": "ineq", "fun": lambda v: radius**2 - ((v[:-1] - mean) ** 2).sum() + 1e-14},
    ]
    start = np.append(mean, (g @ mean).min())
    expected = mean if c == 0 else solve(lambda v: -v[-1], start, constraints)[:-1]
    close(update("cagrad", rows, c=c), expected, 2e-3)


@pytest.mark.parametrize("ratio", [1e-2, 1e-4, 1e-6])
def test_cagrad_hears_a_small_gradient(ratio):
    """The worst improvement in the ball is the small one's everywhere, so d leaves the mean along it."""
    pytest.importorskip("cvxpy")
    small = np.array([0.6, 0.8, 0.0])
    g = np.array([[1.0, 0.0, 0.0], ratio * small])
    mean = g.mean(0)
    expected = mean + 0.4 * np.linalg.norm(mean) * small
    close(update("cagrad", g), expected, 1e-6)
    alpha = make("cagrad", 2).alpha(torch.tensor(g).float(), dict.fromkeys("ab", torch.tensor(1.0)))
    close(alpha.double(), [0.5, 0.5 + 0.4 * np.linalg.norm(mean) / ratio], 1e-5)


def test_cagrad_stands_still_where_gradients_cancel():
    pytest.importorskip("cvxpy")
    generator = torch.Generator().manual_seed(0)
    first, other = torch.linalg.qr(torch.randn(50, 2, generator=generator)).Q.T
    for noise in (0.0, 1e-7):  # two opposite gradients, and a third that no weight on them improves
        opposite = -first * (1 + noise * torch.randn(50, generator=generator))
        rows = torch.stack([first, opposite, other])
        assert make("cagrad", 3).alpha(rows, dict.fromkeys("abc", torch.tensor(1.0))).tolist() == [0.0, 0.0, 0.0]


def test_cagrad_without_its_solver_names_the_extra(monkeypatch):
    from mola.balancers import cagrad

    monkeypatch.setattr(cagrad, "find_spec", lambda name: None)
    with pytest.raises(
        BadInput, match=r"cagrad: expected .*cvxpy and clarabel, found .*pip install 'mola-bench\[solvers\]'"
    ):
        make("cagrad", 2)


@BOTH
def test_imtl_g_projects_equally_on_all(rows):
    """The paper's closed form: α_2…T = g_1 Uᵀ (D Uᵀ)^−1 with D = g_1 − g_t, U = u_1 − u_t."""
    g = rows.numpy()
    unit = g / np.linalg.norm(g, axis=1, keepdims=True)
    d, u = g[:1] - g[1:], unit[:1] - unit[1:]
    others = g[0] @ u.T @ np.linalg.inv(d @ u.T)
    alpha = np.append(1 - others.sum(), others)
    close(update("imtl_g", rows), alpha @ g)
    projections = unit @ update("imtl_g", rows).numpy()
    assert np.ptp(projections) < 1e-8


@pytest.mark.parametrize("ratio", [1e-1, 5e-4, 1e-6])
@pytest.mark.parametrize("rows", [torch.eye(4)[:3].double(), CONFLICT], ids=["orthogonal", "conflict"])
def test_imtl_g_hears_a_small_gradient(rows, ratio):
    rows = rows * torch.tensor([[1.0], [ratio], [1.0]]).double()
    alpha = make("imtl_g", 3).alpha(rows.float(), dict.fromkeys("abc", torch.tensor(1.0))).double()
    expected = np.linalg.solve((rows @ rows.T).numpy(), rows.norm(dim=1).numpy())
    close(alpha, expected / expected.sum())
    if ratio == 5e-4 and rows[1, 0] == 0:
        close(alpha, [0.0005, 0.999, 0.0005], 1e-5)


def test_imtl_g_of_gradients_that_depend_on_each_other():
    projections = torch.tensor([[1.0, 0.0], [0.0, 1e-3], [1.0, 0.0]])
    close(
        make("imtl_g", 3).alpha(projections, dict.fromkeys("abc", torch.tensor(1.0))).double(),
        np.array([0.5, 1e3, 0.5]) / 1001,
    )
    assert update("imtl_g", [[1.0, 2.0, 0.0], [-3.0, -6.0, 0.0]]).abs().max() == 0


@pytest.mark.parametrize("rows", [CONFLICT, AGREE, SCALED], ids=["conflict", "agree", "scaled"])
def test_nash_mtl_is_the_bargaining_solution(rows):
    g = rows.numpy()
    m = g @ g.T
    # in logarithms, where α > 0 by itself
    result = root(
        lambda a: np.log(m @ np.exp(a)) + a if (m @ np.exp(a) > 0).all() else np.full(len(a), 1e3),
        -0.5 * np.log(np.diag(m)),
        tol=1e-13,
    )
    assert result.success
    close(update("nash_mtl", rows), np.exp(result.x) @ g)


@BOTH
@pytest.mark.parametrize("factor", [1e-3, 1.0, 10.0, 100.0])
def test_nash_mtl_has_the_length_of_the_root_of_the_number_of_tasks(rows, factor):
    """‖Gᵀα‖² = αᵀ G Gᵀ α = Σ_t α_t/α_t = T."""
    for number in (2, 3):
        assert float(update("nash_mtl", factor * rows[:number]).norm()) == pytest.approx(math.sqrt(number), rel=1e-5)


def test_nash_mtl_where_gradients_cancel():
    assert update("nash_mtl", [[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]]).abs().max() < 1e-3


@BOTH
@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0])
def test_fairgrad_solves_its_equation_at_its_scale(rows, alpha):
    g = 0.03 * rows.numpy()
    d = update("fairgrad", 0.03 * rows, alpha=alpha).numpy()
    w = np.linalg.lstsq(g.T, d, rcond=None)[0]
    assert (w > 0).all()
    np.testing.assert_allclose(g @ d, w ** (-1 / alpha), rtol=1e-3)


@BOTH
@pytest.mark.parametrize("ratio", [1e-4, 1e-6])
@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0])
def test_fairgrad_solves_its_equation_for_a_small_gradient(rows, ratio, alpha):
    g = rows * torch.tensor([[1.0], [ratio], [0.5]])
    w = make("fairgrad", 3, alpha=alpha).alpha(g, dict.fromkeys("abc", torch.tensor(1.0)))
    assert (w > 0).all()
    close((g @ g.T @ w) * w ** (1 / alpha), np.ones(3))


@BOTH
@pytest.mark.parametrize("scale", ["min", "median", "rmse"])
def test_aligned_mtl_makes_the_singular_values_equal(rows, scale):
    """From the singular values of G itself: Ĝ = σ U Vᵀ, d = Σ_t ĝ_t."""
    u, s, v = np.linalg.svd(rows.numpy(), full_matrices=False)
    sigma = {"min": s.min(), "median": math.sqrt(np.median(s**2)), "rmse": math.sqrt((s**2).mean())}[scale]
    close(update("aligned_mtl", rows, scale=scale), (sigma * u @ v).sum(0))


def test_aligned_mtl_of_gradients_that_depend_on_each_other():
    """Rank 2 in fp32: the null space must not set the scale."""
    rows = torch.tensor([[1.0, 0.0, 0.3], [0.0, 1.0, 0.1], [1.0, 1.0, 0.4]])
    u, s, v = np.linalg.svd(rows.numpy().astype(float))
    expected = (s[1] * u[:, :2] @ v[:2]).sum(0)
    balancer = make("aligned_mtl", 3)
    close(balancer.combine(rows, dict.fromkeys("abc", torch.tensor(1.0))).double(), expected)


@pytest.mark.parametrize(("length", "heard"), [(1e-3, True), (3e-4, False)])
def test_aligned_mtl_hears_a_gradient_down_to_the_precision_of_fp32(length, heard):
    rows = torch.diag(torch.tensor([1.0, 1.0, 1.0, length]))
    d = make("aligned_mtl", 4).combine(rows, dict.fromkeys("abcd", torch.tensor(1.0)))
    close(d.double(), np.full(4, length) if heard else np.array([1.0, 1.0, 1.0, 0.0]))


@BOTH
def test_upgrad_averages_projections_onto_the_dual_cone(rows):
    g = rows.numpy()
    inside = {"type": "ineq", "fun": lambda x: g @ x}
    projected = [solve(lambda x, row=row: ((x - row) ** 2).sum(), g.mean(0), inside) for row in g]
    d = update("upgrad", rows)
    close(d, np.mean(projected, axis=0))
    assert (g @ d.numpy() > -1e-9).all()


def pcgrad_by_vectors(g, orders):
    total = np.zeros(g.shape[1])
    for i, order in enumerate(orders):
        private = g[i].copy()
        for j in order:
            if private @ g[j] < 0:
                private -= (private @ g[j]) / (g[j] @ g[j]) * g[j]
        total += private
    return total


@BOTH
def test_pcgrad_projects_in_some_order(rows):
    g = rows.numpy()
    others = [[j for j in range(3) if j != i] for i in range(3)]
    possible = [pcgrad_by_vectors(g, orders) for orders in itertools.product(*map(itertools.permutations, others))]
    calls = set()
    for seed in range(12):
        torch.manual_seed(seed)
        d = update("pcgrad", rows).numpy()
        fits = [i for i, expected in enumerate(possible) if np.allclose(d, expected)]
        assert fits
        calls.add(fits[0])
    assert len(calls) > 1 or rows is AGREE


def test_gradvac_turns_conflicting_gradients_until_they_meet_the_target():
    g, beta = CONFLICT[:2].numpy(), 0.3
    balancer, problem = make("gradvac", 2, beta=beta), Problem(CONFLICT[:2])
    target = np.zeros((2, 2))
    for _ in range(3):
        total = np.zeros(4)
        for i, j in ((0, 1), (1, 0)):
            private, other = g[i], g[j]
            phi, expected = private @ other / np.linalg.norm(private) / np.linalg.norm(other), target[i, j]
            if phi < expected:
                # the point own + a·other, a > 0, whose cosine with other is the target: from the right triangle
                along = private @ other / np.linalg.norm(other)
                across = math.sqrt(private @ private - along**2)
                a = (across * expected / math.sqrt(1 - expected**2) - along) / np.linalg.norm(other)
                private = private + a * other
                cosine = private @ other / np.linalg.norm(private) / np.linalg.norm(other)
                assert cosine == pytest.approx(expected, abs=1e-9)
            target[i, j] = (1 - beta) * target[i, j] + beta * phi
            total += private
        close(problem.update(balancer)[0], total)
        target_now = balancer.state_dict()["target"]
        close(target_now, target)


def gradvac_by_vectors(g, target, beta, orders):
    """The formula on vectors: a gradient that was turned is what the next one is compared with."""
    total, target = np.zeros(g.shape[1]), target.copy()
    for i, order in enumerate(orders):
        private = g[i].copy()
        for j in order:
            size, other = np.linalg.norm(private), np.linalg.norm(g[j])
            phi, expected = private @ g[j] / size / other, target[i, j]
            if phi < expected:
                across, level = math.sqrt(1 - phi**2), math.sqrt(1 - expected**2)
                private = private + size * (expected * across - phi * level) / (other * level) * g[j]
            target[i, j] += beta * (phi - expected)
        total += private
    return total, target


def test_gradvac_of_three_tasks_in_some_order():
    """The second step, whose targets are no longer 0, in each of the 8 orders that a first and second step may take."""
    g, beta = CONFLICT.numpy(), 0.5
    orders = list(itertools.product(*(itertools.permutations([j for j in range(3) if j != i]) for i in range(3))))
    calls = set()
    for seed in range(16):
        torch.manual_seed(seed)
        balancer, problem = make("gradvac", 3, beta=beta), Problem(CONFLICT)
        start = np.zeros((3, 3))
        for _ in range(2):
            d = problem.update(balancer)[0].numpy()
            possible = [gradvac_by_vectors(g, start, beta, order) for order in orders]
            now = balancer.state_dict()["target"].numpy()
            fits = [i for i, (w, t) in enumerate(possible) if np.allclose(d, w) and np.allclose(now, t)]
            assert fits
            calls.add(fits[0])
            start = now
    assert len(calls) > 1


def test_gradvac_keeps_its_targets_by_name():
    balancer = make("gradvac", 3, beta=0.5)
    Problem(CONFLICT).update(balancer)
    before = balancer.state_dict()["target"]
    Problem(CONFLICT[[0, 2]], names=("a", "c")).update(balancer)
    changed = balancer.state_dict()["target"] != before
    assert changed.nonzero().tolist() == [[0, 2], [2, 0]]


def test_graddrop_takes_one_sign_per_coordinate_as_often_as_it_is_pure():
    balancer, problem = make("graddrop", 3), Problem(CONFLICT)
    draws = torch.stack([problem.update(balancer)[0] for _ in range(600)])
    positive, negative = CONFLICT.clamp(min=0).sum(0), CONFLICT.clamp(max=0).sum(0)
    chosen = torch.isclose(draws, positive)
    assert (chosen | torch.isclose(draws, negative)).all()
    purity = 0.5 * (1 + CONFLICT.sum(0) / CONFLICT.abs().sum(0))
    assert (chosen.double().mean(0) - purity).abs().max() < 0.07
    torch.testing.assert_close(update("graddrop", CONFLICT, leak=1.0), CONFLICT.sum(0))


@pytest.mark.parametrize("leak", [0.0, 0.3])
def test_graddrop_draws_what_torchjd_draws(leak):
    from torchjd.aggregation import GradDrop

    rows = torch.randn(3, 50).double()
    rows[:, 7] = 0
    torch.manual_seed(3)
    expected = GradDrop(leak=torch.full((3,), leak).double())(rows)
    torch.manual_seed(3)
    torch.testing.assert_close(update("graddrop", rows, leak=leak), expected)


def test_db_mtl_averages_log_gradients_and_gives_them_the_longest_length():
    beta, sigma = 0.9, 0.5
    balancer, average = make("db_mtl", 3, beta=beta, sigma=sigma), np.zeros((3, 4))
    for n, values in enumerate(([0.5, 2.0, 1.2], [0.4, 1.0, 1.3], [0.3, 1.5, 0.1]), start=1):
        g = CONFLICT.numpy() / np.array(values)[:, None]
        keep = beta / n**sigma
        average = keep * average + (1 - keep) * g
        norms = np.linalg.norm(average, axis=1)
        d, private = Problem(CONFLICT, values).update(balancer)
        close(d, norms.max() * (average / norms[:, None]).sum(0))
        close(private, [(1 + t) / value for t, value in enumerate(values)])


def test_db_mtl_keeps_an_absent_tasks_average_as_it_was():
    balancer, average, counts = make("db_mtl", 3, beta=0.9, sigma=0.5), np.zeros((3, 4)), np.zeros(3)
    for present in ([0, 1, 2], [2, 0], [2], [0, 2], [1, 0, 2]):
        g = CONFLICT[present].numpy() / VALUES[present, None].numpy()
        counts[present] += 1
        keep = 0.9 / np.sqrt(counts[present])[:, None]
        average[present] = keep * average[present] + (1 - keep) * g
        norms = np.linalg.norm(average[present], axis=1)
        names = tuple("abc"[t] for t in present)
        d, _ = Problem(CONFLICT[present], VALUES[present], names).update(balancer)
        close(d, norms.max() * (average[present] / norms[:, None]).sum(0))


def test_db_mtl_without_averages_keeps_none():
    balancer = make("db_mtl", 3, beta=0.0)
    d, _ = Problem(CONFLICT, VALUES).update(balancer)
    g = (CONFLICT / VALUES[:, None]).numpy()
    norms = np.linalg.norm(g, axis=1)
    close(d, norms.max() * (g / norms[:, None]).sum(0))
    assert balancer.state_dict() == {"averages": {}, "counts": {}}


FOLLOWS_SCALE = ["mgda", "cagrad", "imtl_g", "aligned_mtl", "upgrad", "pcgrad", "gradvac", "graddrop"]


@pytest.mark.parametrize("name", FOLLOWS_SCALE)
@pytest.mark.parametrize("factor", [1e-6, 1e4])
def test_all_gradients_times_a_number_times_the_update(name, factor):
    torch.manual_seed(1)
    once = update(name, CONFLICT)
    torch.manual_seed(1)
    torch.testing.assert_close(update(name, factor * CONFLICT) / factor, once, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["nash_mtl", "imtl_g"])
def test_one_loss_times_a_number_leaves_the_direction(name):
    one, other = update(name, CONFLICT), update(name, SCALED)
    assert torch.cosine_similarity(one, other, dim=0) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("name", ["mgda", "cagrad", "upgrad", "nash_mtl", "fairgrad"])
def test_no_loss_rises(name):
    assert (CONFLICT @ update(name, CONFLICT) > -1e-3).all()


def test_a_task_with_a_zero_gradient_does_not_stop_the_others():
    rows = torch.cat([CONFLICT[:2], torch.zeros(1, 4).double()])
    for name in ("mgda", "cagrad", "nash_mtl"):
        torch.testing.assert_close(update(name, rows), update(name, CONFLICT[:2]))


def test_a_gradient_that_is_not_finite_stops_the_run():
    rows = CONFLICT.clone()
    rows[1, 2] = math.nan
    with pytest.raises(ArithmeticError, match="gradient of the shared parameters is not finite"):
        update("mgda", rows)


def test_inner_products_of_long_gradients_keep_their_digits():
    from mola.balancers._jacobian import gramian_of

    matrix = torch.rand(2, 2_000_003)  # of one sign, as norms are: errors of a running sum would add up
    exact = matrix.double() @ matrix.double().T
    assert (gramian_of(matrix) / exact - 1).abs().max() < 1e-6
    short = torch.randn(3, 7)
    torch.testing.assert_close(gramian_of(short), short @ short.T)


def test_a_pass_that_fails_leaves_the_gradients_that_were_there():
    problem, before = Problem(CONFLICT), torch.full((2, 1), 7.0).double()
    problem.shared[0].grad = before
    losses = problem.losses()[0]
    losses["b"] = losses["b"].detach()  # has no gradient
    with pytest.raises(RuntimeError, match="does not require grad"):
        make("pcgrad", 3).backward(losses, None, problem.shared, list(problem.private.values()))
    assert problem.shared[0].grad is before and problem.shared[1].grad is None
    problem.shared[0].grad = None
    problem.losses()[0]["a"].backward()  # as ever
    torch.testing.assert_close(problem.shared[0].grad[:, 0], CONFLICT[0, :2])
