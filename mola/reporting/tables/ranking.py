"""All benchmarks at once: mean rank, interquartile mean of Δ, probability of improvement, critical difference."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from mola.reporting.results.read import Results, aligned
from mola.reporting.results.records import pairs, scores
from mola.reporting.statistics import delta_task
from mola.reporting.statistics.across import interquartile, mean_ranks
from mola.reporting.statistics.critical import Critical, critical
from mola.reporting.tables.layout import Column, Estimate, Table
from mola.reporting.tables.significance import NO_BASE, improvement

Benchmarks = Mapping[str, Results]


def ranking_table(benchmarks: Benchmarks, reference: str | None, base: str | None) -> Table:
    """One row per method; – for those that lack a run, or are not trained on every benchmark.

    reference: of Δ; base: whom a row must beat.
    """
    results = list(aligned(benchmarks).values())
    first = results[0]
    incomplete = frozenset().union(*(r.incomplete for r in results))
    # label → (S,) scores on each benchmark
    whole = {
        label: [scores(r.rows[row].records, r.tasks) for r in results]
        for row, label in enumerate(first.labels)
        if label not in incomplete and all(r.rows[row].records for r in results)
    }
    ranks = mean_ranks(np.array([[of.mean() for of in every] for every in whole.values()]).T) if len(whole) > 1 else ()
    mean_rank = {label: Estimate(float(rank)) for label, rank in zip(whole, ranks, strict=False)}
    better = {label: improvement(of, whole[base]) for label, of in whole.items() if base in whole and label != base}
    iqm = _iqm(results, whole, reference)

    def column(key: str, title: str, estimates: Mapping[str, Estimate | None], **looks: Any) -> Column:
        return Column(key, title, tuple(map(estimates.get, first.labels)), **looks)

    columns = (
        column("mean_rank", "mean rank", mean_rank, better="lower", interval=False),
        column("iqm_delta_task", "IQM of Δ_task", iqm, signed=True),
        column("probability_of_improvement", "P(better)", better),
    )
    caption = (
        f"{_number(benchmarks)} together. Mean rank by mean score, of the rows that have every run; ties share. "
        f"IQM: mean of the middle half of Δ_task against {reference or 'a reference'}, over benchmarks and seeds. "
        f"P(better): the chance that a run beats one of {base or 'the row compared with'}, on a random benchmark. "
        "[95 % intervals]: bootstrap, stratified by benchmark, of seeds: they say nothing about other benchmarks."
    )
    difference = critical_of(benchmarks)
    lines = [f"no critical difference: {difference.reason}" if difference.reason else _described(difference)]
    lines += [] if base else [NO_BASE]
    if reference is None:
        lines.append("no IQM: there is no reference for Δ")
    drafts = frozenset().union(*(r.drafts for r in results))
    return Table(
        "summary: tests", first.labels, columns, caption, tuple(lines), incomplete, first.groups, drafts=drafts
    )


def _names(benchmarks: Benchmarks) -> list[str]:
    """The benchmark of every entry."""
    return [results.name or label for label, results in benchmarks.items()]


def _number(benchmarks: Benchmarks) -> str:
    """How many benchmarks these are, each once or in several entries."""
    names = _names(benchmarks)
    different = len({*names})
    benchmarks_of = f"{different} benchmark{'s' if different > 1 else ''}"
    return f"{len(names)} benchmarks" if different == len(names) else f"{len(names)} entries of {benchmarks_of}"


def critical_of(benchmarks: Benchmarks) -> Critical:
    """What a critical-difference diagram of mean scores shows, or why there is none; of the rows that are trained on
    every benchmark.
    """
    results = list(aligned(benchmarks).values())
    trained = [i for i in range(len(results[0].rows)) if all(r.rows[i].records or r.rows[i].problems for r in results)]
    means = [
        [scores(row.records, r.tasks).mean() if row.complete else math.nan for row in (r.rows[i] for i in trained)]
        for r in results
    ]
    return critical(np.array(means), list(benchmarks), [results[0].labels[i] for i in trained], _names(benchmarks))


def _described(difference: Critical) -> str:
    return (
        f"Friedman's test over {len(difference.benchmarks)} benchmarks: p = {difference.friedman:.2g}; Nemenyi: mean "
        f"ranks that are less than {difference.distance:.2f} apart are not told apart"
    )


def _iqm(results: Sequence[Results], labels: Iterable[str], reference: str | None) -> dict[str, Estimate]:
    bases = [r.base(reference) for r in results]
    estimates = {}
    for label in labels if all(bases) else ():
        # (S,) Δ_task by seed on each benchmark
        gains = [
            np.array([delta_task(a.test, b.test, r.tasks) for a, b in pairs(r.base(label), base)])
            for r, base in zip(results, bases, strict=True)
        ]
        # else the reference lacks seeds
        same = len({len(values) for values in gains}) == 1
        if same and label != reference and np.isfinite(gains).all():
            mean, low, high = interquartile(np.array(gains))
            estimates[label] = Estimate(mean, n=gains[0].size, ends=(low, high))
    return estimates
