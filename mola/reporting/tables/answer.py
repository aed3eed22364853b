"""The answer to the suite's question: which of the ``answers`` of the configuration is best, or that nobody can tell.

An answer, such as "pool them", has rows. The row with the best score on valid stands for it, so that the choice among
them sees nothing of test. Test scores of the chosen rows are then compared pair by pair.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mola.metrics import averageable, overall
from mola.reporting.results.read import Results
from mola.reporting.results.records import Row, scores
from mola.reporting.statistics.paired import Difference, differences
from mola.reporting.tables.costs import cost_columns
from mola.reporting.tables.layout import Column, Estimate, Table, estimate
from mola.reporting.tables.significance import INTERVAL, difference_columns, paired, unit
from mola.types import Task

ALPHA = 0.05
# of a score: what lies behind them is rounding, which another machine may do in another way
DIGITS = 9


@dataclass(frozen=True)
class Verdict:
    """What the comparison of the answers says.

    chosen:      answer → the row that stands for it.
    best:        the answers that no other one beats, in the configuration's order.
    recommended: the one of them whose predictions depend on the fewest parameters.
    against:     answer → its difference from the recommended one.
    text:        all of it in words.
    """

    chosen: Mapping[str, Row]
    best: tuple[str, ...]
    recommended: str
    against: Mapping[str, Difference | None]
    text: str


def verdict(results: Results, answers: Mapping[str, Sequence[str]]) -> Verdict | str:
    """The verdict, or a sentence that says why there is none yet."""
    rows = {row.label: row for row in results.rows}
    trained = {answer: [rows[label] for label in labels if label in rows] for answer, labels in answers.items()}
    missing = [row.label for of_answer in trained.values() for row in of_answer if not row.complete]
    if missing:
        return f"no answer yet: not every run of {', '.join(missing)} is in."
    chosen = {answer: best_of(of_answer, results.tasks) for answer, of_answer in trained.items() if of_answer}
    if len(chosen) < 2:
        return "no answer: fewer than two of the answers have rows on this benchmark."
    seeds = len(next(iter(chosen.values())).records)
    if seeds < 2:
        return "no answer: one seed says nothing about the next one; raise seeds."
    beaten = _beaten(chosen, results.tasks)
    best = tuple(answer for answer in chosen if answer not in beaten)
    # by rounding alone can all be beaten: a circle of three
    best = best or tuple(chosen)
    recommended = min(best, key=lambda answer: _size(chosen[answer]))
    against = _against(recommended, chosen, results.tasks)
    return Verdict(chosen, best, recommended, against, _text(chosen, best, recommended, against, results.tasks))


def answer_table(name: str, results: Results, answers: Mapping[str, Sequence[str]]) -> Table:
    """The answers, each with its row, scores, difference from the recommended answer, and cost."""
    judgement = verdict(results, answers)
    if isinstance(judgement, str):
        return Table(f"{name}: answer", (), (), f"{name}: {judgement}", ())
    rows = tuple(judgement.chosen.values())
    names = tuple(Estimate(math.nan, words=row.label) for row in rows)
    on_valid = tuple(estimate([100 * overall(r.valid, results.tasks) for r in row.records.values()]) for row in rows)
    on_test = tuple(estimate([*map(float, scores(row.records, results.tasks))]) for row in rows)
    columns = (
        Column("row", "row", names, interval=False),
        Column("valid", "valid", on_valid, better="higher"),
        Column("test", "test", on_test, better="higher"),
        *difference_columns(
            [judgement.against[answer] for answer in judgement.chosen], f"difference from {judgement.recommended}"
        ),
        *cost_columns(rows),
    )
    caption = (
        f"{name}: {judgement.text} Of the rows of each answer the one with the best score on valid stands for it. "
        f"Differences: {unit(results.tasks)} on test, by seed, with the {INTERVAL}."
    )
    return Table(f"{name}: answer", tuple(judgement.chosen), columns, caption, (), first="answer")


def in_words(benchmarks: Mapping[str, Results], answers: Mapping[str, Sequence[str]]) -> list[str]:
    """The verdict of each benchmark, a line each; none where the suite has no answers to choose among."""
    if not answers:
        return []
    verdicts = {name: verdict(results, answers) for name, results in benchmarks.items()}
    return [f"{name}: {each if isinstance(each, str) else each.text}" for name, each in verdicts.items()]


def best_of(rows: Sequence[Row], tasks: Sequence[Task]) -> Row:
    """The row with the best mean score on valid; of those that are equal but for rounding the first."""
    means = [float(np.mean([overall(r.valid, tasks) for r in row.records.values()])) for row in rows]
    return rows[max(range(len(rows)), key=lambda i: (round(means[i], DIGITS), -i))]


def _size(row: Row) -> float:
    return float(np.mean([record.parameters.inference for record in row.records.values()]))


def _beaten(chosen: Mapping[str, Row], tasks: Sequence[Task]) -> set[str]:
    """The answers that another one beats: their paired difference is told from 0, among all pairs."""
    pairs = list(itertools.combinations(chosen, 2))
    gaps = differences([paired(chosen[a].records, chosen[b].records, tasks) for a, b in pairs])
    return {(a if gap.mean < 0 else b) for (a, b), gap in zip(pairs, gaps, strict=True) if gap and told_apart(gap)}


def is_worse(gap: Difference | None) -> bool:
    """Whether a difference is below 0, and beyond chance."""
    return gap is not None and gap.mean < 0 and told_apart(gap)


def told_apart(gap: Difference) -> bool:
    """Whether a difference is beyond chance: its interval leaves out 0 and, where there are seeds enough to test, its p
    is below .05 after Holm's correction. Of so few seeds that an interval has no width, none is.
    """
    if gap.holm is None and gap.low == gap.high:
        return False
    return not gap.low <= 0 <= gap.high and (gap.holm is None or gap.holm <= ALPHA)


def _against(recommended: str, chosen: Mapping[str, Row], tasks: Sequence[Task]) -> dict[str, Difference | None]:
    """Each answer's difference from the recommended one; p is corrected for these."""
    base = chosen[recommended].records
    others = [answer for answer in chosen if answer != recommended]
    gaps = differences([paired(chosen[answer].records, base, tasks) for answer in others])
    by_answer = dict(zip(others, gaps, strict=True))
    return {answer: by_answer.get(answer) for answer in chosen}


