"""Tables from synthetic records: every number can be checked by hand."""

import csv
import io
from importlib.metadata import version

import pytest
import synthetic

from mola.config import load
from mola.experiment import provenance
from mola.experiment.spec import Experiment, experiments
from mola.reporting.render import to_csv, to_html, to_latex, to_markdown
from mola.reporting.results import records
from mola.reporting.results.read import Results
from mola.reporting.results.records import collect
from mola.reporting.tables.assemble import benchmark_table, summary_table
from mola.types import Task

TASKS = tuple(Task(n, "classes", 10, ("accuracy",)) for n in ("mnist", "optdigits", "mnistm", "printed"))


@pytest.fixture
def suite(suite_file):
    return load(
        suite_file(seeds=3, reference="single_task", methods={"single_task": None, "shared": None, "mola_grad": None})
    )


def write(suite, label, seed, accuracy, **changes):
    scores = {task.name: {"accuracy": accuracy} for task in TASKS}
    return synthetic.write(synthetic.experiment(suite, label), seed, scores, **changes)


def fill(suite, **changes):
    for seed, (single, shared, mola) in enumerate([(0.50, 0.40, 0.60), (0.50, 0.50, 0.55), (0.50, 0.45, 0.65)]):
        write(suite, "single_task", seed, single, **changes)
        write(suite, "shared", seed, shared, **changes)
        write(suite, "mola_grad", seed, mola, **changes)


def table(suite, **options):
    return benchmark_table(
        "digits", Results(TASKS, collect(experiments(suite), **options)), suite.seeds, suite.reference
    )


def test_runs_on_other_prepared_data_are_named(suite, monkeypatch):
    monkeypatch.setattr(Experiment, "data_identity", None)  # the data is not prepared here
    fill(suite)
    assert "prepared data" not in to_markdown(table(suite))
    write(suite, "shared", 1, 0.99, data="another hash")
    text = to_markdown(table(suite))
    assert "shared, seeds 1: left out: made on other prepared data than most runs of this table" in text
    assert "| shared † | 42.50" in text
    monkeypatch.setattr(Experiment, "data_identity", "another hash")
    text = to_markdown(table(suite))
    assert "single_task, seeds 0–2: left out: made on other prepared data than is there now" in text
    assert "| shared † | 99.00" in text


def test_selection_on_the_reported_split_is_named(suite):
    fill(suite)
    results = Results(TASKS, collect(experiments(suite)), held_out=False)
    text = to_markdown(benchmark_table("digits", results, suite.seeds, suite.reference))
    assert "selected on the split reported here" in text and "selected on the validation split" not in text
    assert "selected on the split reported" in summary_table("tiny", {"digits": results}, suite.seeds, None).caption


def test_numbers_marks_and_caption(suite):
    fill(suite)
    text = to_markdown(table(suite))
    rows = {line.split(" | ")[0].strip("| "): line for line in text.splitlines() if line.startswith("|")}
    # sd 5, n = 3: half-width 4.302653 · 5 / √3 = 12.42; Δ of mola_grad: +20, +10, +30 percent
    assert "**60.00 ± 12.42**" in rows["mola_grad"]
    assert "**+20.00 ± 24.84**" in rows["mola_grad"]
    assert "<u>50.00 ± 0.00</u>" in rows["single_task"]
    assert "<u>−10.00 ± 24.84</u>" in rows["shared"]
    assert "| 2.00 | 0.005 | 250 |" in rows["shared"]
    assert "95 % t interval over 3 seeds (0–2)" in text
    assert "selected on the validation split" in text
    assert "relative gain over single_task" in text
    assert "Notes" not in text


def test_csv_is_exact(suite):
    fill(suite)
    rows = {row["method"]: row for row in csv.DictReader(io.StringIO(to_csv(table(suite))))}
    assert float(rows["mola_grad"]["mnist"]) == pytest.approx(60)
    assert float(rows["mola_grad"]["delta_task_ci95"]) == pytest.approx(24.8414, abs=1e-3)
    assert rows["mola_grad"]["average_n"] == "3"
    assert rows["single_task"]["delta_task"] == ""


