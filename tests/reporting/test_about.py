"""The page about a suite's runs."""

from synthetic import edit, record

from mola.reporting.pages.about import about


def test_the_page_about_the_runs(tuned_suite):
    edit(record(tuned_suite, "shared", 0), status="failed", reason="ArithmeticError: <diverged>")
    edit(record(tuned_suite, "shared", 1), versions={"mola": "2.14"}, device="cpu: one", commit="abc", dirty=True)
    text = about(tuned_suite, "suite: synthetic  # <ours>", drafts=True)
    assert "11 of 12 runs are finished: 1 benchmarks, 4 methods, 3 seeds. Hours of training in all: 0.55." in text
    assert "2 of 3" in text and "ArithmeticError: &lt;diverged&gt;" in text and "# &lt;ours&gt;" in text
    assert "2.14 (1 runs)" in text and "abc with uncommitted changes (1 runs)" in text
