"""A row that is trained on some of the suite's benchmarks only: where it stands, and what it is left out of."""

import pytest
import yaml
from synthetic import drawn, fill, make_suite

from mola.cli.common import chosen_experiments
from mola.config import load
from mola.experiment.spec import experiments
from mola.reporting.figures._write import write_figures
from mola.reporting.render import to_markdown
from mola.reporting.results.read import aligned
from mola.reporting.tables.ranking import critical_of
from mola.reporting.write import read_results, tables, write_tables
from mola.types import BadInput

ROWS = {
    "single_task": {},
    "late": {"method": "shared", "benchmarks": ["glyphs"], "group": "one"},
    "shared": {"group": "one"},
    "mola_grad": {"group": "two"},
}


@pytest.fixture
def suite(tmp_path):
    suite = make_suite(tmp_path, methods=ROWS, benchmarks=("digits", "glyphs"), seeds=6)
    fill(suite, drawn({"late": 0.2}))
    return suite


def lines(table):
    return {line.split("|")[1].strip(): line for line in to_markdown(table).splitlines() if line.startswith("|")}


def test_a_benchmark_has_its_rows_and_the_summary_all(suite):
    every = tables(suite, read_results(suite))
    assert every["digits"].labels == ("single_task", "shared", "mola_grad")
    assert every["glyphs"].labels == ("single_task", "late", "shared", "mola_grad")
    summary = every["summary"]
    assert summary.labels == ("single_task", "late", "shared", "mola_grad"), "in the suite's order"
    assert not summary.incomplete
    late = lines(summary)["late"].split("|")
    assert late[2].strip() == late[3].strip() == "–" and "±" in late[4]


def test_rows_of_the_first_benchmark_do_not_come_first(tmp_path):
    rows = {
        "single_task": {"group": "a"},
        "early": {"method": "shared", "benchmarks": ["glyphs"], "group": "b"},
        "shared": {"group": "c"},
        "mola_grad": {"group": "b"},
    }
    suite = make_suite(tmp_path, methods=rows, benchmarks=("digits", "glyphs"), seeds=1)
    every = aligned(read_results(suite))
    # the heading "b" comes before "c" although digits has "c" first
    assert every["digits"].labels == every["glyphs"].labels == ("single_task", "early", "mola_grad", "shared")
    assert every["digits"].groups == ("a", "b", "b", "c")


def test_what_is_over_all_benchmarks_leaves_it_out(suite):
    benchmarks = read_results(suite)
    ranking = lines(tables(suite, benchmarks)["summary.tests"])
    assert ranking["late"].split("|")[2].strip() == "–"
    assert ranking["shared"].split("|")[2].strip() != "–"
    assert critical_of(benchmarks).methods == ("single_task", "shared", "mola_grad")


def test_all_files_are_written(suite):
    assert all(path.is_file() for path in write_tables(suite))
    assert any("glyphs" in path.name for path in write_figures(suite)[0])


def test_what_is_chosen(suite):
    assert len(experiments(suite)) == 7
    assert [e.name for e in chosen_experiments(suite, None, ["late"])] == ["glyphs/late"]
    assert len(chosen_experiments(suite, ["digits"], None)) == 3
    with pytest.raises(BadInput, match=r"methods\.late\.benchmarks: the row is not trained on 'digits'"):
        chosen_experiments(suite, ["digits"], ["late"])
    both = chosen_experiments(suite, ["digits", "glyphs"], ["late", "shared"])
    assert [e.name for e in both] == ["digits/shared", "glyphs/late", "glyphs/shared"]
    for methods in (None, ["shared"]):
        with pytest.raises(BadInput, match="benchmark 'glyph' is not in suite 'synthetic', did you mean 'glyphs'"):
            chosen_experiments(suite, ["digits", "glyph"], methods)
    with pytest.raises(BadInput, match="method 'lat' is not in suite 'synthetic', did you mean 'late'"):
        chosen_experiments(suite, None, ["late", "lat"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": {"late": {"benchmarks": ["glyph"]}}}, "did you mean 'glyphs'"),
        ({"methods": {"late": {"benchmarks": []}}}, "found an empty list"),
        ({"reference": "late"}, "reference: expected a row that is trained on all benchmarks, found 'late'"),
        ({"compare_to": "late"}, "compare_to: expected a row that is trained on all benchmarks, found 'late'"),
    ],
)
def test_bad_input_is_one_line(suite, tmp_path, changes, message):
    path = tmp_path / "suite.yaml"
    content = yaml.safe_load(path.read_text())
    content["methods"]["late"] |= changes.pop("methods", {}).get("late", {})
    path.write_text(yaml.safe_dump(content | changes, sort_keys=False))
    with pytest.raises(BadInput) as error:
        load(path)
    assert message in str(error.value) and "\n" not in str(error.value)