def test_what_does_not_belong_is_named_and_never_raises_a_mean(suite):
    fill(suite)
    write(suite, "mola_grad", 0, 0.99, status="failed", reason="ArithmeticError: training diverged")
    write(suite, "shared", 1, 0.99, fingerprint=synthetic.OTHER)
    write(suite, "single_task", 2, 0.5).write_text("{")
    text = to_markdown(table(suite))
    assert "mola_grad, seeds 0: failed: ArithmeticError: training diverged" in text
    assert "shared, seeds 1: left out: trained with other code, settings and splits" in text
    assert "single_task, seeds 2: unreadable record" in text
    assert "| mola_grad † |" in text
    assert "60.00" in text  # the mean of 55 and 65, unmarked: the row lacks a seed
    assert "**60.00" not in text
    assert "0.99" not in text and "99.00" not in text


def test_a_dirty_run_counts_once_its_code_is_committed(suite, monkeypatch):
    fill(suite)
    write(suite, "shared", 2, 0.45, dirty=True)
    monkeypatch.setattr(provenance, "changed", lambda: frozenset({"README.md", "mola/methods/mola_grad.py"}))
    assert "no commit" not in to_markdown(table(suite))
    monkeypatch.setattr(provenance, "changed", lambda: frozenset({"README.md", "mola/methods/shared.py"}))
    text = to_markdown(table(suite))
    assert "shared, seeds 2: left out: trained with code that is in no commit (mola/methods/shared.py); commit" in text
    assert "| shared † | 45.00 ± 63.53 (n = 2) |" in text  # of .40 and .50
    drafts = table(suite, drafts=True)
    assert "seeds 2: trained with code that is in no commit (mola/methods/shared.py): a draft" in to_markdown(drafts)
    assert "| shared (draft) | 45.00 ± 12.42 |" in to_markdown(drafts)


def test_a_first_table_shows_drafts_and_says_so(suite, monkeypatch):
    """Where nothing is committed yet there is no table but one of drafts; one run that counts ends that."""
    fill(suite, dirty=True)
    monkeypatch.setattr(provenance, "changed", lambda: frozenset({"mola/training/fit.py"}))
    text = to_markdown(table(suite))
    assert "| shared (draft) |" in text and "| mola_grad (draft) |" in text and "†" not in text
    assert "(draft): trained with code that is in no commit" in text
    assert "shared, seeds 0–2: trained with code that is in no commit (mola/training/fit.py): a draft" in text
    write(suite, "mola_grad", 1, 0.6)
    text = to_markdown(table(suite))
    assert "(draft)" not in text and "| shared † | – |" in text and "| mola_grad † | 60.00 (n = 1) |" in text


def test_code_of_the_users_own_alone_makes_a_row_a_draft(suite, monkeypatch):
    fill(suite)
    write(suite, "shared", 2, 0.45, dirty=True)
    monkeypatch.setattr(records, "uncommitted", lambda experiment: "methods/mine.py")
    monkeypatch.setattr(records, "only_of_user", lambda experiment: True)
    text = to_markdown(table(suite))
    assert "| shared (draft) | 45.00 ± 12.42 |" in text and "| mola_grad |" in text
    assert "shared, seeds 2: trained with code that is in no commit (methods/mine.py): a draft" in text


def test_a_run_that_was_trained_without_git_is_a_draft_until_a_commit_has_its_code(suite, monkeypatch):
    fill(suite)
    write(suite, "shared", 2, 0.45, dirty=None)
    monkeypatch.setattr(provenance, "changed", lambda: frozenset())
    assert "(draft)" not in to_markdown(table(suite))
    monkeypatch.setattr(provenance, "changed", lambda: None)
    text = to_markdown(table(suite))
    assert "| shared (draft) | 45.00 ± 12.42 |" in text and "| mola_grad |" in text
    assert "shared, seeds 2: trained with code that is in no commit (no git here to tell which): a draft" in text


@pytest.mark.parametrize("value", [None, float("nan"), "high"])
def test_a_score_that_is_no_number_is_named(suite, value):
    fill(suite)
    scores = {task.name: {"accuracy": 0.9} for task in TASKS} | {"mnistm": {"accuracy": value}}
    write(suite, "shared", 0, 0.0, test=scores)
    problems = {"high": "test.mnistm.accuracy: should be a valid number, found 'high'"}
    problem = problems.get(value, "test: expected a number for mnistm accuracy, found nan")
    digits = table(suite, tasks=TASKS)
    assert any(note.startswith(f"shared, seeds 0: unreadable record: {problem}") for note in digits.notes), digits.notes
    assert "| shared † | 47.50" in to_markdown(digits)


