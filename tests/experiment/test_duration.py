"""How long runs took and will take, from records."""

from types import SimpleNamespace

import pytest

from mola.experiment.duration import in_words, left, recorded, span


def runs(seconds, *states, status="done"):
    """A done run for every number of seconds, then runs of these states without a record."""
    return [*((status, SimpleNamespace(seconds=s)) for s in seconds), *((state, None) for state in states)]


def test_what_is_recorded_counts_failures():
    suite = {("digits", "shared"): runs([100, 200]), ("digits", "wild"): runs([60], status="failed")}
    assert recorded(suite) == 360
    assert left(suite) == 0, "what failed has a record"
    assert in_words(suite) == "; 6 min of training recorded"


def test_what_is_left_counts_as_the_done_runs_that_are_most_like_it():
    suite = {
        ("small", "fast"): runs([10, 20], "to do", "stale"),
        ("small", "slow"): runs([40]),
        ("large", "fast"): runs([100]),
    }
    assert left(suite) == 2 * 15, "its row on its benchmark"
    assert left(suite | {("large", "slow"): runs([], "to do")}) == 30 + 100, "its benchmark"
    # of the suite: 10, 20, 40, 100
    assert left(suite | {("other", "fast"): runs([], "interrupted", "running")}) == pytest.approx(30 + 2 * 170 / 4)
    assert left({("small", "fast"): runs([60], "to do", status="failed")}) is None, (
        "how long a failure took tells nothing"
    )


def test_the_words_of_the_last_line():
    assert in_words({("digits", "shared"): runs([], "to do")}) == "", "nothing is known"
    suite = {("digits", "shared"): runs([2460.0, 2460.0], "to do", "to do")}
    assert in_words(suite) == "; 1 h 22 min of training recorded, about 1 h 22 min to do in one process"
    tuned = suite | {("digits", "mola_grad"): runs([], "to tune")}
    assert in_words(tuned).endswith("about 2 h 3 min to do in one process, tuning aside")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "1 s"), (59.4, "59 s"), (59.7, "1 min"), (61, "1 min"), (3599, "1 h 0 min"), (4800, "1 h 20 min")],
)
def test_spans(seconds, text):
    assert span(seconds) == text
