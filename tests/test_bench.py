"""What ``mola bench`` tells is measured: no times are asserted."""

import json
import math
from dataclasses import fields, replace
from functools import partial, partialmethod
from pathlib import Path

import pytest
import torch
from torch import nn

from mola import cli, registry
from mola.bench import measure, report
from mola.bench import methods as rivals
from mola.bench.page import page
from mola.bench.report import Row
from mola.bench.thresholds import held
from mola.bench.workloads import CASES, Case, Setting, case_of
from mola.types import BadInput


def run(monkeypatch, *words):
    monkeypatch.setattr("sys.argv", ["mola", "bench", *words])
    with pytest.raises(SystemExit, match="0"):
        cli.main()


def test_the_layers_table_and_its_json(tmp_path, monkeypatch, capsys):
    path = tmp_path / "rows.json"
    small = ("--model", "resnet18", "--batch", "2", "--size", "32", "--repeats", "1")
    run(monkeypatch, "layers", *small, "-e", "2", "--plans", "--json", str(path))
    told = json.loads(path.read_text())
    assert told["versions"]["torch"] == torch.__version__ and told["case"]["batch"] == 2
    rows = {row["name"]: row for row in told["rows"]}
    gates = {f"grad E=2{plan}" for plan in ("", " grouped", " separate", " stacked", " merged")}
    assert rows.keys() == {"plain", *gates, *(f"router E=2{plan}" for plan in ("", " factored", " stacked", " merged"))}
    assert all(row["time"] > 0 and row["memory"] > 0 and row["images_per_second"] > 0 for row in rows.values())
    assert rows["router E=2 stacked"]["memory"] > rows["router E=2 factored"]["memory"]
    assert rows["router E=2 stacked"]["flops"] > rows["router E=2 factored"]["flops"] > 1
    assert len(capsys.readouterr().out.strip().splitlines()) == 1 + len(rows)


def test_the_step_table(monkeypatch, capsys):
    run(monkeypatch, "step", "--model", "resnet18", "--batch", "4", "--size", "32", "--repeats", "1", "-t", "2")
    lines = capsys.readouterr().out.strip().splitlines()
    names = ["plain step", "MoLA-Grad step", "MoLA-Router step", "MoLA-Router step, small router"]
    parts = ["router network", "small router network", "TwD, B = 256"]
    assert [line.split("  ")[0] for line in lines[1:]] == names + parts


def test_a_model_that_there_is_not(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["mola", "bench", "layers", "--model", "vgg"])
    with pytest.raises(SystemExit, match="2"):
        cli.main()
    assert "expected resnet50, resnet18, vit_small, found 'vgg'" in capsys.readouterr().err


def test_the_peak_counts_what_is_held_at_one_time():
    def work():
        held = torch.ones(1000)
        for _ in range(5):
            torch.ones(500)
        return held

    peak = measure.peak_bytes(work, torch.device("cpu"))
    assert 6000 <= peak < 6500


def test_operations_of_a_product():
    assert measure.flops(lambda: torch.ones(2, 3) @ torch.ones(3, 4)) == 2 * 2 * 3 * 4


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


def test_a_bar_is_met_or_missed_and_binds_its_own_case_only():
    def row(name, time, memory):
        return Row(name, time, time, time, time, None, 1.0, memory, None, None, 1.0, 0.5)

    rows = [row("grad E=4", 1.2, 1.0), row("grad E=32", 1.8, 1.5), row("router E=4", 1.4, 1.0)]
    told = "grad E=32 against grad E=4: time 1.50, bar 1.60 met, memory 1.50, bar 1.40 MISSED"
    assert held(CASES["resnet18"], Setting(), rows) == [told]
    assert held(CASES["resnet50"], Setting(), rows) == []
    assert held(replace(CASES["resnet18"], batch=8), Setting(), rows) == []
    assert held(CASES["resnet18"], Setting(channels_last=True), rows) == []


def test_the_data_table_and_its_json(tmp_path, monkeypatch, capsys, suite_file):
    path = tmp_path / "rates.json"
    run(monkeypatch, "data", "-c", str(suite_file()), "--repeats", "1", "--json", str(path))
    rates = json.loads(path.read_text())["images_per_second"]
    assert rates.keys() == {"loader", "one_by_one", "step", "training"} and min(rates.values()) > 0
    told = f"the loader gives {rates['loader'] / rates['step']:.1f} times what the step needs"
    assert capsys.readouterr().out.strip().endswith(told)


class Small(Case):
    """Two convolutions and a head: what is measured is not the point, that it is measured is."""

    def plain(self, classes):
        body = nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.AdaptiveAvgPool2d(1)
        network = nn.Sequential(*body, nn.Flatten(), nn.Linear(8, classes) if classes else nn.Identity())
        network.num_features = 8
        return network


