"""What ``mola bench`` tells is measured: no times are asserted."""

import json

import pytest
import torch

from mola import cli
from mola.bench import layers, measure


def test_the_table_and_its_json(tmp_path, monkeypatch, capsys):
    small = layers.Case("resnet18", 2, 32, layers.STAGES, 1, layers.LIVE)
    monkeypatch.setitem(layers.CASES, "resnet18", small)
    path = tmp_path / "rows.json"
    how = [
        "mola",
        "bench",
        "layers",
        "--model",
        "resnet18",
        "-e",
        "2",
        "--plans",
        "--repeats",
        "1",
        "--json",
        str(path),
    ]
    monkeypatch.setattr("sys.argv", how)
    with pytest.raises(SystemExit, match="0"):
        cli.main()
    told = json.loads(path.read_text())
    assert told["torch"] == torch.__version__ and told["case"]["batch"] == 2
    rows = {(row["gate"], row["plan"]): row for row in told["rows"]}
    assert len(rows) == 9
    assert all(row["time"] > 0 and row["memory"] > 1 for row in rows.values())
    assert rows["router", "stacked"]["flops"] > rows["router", "factored"]["flops"] > 1
    assert len(capsys.readouterr().out.strip().splitlines()) == 10


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
