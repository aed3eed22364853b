"""Do methods differ over many benchmarks? Friedman's test first, Nemenyi's differences only after it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from mola.reporting.statistics.across import ranks
from mola.reporting.statistics.intervals import Floats

BENCHMARKS = 5  # fewer don't carry the test; the metrics of one benchmark and its seeds are no benchmarks
METHODS = 3  # Friedman's test needs as many
ALPHA = 0.05


@dataclass(frozen=True)
class Critical:
    """What a critical-difference diagram shows, or in ``reason`` why there is none.

    ranks:    mean rank of each method, in the methods' order; empty where a score is missing.
    nemenyi:  p of each pair of methods; empty unless ``friedman`` is below .05.
    distance: mean ranks closer than this do not differ.
    """

    methods: tuple[str, ...]
    benchmarks: tuple[str, ...]
    reason: str | None
    ranks: tuple[float, ...] = ()
    friedman: float | None = None
    distance: float | None = None
    nemenyi: tuple[tuple[float, ...], ...] = ()


def critical(
    scores: Floats, benchmarks: Sequence[str], methods: Sequence[str], names_of: Sequence[str] = ()
) -> Critical:
    """scores: (K, M), higher is better, NaN where a method lacks runs.

    names_of: the benchmark behind each of ``benchmarks``, where these are labels: one that stands twice is no new one.
    Source: Demšar 2006 (JMLR 7).
    """
    names = tuple(methods), tuple(benchmarks)
    if missing := [m for m, column in zip(methods, scores.T, strict=True) if not np.isfinite(column).all()]:
        return Critical(*names, f"not every run of {', '.join(missing)} is there")
    ranked = ranks(scores)
    means = tuple(float(rank) for rank in ranked.mean(axis=0))
    independent = len(set(names_of or benchmarks))
    if independent < BENCHMARKS:
        reason = f"expected at least {BENCHMARKS} independent benchmarks, found {independent}"
        return Critical(*names, reason, means)
    if independent < len(benchmarks):
        reason = f"expected every benchmark once, found {len(benchmarks)} entries of {independent} benchmarks"
        return Critical(*names, reason, means)
    if len(methods) < METHODS:
        return Critical(*names, f"expected at least {METHODS} methods, found {len(methods)}", means)
    with np.errstate(invalid="ignore"):
        friedman = float(stats.friedmanchisquare(*-ranked.T).pvalue)
    # NaN where all scores are equal
    if not friedman < ALPHA:
        return Critical(*names, f"Friedman's test sees no difference (p = {friedman:.3f})", means, friedman)
    import scikit_posthocs  # seconds

    table = pd.DataFrame(ranked, index=list(benchmarks), columns=list(methods))
    nemenyi = scikit_posthocs.posthoc_nemenyi_friedman(table).to_numpy()
    pairs = tuple(tuple(float(p) for p in row) for row in nemenyi)
    return Critical(*names, None, means, friedman, critical_distance(len(benchmarks), len(methods)), pairs)


def critical_distance(benchmarks: int, methods: int, alpha: float = ALPHA) -> float:
    """Nemenyi's critical difference of mean ranks: q √(M (M + 1) / 6K), q of the studentised range over √2."""
    quantile = float(stats.studentized_range.ppf(1 - alpha, methods, math.inf)) / math.sqrt(2)
    return quantile * math.sqrt(methods * (methods + 1) / (6 * benchmarks))