@pytest.fixture
def rows_of(monkeypatch, tmp_path, capsys):
    """Runs ``mola bench`` on the small case and gives its JSON's setting and rows, which are looked over."""
    monkeypatch.setitem(CASES, "small", Small("small", 4, 32, "[03]", 2))
    monkeypatch.setattr(report, "rate_of_products", lambda device, dtype: 1e9)  # in bf16 a CPU takes seconds for it

    def rows(command, *words):
        path = tmp_path / "rows.json"
        run(monkeypatch, command, "--model", "small", "--repeats", "1", *words, "--json", str(path))
        told = json.loads(path.read_text())
        assert len(capsys.readouterr().out.strip().splitlines()) == 1 + len(told["rows"])
        for row in told["rows"]:
            assert row.keys() == {field.name for field in fields(Row)}
            numbers = {key: value for key, value in row.items() if key != "name"}
            absent = {key for key, value in numbers.items() if value is None}
            assert absent <= {"beside"} | ({"forward", "working"} if command == "step" else set())
            assert all(math.isfinite(value) and value >= 0 for key, value in numbers.items() if key not in absent)
            assert row["time"] > 0 and row["images_per_second"] > 0
        return told["setting"], [row["name"] for row in told["rows"]]

    return rows


LAYERS = ["plain", "grad E=2", "router E=2"]
HALF, LAST = ("--precision", "bf16"), ("--channels-last",)


@pytest.mark.parametrize("words", [HALF, LAST, HALF + LAST], ids=" ".join)
def test_layers_in_half_precision_and_channels_last(rows_of, words):
    setting, names = rows_of("layers", "-e", "2", *words)
    assert names == LAYERS
    assert setting["precision"] == ("bf16" if "bf16" in words else "fp32")
    assert setting["channels_last"] == ("--channels-last" in words)


def test_layers_compiled(rows_of, monkeypatch):
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    monkeypatch.setattr(nn.Module, "compile", partialmethod(nn.Module.compile, backend=backend))
    setting, names = rows_of("layers", "-e", "2", "--compile", *HALF, *LAST)
    assert names == LAYERS and setting["compiled"]
    assert len(graphs) >= len(names)


def test_a_step_in_half_precision_and_channels_last(rows_of):
    setting, names = rows_of("step", "-t", "2", *HALF, *LAST)
    assert len(names) == 7 and setting["precision"] == "bf16" and setting["channels_last"]


def test_a_setting_does_what_it_says():
    setting, case = Setting(precision="bf16", channels_last=True), Small("small", 4, 32, "[03]", 2)
    x, model = setting.images(case), setting.place(case.plain(5))
    for tensor in (x, model[0].weight):
        assert tensor.is_contiguous(memory_format=torch.channels_last) and tensor.dtype == torch.float32
    with setting.running():
        y = model(x)
    assert y.dtype == torch.bfloat16 and y.shape == (4, 5)


def test_rows_of_balancers_and_methods(rows_of):
    words = ["--balancer", "uw", "--balancer", "pcgrad", "-m", "mmoe", "-m", "mola_grad", "--tasks", "3"]
    _, names = rows_of("step", *words)
    assert names == ["plain step", "uw, T = 3", "pcgrad, T = 3", "mmoe, T = 3", "mola_grad, T = 3"]


class Wide(Case):
    """Many parameters and hardly an activation, so that gradients are what memory holds."""

    def plain(self, classes):
        layers = [nn.Linear(192, 256), *(nn.Linear(256, 256) for _ in range(11))]
        network = nn.Sequential(nn.AdaptiveAvgPool2d(8), nn.Flatten(), *layers)
        network.num_features = 256
        return network


def test_memory_counts_the_jacobian_and_what_a_balancer_keeps(monkeypatch):
    """Weights, gradients and momenta are three times the shared parameters; so is G with T = 3, whose rows are DB-MTL's
    averages.
    """
    monkeypatch.setattr(report, "rate_of_products", lambda device, dtype: 1e9)
    case = Wide("wide", 4, 8, "2", 2)
    found = rivals.entries(case, Setting(), 3, ["pcgrad", "db_mtl", "mgda_ub", "uw"], [])
    rows = report.compare(found, Setting(), 1)
    told = {
        name: (row.memory, row.beside)
        for name, row in zip(("sum", "pcgrad", "db_mtl", "mgda_ub", "uw"), rows, strict=True)
    }
    near = partial(pytest.approx, abs=0.2)
    assert told == {
        "sum": (1, None),
        "pcgrad": (near(2), near(1)),
        "db_mtl": (near(2), near(1)),
        "mgda_ub": (near(1), None),
        "uw": (near(1), None),
    }


