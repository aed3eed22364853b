"""A small workload, and the command line to measure it with."""

import json
import math
from dataclasses import fields

import pytest
from torch import nn

from mola import cli
from mola.bench import report
from mola.bench.report import Row
from mola.bench.workloads import WORKLOADS, Workload


class Small(Workload):
    """Two convolutions and a head: what is measured is not the point, that it is measured is."""

    def plain(self, classes):
        body = nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.AdaptiveAvgPool2d(1)
        network = nn.Sequential(*body, nn.Flatten(), nn.Linear(8, classes) if classes else nn.Identity())
        network.num_features = 8
        return network


@pytest.fixture
def small():
    return Small("small", 4, 32, "[03]", 2)


@pytest.fixture
def bench(monkeypatch):
    """Runs ``mola bench``, which must exit with the code."""

    def run(*words, code=0):
        monkeypatch.setattr("sys.argv", ["mola", "bench", *words])
        with pytest.raises(SystemExit, match=str(code)):
            cli.main()

    return run


@pytest.fixture
def quick_peak(monkeypatch):
    # in bf16 a CPU takes seconds for the product
    monkeypatch.setattr(report, "rate_of_products", lambda device, dtype: 1e9)


@pytest.fixture
def rows_of(monkeypatch, tmp_path, capsys, small, bench, quick_peak):
    """Measures the small workload and gives its JSON's setting and names of rows; the rows are checked."""
    monkeypatch.setitem(WORKLOADS, "small", small)

    def rows(command, *words):
        path = tmp_path / "rows.json"
        bench(command, "--model", "small", "--repeats", "1", *words, "--json", str(path))
        content = json.loads(path.read_text())
        assert len(capsys.readouterr().out.strip().splitlines()) == 1 + len(content["rows"])
        for row in content["rows"]:
            assert row.keys() == {field.name for field in fields(Row)}
            numbers = {key: value for key, value in row.items() if key != "name"}
            absent = {key for key, value in numbers.items() if value is None}
            assert absent <= {"memory_without_jacobian"} | ({"forward", "working"} if command == "step" else set())
            assert all(math.isfinite(value) and value >= 0 for key, value in numbers.items() if key not in absent)
            assert row["time"] > 0 and row["images_per_second"] > 0
        return content["setting"], [row["name"] for row in content["rows"]]

    return rows
