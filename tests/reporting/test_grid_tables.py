"""What a grid chose, in every form of the table."""

import csv
import io
import math

import pytest
from synthetic import fill, make_suite, tune

from mola.reporting.pages.about import about
from mola.reporting.render import RENDERERS, to_csv, to_html, to_latex, to_markdown
from mola.reporting.write import read_results, tables

RATES = [0.004, 0.001, 0.002, 0.008]
METHODS = ("single_task", "shared", "mola_grad", "mola_router", "lora_moe")
PARTS = {"mnist": 0.002, "optdigits": 0.008, "mnistm": 0.004, "printed": 0.004}
CHOSEN = {"single_task": PARTS, "shared": 0.004, "mola_grad": 0.008, "mola_router": 0.001, "lora_moe": None}


def suite_of(tmp_path, chosen=CHOSEN, **grid):
    suite = make_suite(tmp_path, methods=METHODS, seeds=2, tune={"grid": grid or {"lr": RATES}, "seeds": 2})
    for label, rate in chosen.items():
        tune(suite, "digits", label, {} if rate is None else {"training": {"lr": rate}}, finished=4)
    fill(suite, lambda b, m, s: 0.5)
    return suite


def table_of(suite):
    return tables(suite, read_results(suite))["digits"]


def column(text, title="lr"):
    head, _, *body = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    return [row[head.index(title)] for row in body]


def test_the_chosen_rates_stand_in_every_form(tmp_path):
    suite = suite_of(tmp_path)
    table = table_of(suite)
    assert column(to_markdown(table)) == ["0.002–0.008 ‡", "0.004", "0.008 ‡", "0.001 ‡", "–"]
    assert column(to_markdown(table), "trials") == ["4"] * 5
    rows = list(csv.DictReader(io.StringIO(to_csv(table))))
    assert [row["lr"] for row in rows] == ["0.002–0.008", "0.004", "0.008", "0.001", ""]
    assert [row["lr_edge"] for row in rows] == ["highest", "", "highest", "lowest", ""]
    latex = to_latex(table)
    assert r"0.002--0.008 $^\ddagger$" in latex and "‡" not in latex
    assert "<td>0.002–0.008 ‡</td>" in to_html(table)
    assert "single_task" in about(suite, "text")
    assert all(math.isnan(e.mean) for c in table.columns if c.key == "lr" for e in c.estimates if e)


def test_the_notes_say_how_they_were_chosen(tmp_path):
    notes = table_of(suite_of(tmp_path)).notes
    assert notes == (
        "learning rate of every row: the best of 0.004, 0.001, 0.002, 0.008 on the validation split, 2 seeds each",
        "single_task, learning rate by part: mnist 0.002, optdigits 0.008 ‡, mnistm 0.004, printed 0.004",
        "‡ the best learning rate lies at the edge of the grid: one beyond it may be better",
    )
    inside = table_of(suite_of(tmp_path, dict.fromkeys(METHODS, 0.002)))
    assert not any("‡" in note for note in inside.notes) and "‡" not in to_markdown(inside)


def test_a_knob_without_an_order_has_no_edge(tmp_path):
    suite = make_suite(
        tmp_path, methods=METHODS, seeds=1, tune={"grid": {"optimizer": ["adam", "sgd"], "batch_size": [8, 16, 32]}}
    )
    for label in METHODS:
        tune(suite, "digits", label, {"training": {"optimizer": "adam", "batch_size": 8}})
    fill(suite, lambda b, m, s: 0.5)
    table = table_of(suite)
    assert column(to_markdown(table), "optimizer") == ["adam"] * 5
    assert column(to_markdown(table), "batch_size") == ["8 ‡"] * 5
    assert "optimizer of every row: the best of adam, sgd on the validation split, 1 seed each" in table.notes


@pytest.mark.parametrize("settings", [None, {"trials": 4}])
def test_without_a_grid_there_is_no_such_column(tmp_path, settings):
    suite = make_suite(tmp_path, methods=METHODS, seeds=1, tune=settings)
    for label in METHODS if settings else ():
        tune(suite, "digits", label, {"training": {"lr": 0.1}})
    fill(suite, lambda b, m, s: 0.5)
    table = table_of(suite)
    assert not any(c.key.startswith("lr") for c in (*table.columns, *table.csv_only))
    assert not any("learning rate" in note for note in table.notes)
    assert all(render(table) for render in RENDERERS.values())
