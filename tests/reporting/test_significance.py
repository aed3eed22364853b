"""Tables of tests, per benchmark and over all, from synthetic records."""

import csv
import io
import json

import pytest
from synthetic import drawn, fill, make_suite, record

from mola.reporting.render import to_csv, to_latex, to_markdown
from mola.reporting.write import read_results, tables, write_tables


def tables_of(suite):
    return tables(suite, read_results(suite))


def rows(table):
    return {row["method"]: row for row in csv.DictReader(io.StringIO(to_csv(table)))}


def shown(table):
    return {
        line.split(" | ")[0].strip("| "): line.strip("| ").split(" | ")
        for line in to_markdown(table).splitlines()
        if line.startswith("|")
    }


def test_differences_by_hand(tmp_path):
    suite = make_suite(tmp_path, methods=("single_task", "shared"), seeds=6)
    fill(suite, lambda b, m, s: round(0.5 + 0.01 * s + (0.02 + 0.01 * (s == 5)) * (m == "shared"), 2))
    table = tables_of(suite)["digits.tests"]
    row = rows(table)["shared"]
    assert float(row["difference"]) == pytest.approx(13 / 6, abs=1e-4)  # 2, 2, 2, 2, 2 and 3 points
    # ties: Student's interval, 13/6 ± 2.5706 · √(1/6)/√6
    assert float(row["difference_low"]) == pytest.approx(13 / 6 - 2.5706 / 6, abs=1e-4)
    assert (float(row["p"]), float(row["p_holm"]), row["pairs"]) == (2 / 64, 2 / 64, "6")
    assert float(row["probability_of_improvement"]) == pytest.approx(28 / 36, abs=1e-5)  # 2½, 3½, 4½, 5½, 6 and 6 of 6
    assert rows(table)["single_task"]["difference"] == ""
    assert table.notes == ()
    assert r"{\scriptsize[+1.74, +2.60]" in to_latex(table)


def test_another_row_to_compare_with(tmp_path):
    suite = make_suite(tmp_path, compare_to="shared")
    fill(suite, drawn({"mola_grad": 0.2}))
    by_name = tables_of(suite)
    assert by_name["digits.tests"].columns[0].title == "difference from shared"
    assert "difference of the average in points from shared by seed" in by_name["digits.tests"].caption
    assert (
        rows(by_name["digits.tests"])["shared"]["p"] == "" and rows(by_name["digits.tests"])["single_task"]["p"] != ""
    )
    assert any(column.key == "delta_task" for column in by_name["digits"].columns)  # Δ stays against the reference
    assert "against single_task" in by_name["summary.tests"].caption


def test_below_six_seeds_there_is_no_p(tmp_path):
    suite = make_suite(tmp_path, seeds=5)
    fill(suite, drawn({"shared": 0.2}))
    table = tables_of(suite)["digits.tests"]
    assert shown(table)["shared"][2:][:3] == ["not testable", "not testable", "5"]
    assert rows(table)["shared"]["p"] == "not testable"
    assert "not testable: below 6 pairs no outcome has p < .05" in table.caption


def test_a_table_that_cannot_find_anything_says_so(tmp_path):
    methods = ("single_task", "shared", "mola_grad", "mmoe")
    suite = make_suite(tmp_path, methods=methods, seeds=6)
    fill(suite, lambda b, m, s: 0.5 + 0.1 * methods.index(m))
    (note,) = tables_of(suite)["digits.tests"].notes
    assert note == "with so few seeds for so many rows no p (Holm) can be below 0.094; 7 seeds would do"
    suite = make_suite(tmp_path, methods=methods, seeds=7)
    fill(suite, lambda b, m, s: 0.5 + 0.1 * methods.index(m))
    table = tables_of(suite)["digits.tests"]
    assert table.notes == () and float(rows(table)["shared"]["p_holm"]) <= 0.05


def test_pairs_are_seeds_that_both_rows_have(tmp_path):
    suite = make_suite(tmp_path, methods=("single_task", "shared"), seeds=8)
    fill(suite, drawn({}))
    for label, seed in (("single_task", 0), ("shared", 7)):
        record(suite, label, seed).unlink()
    by_name = tables_of(suite)
    assert rows(by_name["digits.tests"])["shared"]["pairs"] == "6"
    assert by_name["digits.tests"].incomplete == {"single_task", "shared"}
    row = rows(by_name["summary.tests"])["shared"]
    assert (row["mean_rank"], row["iqm_delta_task"], row["probability_of_improvement"]) == ("", "", "")


def test_dense_tasks_are_compared_by_their_logarithms(tmp_path):
    suite = make_suite(tmp_path, methods=("single_task", "shared"), benchmarks=("scenes",))
    fill(suite, lambda b, m, s: 0.5 if m == "single_task" else 0.51)
    row = rows(tables_of(suite)["scenes.tests"])["shared"]
    # mIoU × 1.02, error and angle × .98: (log 1.02 − 2 log .98)/3
    assert float(row["difference"]) == pytest.approx(100 * (0.0198026 + 2 * 0.0202027) / 3, abs=1e-3)
    assert "±log(first metric)" in tables_of(suite)["scenes.tests"].caption


BENCHMARKS = ("digits", "glyphs", "scenes", "pacs", "vlcs")


def test_all_benchmarks_together(tmp_path):
    suite = make_suite(tmp_path, benchmarks=BENCHMARKS)
    fill(suite, drawn({"shared": 0.05, "mola_grad": 0.2}, noise=0.005))
    table = tables_of(suite)["summary.tests"]
    assert [rows(table)[m]["mean_rank"] for m in suite.methods] == ["3", "2", "1"]
    assert float(rows(table)["mola_grad"]["probability_of_improvement"]) == 1
    assert 35 < float(rows(table)["mola_grad"]["iqm_delta_task"]) < 45
    assert (
        "Friedman's test over 5 benchmarks: p = 0.0067; Nemenyi: mean ranks that are less than 1.48" in table.notes[0]
    )
    critical = json.loads(next(p for p in write_tables(suite) if p.name == "critical-difference.json").read_text())
    assert critical["shown"] and critical["ranks"] == [3, 2, 1] and len(critical["nemenyi"]) == 3
    (suite.folder / "vlcs/shared/seed3/record.json").unlink()
    table = tables_of(suite)["summary.tests"]
    assert [rows(table)[m]["mean_rank"] for m in suite.methods] == ["2", "", "1"]
    assert table.notes == ("no critical difference: not every run of shared is there",)


def test_metrics_and_seeds_are_no_benchmarks(tmp_path):
    suite = make_suite(tmp_path, benchmarks=("scenes",), seeds=10)
    fill(suite, drawn({"shared": 0.05, "mola_grad": 0.2}, noise=0.005))
    assert tables_of(suite)["summary.tests"].notes == (
        "no critical difference: expected at least 5 independent benchmarks, found 1",
    )


def test_without_a_reference_nothing_is_compared_and_that_is_told(tmp_path):
    suite = make_suite(tmp_path, reference=None)
    fill(suite, drawn({}))
    by_name = tables_of(suite)
    assert "no row to compare with: compare_to and reference are null" in by_name["digits.tests"].notes
    assert "no IQM: there is no reference for Δ" in by_name["summary.tests"].notes
    assert rows(by_name["summary.tests"])["shared"]["mean_rank"] != ""
