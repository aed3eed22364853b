"""What ``mola bench`` tells is measured: no times are asserted."""

import json
from dataclasses import replace

import pytest
import torch

from mola import cli
from mola.bench import measure
from mola.bench.bars import held
from mola.bench.cases import CASES, Setting
from mola.bench.report import Row


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


def test_ratios_are_taken_round_by_round():
    times, base = measure.Times([2.0, 8.0, 3.0], [2.0, 8.0, 3.0]), measure.Times([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])
    assert measure.ratios(times, base) == (2.0, 1.0, 4.0)
    assert measure.wall_ratio(times, base) == 2.0


def test_a_bar_is_met_or_missed_and_binds_its_own_case_only():
    def row(name, time, memory):
        return Row(name, time, time, time, time, None, 1.0, memory, None, 1.0, 0.5)

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
