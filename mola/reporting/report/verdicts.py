"""The question and its answer, benchmark by benchmark: from the numbers by rule."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mola.config import Suite
from mola.reporting.render.text import in_parts, text
from mola.reporting.results.read import Results
from mola.reporting.tables.answer import Verdict, capital, is_worse, verdict
from mola.reporting.tables.layout import Table
from mola.reporting.tables.leader import leader

NOTHING = "No answer yet: no row has all its runs."


@dataclass(frozen=True)
class Choice:
    """One of the answers: the row that stands for it, its score on test and its difference, each with its interval, and
    whether it is worse.
    """

    answer: str
    row: str
    score: tuple[str, str]
    difference: tuple[str, str]
    state: str  # recommended, worse than that, or equal


@dataclass(frozen=True)
class Card:
    """The verdict of one benchmark. title: empty where there is no answer yet."""

    benchmark: str
    title: str
    words: str
    choices: Sequence[Choice] = ()


def question(suite: Suite) -> str:
    """What the suite asks, in words."""
    if len(suite.answers) > 1:
        *others, last = suite.answers
        return f"Which is best: {', '.join(others)} or {last}?"
    base = suite.compare_to or suite.reference
    return f"Which of {len(suite.methods)} rows is best{f', and is it better than {base}' if base else ''}?"


def verdicts(suite: Suite, benchmarks: Mapping[str, Results]) -> dict[str, Verdict | str]:
    """Of every benchmark; empty where the suite has no answers to choose among."""
    return {name: verdict(results, suite.answers) for name, results in benchmarks.items()} if suite.answers else {}


def cards(
    suite: Suite,
    benchmarks: Mapping[str, Results],
    tables: Mapping[str, Table],
    judged: Mapping[str, Verdict | str],
) -> list[Card]:
    """A card per benchmark."""
    if judged:
        return [_card(name, each, tables[f"{name}.answer"]) for name, each in judged.items()]
    every = {name: leader(results, suite.compare_to or suite.reference) for name, results in benchmarks.items()}
    return [Card(name, best.label if best else "", best.text if best else NOTHING) for name, best in every.items()]


def tally(judged: Mapping[str, Verdict | str], answers: Iterable[str]) -> str:
    """Of several benchmarks that have a verdict, on how many each answer is best, or as good as the best."""
    known = [each for each in judged.values() if isinstance(each, Verdict)]
    if len(known) < 2:
        return ""
    asked = {answer: [each for each in known if answer in each.chosen] for answer in answers}
    counts = {answer: sum(answer in each.best for each in some) for answer, some in asked.items() if some}
    ordered = sorted(counts, key=lambda answer: -counts[answer])
    parts = (f"{answer} on {counts[answer]} of {len(asked[answer])}" for answer in ordered)
    return f"Best, or not significantly worse than the best: {', '.join(parts)} benchmarks."


def _card(benchmark: str, judgement: Verdict | str, table: Table) -> Card:
    if isinstance(judgement, str):
        return Card(benchmark, "", capital(judgement))
    columns = {column.key: column for column in table.columns}
    choices = []
    for number, (answer, row) in enumerate(judgement.chosen.items()):
        state = "worse" if is_worse(judgement.against[answer]) else "equal"
        state = "recommended" if answer == judgement.recommended else state
        score, difference = (in_parts(text(table, columns[key], number)) for key in ("test", "difference"))
        choices.append(Choice(answer, row.label, score, difference, state))
    return Card(benchmark, capital(judgement.recommended), judgement.text, choices)
