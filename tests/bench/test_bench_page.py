"""The Markdown of measured files."""

import json
import shutil
from pathlib import Path

import make_benchmarks as benchmarks
import pytest
import typer.main
from make_benchmarks import COMMANDS

from mola.bench.page import page
from mola.cli.bench import bench as group
from mola.types import BadInput

COMMAND_LINE = typer.main.get_command(group).commands
FOLDER = Path(__file__).parents[2] / "docs/benchmarks"


def test_the_page_of_benchmarks_is_that_of_its_files():
    text = (FOLDER / "README.md").read_text()
    files = sorted(FOLDER.glob("*.json"))
    assert files
    for file in files:
        assert page([file]) in text, f"docs/benchmarks/README.md: run mola bench page docs/benchmarks/{file.name}"


def test_files_of_today_and_older_ones_give_the_same_table(tmp_path):
    new = json.loads((FOLDER / "step-balancers-t4.json").read_text())
    old = {key: value for key, value in new.items() if key != "thresholds"} | {"bars": new["thresholds"]}
    old["rows"] = [dict(row, beside=row["memory_without_jacobian"]) for row in new["rows"]]
    for row in old["rows"]:
        del row["memory_without_jacobian"]
    (tmp_path / "step-balancers-t4.json").write_text(json.dumps(old))
    written = page([tmp_path / "step-balancers-t4.json"])
    assert "| pcgrad" in written and written == page([FOLDER / "step-balancers-t4.json"])


def test_a_page_of_what_is_no_measurement_is_refused(tmp_path):
    for content in ('{"rows": []}', "[]", '{"machine": 1}'):
        (tmp_path / "a.json").write_text(content)
        with pytest.raises(BadInput, match="expected a file that `mola bench … --json` wrote"):
            page([tmp_path / "a.json"])
    with pytest.raises(BadInput, match="expected a file that can be read"):
        page([tmp_path / "none.json"])


def test_what_is_missed_is_explained():
    """The section names every file with a threshold that is missed: whoever measures anew looks for the reason."""
    text = (FOLDER / "README.md").read_text()
    reasons = text.partition("## What is missed")[2].partition("## The tables")[0]
    for file in sorted(FOLDER.glob("*.json")):
        if "MISSED" in page([file]):
            assert file.name in reasons, f"docs/benchmarks/README.md: say what holds {file.name} there"


def test_the_command_that_makes_the_page_knows_its_files():
    assert {file.stem for file in FOLDER.glob("*.json")} <= COMMANDS.keys()
    for command in COMMANDS.values():
        name, *words = command.split()
        options = {option for parameter in COMMAND_LINE[name].params for option in parameter.opts}
        assert {word for word in words if word.startswith("-")} <= options, command


def test_the_page_keeps_what_stands_above_its_tables(tmp_path, monkeypatch):
    monkeypatch.setattr(benchmarks, "FOLDER", tmp_path)
    shutil.copy(FOLDER / "data-digits.json", tmp_path)
    (tmp_path / "README.md").write_text(f"Words.\n\n{benchmarks.MARK}\n\nan old table\n")
    benchmarks.write_page()
    assert (tmp_path / "README.md").read_text() == (
        f"Words.\n\n{benchmarks.MARK}\n\n{page([tmp_path / 'data-digits.json'])}\n"
    )
    (tmp_path / "README.md").write_text("Words.\n")
    with pytest.raises(SystemExit, match="expected a line"):
        benchmarks.write_page()
