"""Steps under balancers and of methods: which rows, with which options, and what their memory counts."""

from functools import partial

import pytest
import torch
from torch import nn

from mola.bench import methods, report
from mola.bench.workloads import Setting, Workload


class Wide(Workload):
    """Many parameters and hardly an activation, so that gradients are what takes memory."""

    def plain(self, classes):
        layers = [nn.Linear(192, 256), *(nn.Linear(256, 256) for _ in range(11))]
        network = nn.Sequential(nn.AdaptiveAvgPool2d(8), nn.Flatten(), *layers)
        network.num_features = 256
        return network


def test_rows_of_balancers_and_methods(rows_of):
    words = ["--balancer", "uw", "--balancer", "pcgrad", "-m", "mmoe", "-m", "mola_grad", "--tasks", "3"]
    _, names = rows_of("step", *words)
    assert names == ["plain step", "uw, T = 3", "pcgrad, T = 3", "mmoe, T = 3", "mola_grad, T = 3"]


def test_memory_counts_the_jacobian_and_what_a_balancer_keeps(quick_peak):
    """Weights, gradients and momenta are three times the shared parameters; so is G with T = 3, whose rows are DB-MTL's
    averages.
    """
    names = ("pcgrad", "db_mtl", "mgda_ub", "uw")
    entries = methods.entries(Wide("wide", 4, 8, "2", 2), Setting(), 3, names, [])
    rows = report.compare(entries, Setting(), 1)
    memory = {name: (row.memory, row.memory_without_jacobian) for name, row in zip(("sum", *names), rows, strict=True)}
    near = partial(pytest.approx, abs=0.2)
    assert memory == {
        "sum": (1, None),
        "pcgrad": (near(2), near(1)),
        "db_mtl": (near(2), near(1)),
        "mgda_ub": (near(1), None),
        "uw": (near(1), None),
    }


def test_what_draws_draws_the_same_in_every_step(small):
    entry = methods.entries(small, Setting(), 3, ["rlw"], [])["rlw, T = 3"]
    steps = []
    for _ in range(2):
        before = [p.detach().clone() for p in entry.model.parameters()]
        entry.step()
        steps.append([p.grad.clone() for p in entry.model.parameters()])
        with torch.no_grad():
            for p, old in zip(entry.model.parameters(), before, strict=True):
                p.copy_(old)
    for one, two in zip(*steps, strict=True):
        torch.testing.assert_close(one, two)


def test_options_go_to_those_that_take_them(rows_of, small):
    _, names = rows_of("step", "-t", "2", "--balancer", "db_mtl", "-m", "mola_grad", "-o", "beta=0", "-o", "rank=1")
    assert names == ["plain step", "db_mtl, T = 2", "mola_grad, T = 2"]
    entries = methods.entries(small, Setting(), 2, ["db_mtl"], [], methods.pairs(["beta=0"]))
    assert entries["db_mtl, T = 2"].state()["options"].beta == 0
