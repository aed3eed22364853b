"""Statistics of the tables: functions of numbers alone. docs/protocol.md says what they are for.

gains       Δ_task and Δ_flat
intervals   of a mean: Student t, bootstrap
paired      differences by seed: sign-flip test, Holm's correction
across      several benchmarks: mean rank, interquartile mean, probability of improvement
critical    Friedman, Nemenyi and the critical difference, where they mean something
"""

from mola.reporting.statistics.gains import delta_flat, delta_task
from mola.reporting.statistics.intervals import t_half_width

__all__ = ["delta_flat", "delta_task", "t_half_width"]
