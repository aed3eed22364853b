"""The Markdown of measured files."""

import json
from pathlib import Path

import pytest

from mola.bench.page import page
from mola.types import BadInput

FOLDER = Path(__file__).parents[2] / "docs/benchmarks"


def test_the_page_of_benchmarks_is_that_of_its_files():
    text = (FOLDER / "README.md").read_text()
    files = sorted(FOLDER.glob("*.json"))
    assert files
    for file in files:
        assert page([file]) in text, f"docs/benchmarks/README.md: run mola bench page docs/benchmarks/{file.name}"


def test_files_of_today_and_older_ones_give_the_same_table(tmp_path):
    old = json.loads((FOLDER / "step-methods-t4.json").read_text())
    new = {key: value for key, value in old.items() if key != "bars"}
    new["rows"] = [dict(row, memory_without_jacobian=row["beside"]) for row in old["rows"]]
    for row in new["rows"]:
        del row["beside"]
    new["thresholds"] = [
        "pcgrad, T = 4 against plain step: time 3.02, threshold 3.00 MISSED, memory without J 0.92, threshold 1.50 met"
    ]
    (tmp_path / "a.json").write_text(json.dumps(new))
    written = [line for line in page([tmp_path / "a.json"]).splitlines() if line.startswith("| pcgrad")]
    assert written and written[0] in page([FOLDER / "step-methods-t4.json"]).splitlines()


def test_a_page_of_what_is_no_measurement_is_refused(tmp_path):
    for content in ('{"rows": []}', "[]", '{"machine": 1}'):
        (tmp_path / "a.json").write_text(content)
        with pytest.raises(BadInput, match="expected a file that `mola bench … --json` wrote"):
            page([tmp_path / "a.json"])
    with pytest.raises(BadInput, match="expected a file that can be read"):
        page([tmp_path / "none.json"])
