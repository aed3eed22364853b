"""Lines under a table: which records are certified."""

import synthetic

from mola.reporting.results.read import read_results
from mola.reporting.tables.assemble import benchmark_table, summary_table
from mola.reporting.tables.notes import certified

ONE = {"seed": 0, "commit": "1a2b3c4d5e", "trained_fingerprint": "c"}


def notes(suite, keys):
    synthetic.fill(suite, lambda *_: 0.5, certified=lambda name, label, seed: keys.get((label, seed)))
    return read_results(suite)


def test_certified_records_are_counted_and_rows_with_one_answer_share_a_line(tmp_path):
    suite = synthetic.make_suite(tmp_path, seeds=3)
    keys = {(label, seed): ONE for label in ("single_task", "shared") for seed in (1, 2)}
    keys["mola_grad", 2] = {**ONE, "seed": 1, "commit": "ffffffff"}
    results = notes(suite, keys)
    lines = (
        "single_task, shared: 2 of 3 records certified by seed 0 at 1a2b3c4",
        "mola_grad: 1 of 3 records certified by seed 1 at fffffff",
    )
    assert certified(results["digits"].rows) == lines
    table = benchmark_table("digits", results["digits"], suite.seeds, None)
    assert table.notes[:2] == lines
    assert f"digits: {lines[0]}" in summary_table("synthetic", results, suite.seeds, None).notes


def test_a_line_of_every_row_names_none_and_other_tables_have_none(tmp_path):
    suite = synthetic.make_suite(tmp_path, seeds=2)
    results = notes(suite, {(label, 1): ONE for label in suite.methods})
    assert certified(results["digits"].rows) == ("1 of 2 records certified by seed 0 at 1a2b3c4",)
    assert certified(notes(suite, {})["digits"].rows) == ()
