"""Memory, operations and ratios are right; no times are asserted."""

import subprocess
import sys

import pytest
import torch
from torch import nn

import mola
from mola.bench import measure
from mola.layers import LowRankLinear


def test_the_peak_counts_what_is_allocated_at_one_time():
    def work():
        kept = torch.ones(1000)
        for _ in range(5):
            torch.ones(500)
        return kept

    peak = measure.peak_bytes(work, torch.device("cpu"))
    assert 6000 <= peak < 6500


def test_operations_of_a_product():
    assert measure.flops(lambda: torch.ones(2, 3) @ torch.ones(3, 4)) == 2 * 2 * 3 * 4


def test_operations_are_counted_in_a_process_that_has_no_adapters():
    """Where nothing else imports the operator that is counted apart."""
    program = (
        "import torch; from mola.bench.measure import flops; print(flops(lambda: torch.ones(2, 3) @ torch.ones(3, 4)))"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "48\n"


def test_products_that_are_added_in_place_count_as_others_do():
    y, a, b = torch.zeros(5, 2, 4), torch.ones(5, 2, 3), torch.ones(5, 3, 4)
    assert measure.flops(lambda: y[0].addmm_(a[0], b[0])) == measure.flops(lambda: torch.addmm(y[0], a[0], b[0])) == 48
    assert measure.flops(lambda: y.baddbmm_(a, b)) == measure.flops(lambda: torch.baddbmm(y, a, b)) == 5 * 48


@pytest.mark.parametrize("plan", ["factored", "separate"])
def test_an_adapted_layer_counts_both_thin_products(plan):
    """Also where the second one is added to the output in place."""
    rows, inputs, outputs, rank, experts = 2 * 6, 8, 10, 3, 4
    layer = LowRankLinear(nn.Linear(inputs, outputs), experts, rank, alpha=1.0)
    gate = torch.rand(2, experts) if plan == "factored" else torch.tensor([0, 2])
    layer.plan = plan

    def work():
        with mola.gate(layer, gate):
            layer(torch.ones(2, 6, inputs))

    used = experts if plan == "factored" else 1
    assert measure.flops(work) == 2 * rows * (inputs * outputs + used * rank * (inputs + outputs))


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("make", [nn.Conv2d, nn.ConvTranspose2d])
def test_each_gradient_of_a_convolution_counts_as_its_forward(make, groups):
    layer = make(8, 16, 3, padding=1, groups=groups)
    both, weight_alone = torch.randn(2, 8, 6, 6, requires_grad=True), torch.randn(2, 8, 6, 6)
    forward = measure.flops(lambda: layer(both))
    assert forward == 2 * (2 * 6 * 6) * 8 * 16 * 9 / groups
    assert measure.flops(lambda: layer(both).sum().backward()) == 3 * forward
    assert measure.flops(lambda: layer(weight_alone).sum().backward()) == 2 * forward


def test_ratios_are_taken_round_by_round():
    times, base = measure.Times([2.0, 8.0, 3.0], [2.0, 8.0, 3.0]), measure.Times([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])
    assert measure.ratios(times, base) == (2.0, 1.0, 4.0)
    assert measure.wall_ratio(times, base) == 2.0
