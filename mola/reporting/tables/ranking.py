"""All benchmarks at once: mean rank, interquartile mean of Δ, probability of improvement, critical difference."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from mola.reporting.results.read import Results
from mola.reporting.statistics import delta_task
from mola.reporting.statistics.across import Interval, interquartile, mean_ranks, probability_of_improvement
from mola.reporting.statistics.critical import Critical, critical
from mola.reporting.statistics.intervals import Floats
from mola.reporting.tables.estimates import Column, Estimate
from mola.reporting.tables.layout import Table
from mola.reporting.tables.significance import NO_BASE, scores_of

Benchmarks = Mapping[str, Results]


def ranking_table(benchmarks: Benchmarks, reference: str | None, base: str | None) -> Table:
    """One row per method that has every run of every benchmark; – for the others.

    reference: of Δ; base: whom a row must beat.
    """
    results = list(benchmarks.values())
    first = results[0]
    incomplete = frozenset().union(*(r.incomplete for r in results))
    whole = [row for row, label in enumerate(first.labels) if label not in incomplete]
    difference = critical_of(benchmarks)
    columns = (
        _column("mean_rank", "mean rank", _ranks(results, whole), len(first.labels), better="lower", interval=False),
        _column("iqm_delta_task", "IQM of Δ_task", _iqm(results, whole, reference), len(first.labels), signed=True),
        _column("probability_of_improvement", "P(better)", _improvements(results, whole, base), len(first.labels)),
    )
    caption = (
        f"{len(results)} benchmarks together. Mean rank by mean score, of the rows that have every run; ties share. "
        f"IQM: mean of the middle half of Δ_task against {reference or 'a reference'}, over benchmarks and seeds. "
        f"P(better): the chance that a run beats one of {base or 'the row compared with'}, on a random benchmark. "
        "[95 % intervals]: bootstrap, stratified by benchmark, of seeds: they say nothing about other benchmarks."
    )
    reason = difference.reason
    lines = [f"no critical difference: {reason}" if reason else _described(difference)]
    lines += [] if base else [NO_BASE]
    if reference is None:
        lines.append("no IQM: there is no reference for Δ")
    return Table("summary: tests", first.labels, columns, caption, tuple(lines), incomplete, first.groups)


def critical_of(benchmarks: Benchmarks) -> Critical:
    """What a critical-difference diagram of mean scores shows, or why there is none."""
    results = list(benchmarks.values())
    scores = np.array(
        [
            [
                scores.mean() if row.complete else math.nan
                for row, scores in zip(r.rows, scores_of(r.rows, r.tasks), strict=True)
            ]
            for r in results
        ]
    )
    return critical(scores, list(benchmarks), results[0].labels)


def critical_as_json(difference: Critical) -> dict[str, Any]:
    """For the figure: plain data."""
    return {"shown": difference.reason is None, **asdict(difference)}


def _described(difference: Critical) -> str:
    return (
        f"Friedman's test over {len(difference.benchmarks)} benchmarks: p = {difference.friedman:.2g}; Nemenyi: mean "
        f"ranks that are less than {difference.distance:.2f} apart are not told apart"
    )


def _ranks(results: Sequence[Results], whole: Sequence[int]) -> dict[int, Estimate]:
    if len(whole) < 2:
        return {}
    means = np.array([[row.mean() for row in _chosen(r, whole)] for r in results])
    return {row: Estimate(float(rank)) for row, rank in zip(whole, mean_ranks(means), strict=True)}


def _iqm(results: Sequence[Results], whole: Sequence[int], reference: str | None) -> dict[int, Estimate]:
    estimates = {}
    if all(r.base(reference) for r in results):
        for row in whole:
            gains = [_gains(r, row, reference) for r in results]
            same = len({len(values) for values in gains}) == 1  # else the reference lacks seeds
            if same and results[0].labels[row] != reference and np.isfinite(gains).all():
                estimates[row] = _estimate(interquartile(np.array(gains)), gains[0].size)
    return estimates


def _gains(results: Results, row: int, reference: str | None) -> Floats:
    """(S,) Δ_task by seed."""
    directions = {task.name: task.metrics for task in results.tasks}
    base = results.base(reference)
    records = results.rows[row].records
    return np.array([delta_task(r.test, base[seed].test, directions) for seed, r in records.items() if seed in base])


def _improvements(results: Sequence[Results], whole: Sequence[int], base: str | None) -> dict[int, Estimate]:
    labels = list(results[0].labels)
    if base not in labels or labels.index(base) not in whole:
        return {}
    theirs = [_chosen(r, [labels.index(base)])[0] for r in results]
    estimates = {}
    for row in whole:
        if labels[row] != base:
            ours = [_chosen(r, [row])[0] for r in results]
            estimates[row] = _estimate(probability_of_improvement(ours, theirs), len(ours[0]))
    return estimates


def _chosen(results: Results, rows: Sequence[int]) -> list[Floats]:
    return scores_of([results.rows[row] for row in rows], results.tasks)


def _estimate(interval: Interval, n: int) -> Estimate:
    mean, low, high = interval
    return Estimate(mean, n=n, ends=(low, high))


def _column(key: str, title: str, estimates: Mapping[int, Estimate], rows: int, **looks: Any) -> Column:
    return Column(key, title, tuple(estimates.get(row) for row in range(rows)), **looks)
