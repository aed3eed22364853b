"""Thresholds: which rows they bind, and what their lines say."""

from dataclasses import replace
from types import SimpleNamespace

from mola import registry
from mola.bench.report import Row
from mola.bench.thresholds import verdicts
from mola.bench.workloads import WORKLOADS, Setting


def row(name, time, flops=1.0, memory=1.0, without_jacobian=None):
    return Row(name, time, time, time, time, None, flops, memory, None, without_jacobian, 1.0, 1.0)


def test_a_threshold_is_met_or_missed_and_binds_one_workload_only():
    rows = [row("grad E=4", 1.2), row("grad E=32", 1.5, memory=1.5), row("top2 E=4", 1.4)]
    line = "grad E=32 against grad E=4: time 1.25, threshold 1.35 met, memory 1.50, threshold 1.40 MISSED"
    assert verdicts(WORKLOADS["resnet18"], Setting(), rows) == [line]
    assert verdicts(WORKLOADS["resnet50"], Setting(), rows) == []
    assert verdicts(replace(WORKLOADS["resnet18"], batch=8), Setting(), rows) == []
    assert verdicts(WORKLOADS["resnet18"], Setting(channels_last=True), rows) == []


def test_a_balancer_has_the_thresholds_of_its_kind():
    rows = [
        row("plain step", 1.0),
        row("uw, T = 4", 1.06),
        row("pcgrad, T = 4", 2.9, memory=3.2, without_jacobian=1.6),
        row("mtan, T = 4", 2.4, 2.0),
    ]
    assert verdicts(WORKLOADS["resnet18"], Setting(), rows) == [
        "mtan, T = 4 against plain step: time for its FLOPs 1.20, threshold 1.30 met",
        "pcgrad, T = 4 against plain step: time 2.90, threshold 3.00 met, memory without J 1.60, threshold 1.50 MISSED",
        "uw, T = 4 against plain step: time 1.06, threshold 1.05 MISSED",
    ]


def test_every_balancer_has_a_threshold():
    for name in registry.names("balancers"):
        rows = [row("plain step", 1.0), row(f"{name}, T = 4", 1.0)]
        assert verdicts(WORKLOADS["resnet18"], Setting(), rows), name


def test_thresholds_of_a_gpu_are_of_images_per_second():
    """On a GPU a row may be slow in its kernels and hide it: what counts is how many images a second it trains."""
    rates = {"plain": 1.0, "grad E=4": 0.91, "router E=4": 0.7}
    rows = [replace(row(name, 1.0), images_per_second=rate) for name, rate in rates.items()]
    on_a_gpu = SimpleNamespace(device="cuda", precision="bf16", channels_last=True, compiled=False)
    workload = replace(WORKLOADS["resnet50"], batch=128, size=224)
    assert verdicts(workload, on_a_gpu, rows) == [
        "grad E=4 against plain: rate 0.91, threshold 0.90 met",
        "router E=4 against plain: rate 0.70, threshold 0.74 MISSED",
    ]
    assert verdicts(workload, Setting(), rows) == []
    assert verdicts(WORKLOADS["resnet50"], on_a_gpu, rows) == []
