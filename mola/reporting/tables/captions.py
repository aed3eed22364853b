"""What a table's numbers are, in sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mola.metrics import averageable, of, ranking
from mola.reporting.results.read import Results
from mola.reporting.tables.columns import weighs_metrics
from mola.reporting.tables.costs import CAPTION, PRUNED
from mola.reporting.tables.layout import Column
from mola.spans import spans


def of_benchmark(
    name: str, results: Results, seeds: Sequence[int], reference: str | None, columns: Sequence[Column]
) -> str:
    """reference: None where no Δ is shown."""
    tasks, keys = results.tasks, {column.key for column in columns}
    if results.every_metric:
        what = "pixels of the split that count" if results.dense else "samples of the split whose target is known"
        text = (
            f"{name}: every metric of every task on test, {interval(seeds)}. ↑: higher is better, ↓: lower. Each is "
            f"taken over all {what}, not averaged over batches. "
        )
        if averageable(tasks):
            firsts = " and ".join(dict.fromkeys(ranking(task).words for task in tasks))
            text += f"Average: mean over the tasks of {firsts}. "
        else:
            text += "No average: the tasks have different units. "
    else:
        text = f"{name}: test {' and '.join(dict.fromkeys(ranking(task).label for task in tasks))}, {interval(seeds)}. "
    if "seeds" in keys:
        text += "n: finished runs of the row. "
    if results.held_out:
        text += "The epoch is selected on the validation split"
        if "optimism" in keys:
            text += ", never on test, which is scored after every epoch too, for the columns of oracle selection only. "
        else:
            text += "; the test split is read once, after that. "
    else:
        text += "The epoch is selected on the split reported here, so the scores are too good. "
    text += "Best in bold, second best underlined. "
    metrics = list(dict.fromkeys(metric for task in tasks for metric in of(task)))
    if reference:
        delta, over = ("Δ", "all metrics") if weighs_metrics(tasks) else ("Δ_task", ", ".join(m.words for m in metrics))
        text += f"{delta}: mean relative gain over {reference} with the same seed, in percent, over {over}"
        absolute = [metric.words for metric in metrics if metric.gain == "absolute"]
        text += f" (of {', '.join(absolute)}: 100 times the difference). " if absolute else ". "
    if reference and weighs_metrics(tasks):
        text += f"{meaning('Δ_task', 'positive', 'tasks')} {meaning('Δ_flat', 'negative', 'metrics')} "
    if "optimism" in keys:
        text += (
            "Oracle selection: the epoch of the lowest loss on test, as the released code selects, so that its scores "
            "are too good; optimism: what the same runs gain by that, "
            f"{'in points of the average' if averageable(tasks) else 'in percent, near enough'}. "
        )
    text += CAPTION.format(
        image="image with all its tasks" if results.dense or results.single_input else "image of a small batch"
    )
    return text + (PRUNED if "tuning_pruned" in keys else "")


def of_summary(suite: str, benchmarks: Mapping[str, Results], seeds: Sequence[int], reference: str | None) -> str:
    """What the columns of all benchmarks have in common."""
    text = f"Suite {suite}: test score (%) averaged over the tasks of each benchmark"
    if apart := [name for name, results in benchmarks.items() if not averageable(results.tasks)]:
        text += f" (not of {', '.join(apart)}: their tasks have different units)"
    text += f", and Δ against {reference}" if reference else ""
    held_out = all(results.held_out for results in benchmarks.values())
    selected = "on the validation split" if held_out else "on the split reported"
    text += f"; {interval(seeds)}; epochs selected {selected}."
    if reference:
        text += f" {meaning('Δ_task', 'positive', 'tasks')}"
        if any(weighs_metrics(results.tasks) for results in benchmarks.values()):
            text += f" {meaning('Δ_flat', 'negative', 'metrics')}"
    return text


def interval(seeds: Sequence[int]) -> str:
    """What the number behind ± is."""
    return f"mean ± half-width of the 95 % t interval over {len(seeds)} seeds ({spans(seeds)})"


def meaning(delta: str, better: str, equal: str) -> str:
    """What a Δ weighs, and its sign."""
    return f"{delta}: all {equal} weigh the same; {better} is better."