def _text(
    chosen: Mapping[str, Row],
    best: Sequence[str],
    recommended: str,
    against: Mapping[str, Difference | None],
    tasks: Sequence[Task],
) -> str:
    """The verdict in two or three sentences."""

    def titled(answer: str) -> str:
        return f"{answer} ({chosen[answer].label})"

    def gap(answer: str, sign: int = 1) -> str:
        difference = against[answer]
        if difference is None:
            return "no finite difference"
        low, high = sorted((sign * difference.low, sign * difference.high))
        name = "points" if averageable(tasks) else "%, near enough,"
        # + 0.0: no −0.00
        mean, low, high = (round(value, 2) + 0.0 for value in (sign * difference.mean, low, high))
        return f"{mean:+.2f} {name} [{low:+.2f}, {high:+.2f}]".replace("-", "−")

    equals = [answer for answer in best if answer != recommended]
    beaten = [answer for answer in chosen if answer not in best]
    worse = [answer for answer in beaten if is_worse(against[answer])]
    sentences = []
    if equals:
        names = " and ".join(f"{titled(answer)} {gap(answer)}" for answer in equals)
        sentences.append(f"No difference beyond chance from {titled(recommended)}: {names}.")
        sentences.append(f"Of these, {recommended} needs the fewest parameters.")
    if worse:
        names = " and ".join(f"{titled(answer)} by {gap(answer, -1)}" for answer in worse)
        sentences.append(f"{capital(titled(recommended))} is better than {names}.")
    if others := [answer for answer in beaten if answer not in worse]:
        names = " and ".join(f"{titled(answer)} {gap(answer)}" for answer in others)
        sentences.append(f"Worse than another answer, but not beyond chance worse than {recommended}: {names}.")
    return " ".join(sentences)


def capital(text: str) -> str:
    """Text with a capital in front."""
    return text[:1].upper() + text[1:]