def test_a_row_that_lacks_seeds_says_how_many_it_has(suite):
    fill(suite)
    assert "| n |" not in to_markdown(table(suite))
    write(suite, "shared", 1, 0.99, status="failed", reason="OutOfMemoryError")
    rows = [line.split(" | ") for line in to_markdown(table(suite)).splitlines() if line.startswith("|")]
    assert rows[0][-1] == "n |" and [row[-1] for row in rows[2:]] == ["3 |", "2 |", "3 |"]


def test_what_the_reference_lacks_is_named_for_every_gain_over_it(suite):
    fill(suite)
    write(suite, "single_task", 1, 0.99, status="failed", reason="OutOfMemoryError")
    digits = table(suite)
    rows = {line.split(" | ")[0].strip("| "): line for line in to_markdown(digits).splitlines() if line.startswith("|")}
    # +20 and +30 percent: half-width 12.706 · 7.07 / √2
    assert "| **60.00 ± 12.42** | +25.00 ± 63.53 (n = 2) |" in rows["mola_grad"], "no gain is best, the average is"
    assert "| single_task † | 50.00 ± 0.00 (n = 2) |" in rows["single_task †"] and "(n" not in rows["method"]
    assert "(n = …): the seeds that a mean is over" in to_markdown(digits)
    assert r"+25.00{\scriptsize\,$\pm$\,63.53 (n = 2)}" in to_latex(digits)
    assert "+25.00 <small>± 63.53 (n = 2)</small>" in to_html(digits)
    whole = summary_table("tiny", {"digits": Results(TASKS, collect(experiments(suite)))}, suite.seeds, suite.reference)
    assert "| mola_grad | **60.00 ± 12.42** | +25.00 ± 63.53 (n = 2) |" in to_markdown(whole)


def test_a_reference_of_zero_is_named(suite):
    fill(suite)
    write(suite, "single_task", 1, 0.0)
    text = to_markdown(table(suite))
    assert "single_task, seeds 1: mnist accuracy is 0, so that Δ is not defined" in text
    assert "nan" not in text


def test_missing_runs_and_missing_reference(suite):
    write(suite, "shared", 0, 0.4)
    text = to_markdown(table(suite))
    assert "single_task, seeds 0–2: missing: not trained" in text
    assert "no finished run of the reference single_task: no Δ" in text
    assert "Δ_task |" not in text


def test_latex_is_booktabs_and_escaped(suite):
    fill(suite)
    text = to_latex(table(suite))
    assert r"\toprule" in text and r"\bottomrule" in text
    assert r"mola\_grad" in text and r"\textbf{60.00{\scriptsize\,$\pm$\,12.42}}" in text and r"\underline{" in text
    assert r"$\Delta_\mathrm{task}$" in text and r"\Delta$\_task" not in text
    assert not any(c in text for c in "±Δ–−†")


def test_summary_has_a_pair_of_columns_per_benchmark(suite):
    fill(suite)
    digits = summary_table(
        "tiny", {"digits": Results(TASKS, collect(experiments(suite)))}, suite.seeds, suite.reference
    )
    assert [c.key for c in digits.columns] == ["digits_average", "digits_delta_task"]
    assert "| mola_grad | **60.00 ± 12.42** | **+20.00 ± 24.84** |" in to_markdown(digits)


def test_other_versions_are_named_and_the_runs_count(suite):
    fill(suite)
    write(suite, "shared", 1, 0.50, versions={"torch": "1.9.0", "numpy": version("numpy"), "tqdm": "0.1"})
    note = (
        f"shared, seeds 1: trained with torch 1.9.0, now {version('torch')}; mola train --renew trains such runs again"
    )
    digits = table(suite)
    assert digits.notes == (note,) and "| shared | 45.00 ± 12.42 |" in to_markdown(digits)


def test_a_record_of_a_newer_version_is_refused(suite):
    fill(suite)
    write(suite, "shared", 1, 0.50, version=6)
    (note,) = table(suite).notes
    assert note.startswith("shared, seeds 1: unreadable record: version: should be 5, found 6") and len(note) < 200