def test_what_draws_draws_the_same_in_every_step():
    found = rivals.entries(Small("small", 4, 32, "[03]", 2), Setting(), 3, ["rlw"], [])
    step = found["rlw, T = 3"]
    told = []
    for _ in range(2):
        before = [p.detach().clone() for p in step.model.parameters()]
        step.step()
        told.append([p.grad.clone() for p in step.model.parameters()])
        with torch.no_grad():
            for p, old in zip(step.model.parameters(), before, strict=True):
                p.copy_(old)
    for one, two in zip(*told, strict=True):
        torch.testing.assert_close(one, two)


def test_options_go_to_those_that_take_them(rows_of):
    _, names = rows_of("step", "-t", "2", "--balancer", "db_mtl", "-m", "mola_grad", "-o", "beta=0", "-o", "rank=1")
    assert names == ["plain step", "db_mtl, T = 2", "mola_grad, T = 2"]
    case = Small("small", 4, 32, "[03]", 2)
    found = rivals.entries(case, Setting(), 2, ["db_mtl"], [], rivals.pairs(["beta=0"]))
    assert found["db_mtl, T = 2"].holds()["options"].beta == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ["--balancer", "gradvac", "-o", "beat=1"],
            "--option: expected one of beta, found 'beat', did you mean 'beta'?",
        ),
        (["--balancer", "gradvac", "-o", "beta"], "--option: expected KEY=VALUE, found 'beta'"),
        (["--balancer", "gradvac", "-o", "beta=2"], "gradvac.beta: should be less than or equal to 1, found 2"),
        (["-o", "beta=1"], "--option: expected --balancer or --method beside it, found neither"),
        (["-m", "gradvac"], "unknown method 'gradvac'"),
    ],
)
def test_wrong_options_of_a_step(words, told, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["mola", "bench", "step", *words])
    with pytest.raises(SystemExit, match="2"):
        cli.main()
    assert told in capsys.readouterr().err


def test_a_balancer_is_held_to_its_kind():
    def row(name, time, flops=1.0, memory=1.0, beside=None):
        return Row(name, time, time, time, time, None, flops, memory, None, beside, 1.0, 1.0)

    rows = [
        row("plain step", 1.0),
        row("uw, T = 4", 1.06),
        row("pcgrad, T = 4", 2.9, memory=3.2, beside=1.6),
        row("mtan, T = 4", 2.4, 2.0),
    ]
    assert held(CASES["resnet18"], Setting(), rows) == [
        "mtan, T = 4 against plain step: time for its FLOPs 1.20, bar 1.30 met",
        "pcgrad, T = 4 against plain step: time 2.90, bar 3.00 met, memory beside J 1.60, bar 1.50 MISSED",
        "uw, T = 4 against plain step: time 1.06, bar 1.05 MISSED",
    ]


def test_every_balancer_is_held_to_something():
    for name in registry.names("balancers"):
        rows = [
            Row(row, 1.0, 1.0, 1.0, 1.0, None, 1.0, 1.0, None, None, 1.0, 1.0)
            for row in ("plain step", f"{name}, T = 4")
        ]
        assert held(CASES["resnet18"], Setting(), rows), name


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["layers", "-e", "0"], "should be greater than or equal to 1"),
        (["step", "--batch", "1", "--size", "32"], "--batch: expected at least 2"),
    ],
)
def test_what_can_not_be_measured_is_one_line(words, told, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["mola", "bench", *words])
    with pytest.raises(SystemExit, match="2"):
        cli.main()
    assert told in capsys.readouterr().err


def test_a_transformer_is_made_for_the_size_of_its_images():
    case = case_of("vit_small", 1, 32)
    assert case.plain(3)(torch.zeros(1, 3, 32, 32)).shape == (1, 3)


def test_the_page_of_benchmarks_tells_what_its_files_tell():
    folder = Path(__file__).parent.parent / "docs/benchmarks"
    told = (folder / "README.md").read_text()
    files = sorted(folder.glob("*.json"))
    assert files
    for file in files:
        assert page([file]) in told, f"docs/benchmarks/README.md: run mola bench page docs/benchmarks/{file.name}"


def test_a_page_of_what_is_no_measurement_is_refused(tmp_path):
    (tmp_path / "a.json").write_text('{"rows": []}')
    with pytest.raises(BadInput, match="expected a file that `mola bench … --json` wrote"):
        page([tmp_path / "a.json"])
    with pytest.raises(BadInput, match="expected a file that can be read"):
        page([tmp_path / "none.json"])
