"""``mola train``, ``mola tune`` and ``mola status``."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mola.cli.common import (
    DEFAULT,
    Benchmarks,
    Config,
    Methods,
    choose_kernels,
    chosen_experiments,
    load_suite,
    log_lines,
)
from mola.spans import spans
from mola.types import BadInput

if TYPE_CHECKING:
    from mola.config import Suite
    from mola.experiment.spec import Experiment

Seeds = Annotated[
    list[int] | None,
    typer.Option("--seed", "-s", metavar="K", help="Only this seed; repeatable. Default: the suite's."),
]
Renew = Annotated[
    bool, typer.Option("--renew", help="Also train again what other versions of torch, timm, numpy … made.")
]
Watching = Annotated[bool, typer.Option("--watch", help="Follow the suite while it runs.")]
Every = Annotated[
    float | None, typer.Option("--every", min=0.1, metavar="SECONDS", help="Between two looks of --watch. Default: 5.")
]
Keep = Annotated[
    bool,
    typer.Option("--keep", help="Keep the selected weights, too, as keep: best; finished runs are trained once more."),
]


def train(
    config: Config = DEFAULT,
    benchmark: Benchmarks = None,
    method: Methods = None,
    seed: Seeds = None,
    renew: Renew = False,
    keep: Keep = False,
) -> None:
    """Train the chosen benchmarks, methods and seeds; a record.json each.

    Finished runs are kept, interrupted ones go on where they stopped. Without -b, -m or -s: all of the suite.

    --keep stores each run's selected weights beside its record, for mola export and mola predict. A run that finished
    without is trained once more, and its weights are kept if they are those of its record, to the last bit.

    Examples: mola train -c config/smoke.yaml -b digits -m mola_router -s 0; mola train -b digits -m mola_grad --keep
    """
    suite = load_suite(config)
    if keep:
        suite = suite.model_copy(update={"keep": "best"})
    # planning may import NumPy, to ask a benchmark for its sources
    choose_kernels(suite)
    experiments = chosen_experiments(suite, benchmark, method)
    if wrong := [s for s in seed or [] if not 0 <= s < 2**63]:
        raise BadInput(f"--seed: expected a number from 0 and below 2⁶³, found {wrong[0]}")
    seeds = seed or suite.seeds
    for other in sorted({*seeds} - {*suite.seeds}):
        typer.echo(f"mola: seed {other} is none of the suite's seeds: tables leave it out", err=True)
    # the code is hashed before it is imported: an edit in between is noticed, and no record tells of other code
    for experiment in experiments:
        experiment.fingerprint  # noqa: B018
    from mola.experiment.inputs import write_inputs
    from mola.experiment.row import train_seeds
    from mola.experiment.status import again

    failed: list[tuple[Experiment, int]] = []
    with log_lines():
        for experiment in experiments:
            try:
                failed += [(experiment, s) for s in train_seeds(experiment, seeds, renew=renew)]
            except BaseException:
                # none beside nothing: what is wrong before the first step leaves no file
                if experiment.folder.is_dir():
                    # a disk that can't be written is told by what ended the run
                    with suppress(OSError):
                        write_inputs([experiment])
                raise
            write_inputs([experiment])
        lost = _without_weights(experiments, seeds, keep) if suite.keep == "best" else False
    for experiment, s in failed:
        typer.echo(f"mola: failed: {experiment.name}, seed {s}; again: {again(experiment, [s], config)}", err=True)
    if failed or lost:
        raise typer.Exit(1)


def _without_weights(experiments: list[Experiment], seeds: list[int], keep: bool) -> bool:
    """Make the weights of runs that finished without, or say that --keep does; returns whether some differ."""
    from mola.experiment.kept import lacking, make

    runs = [(experiment, seed) for experiment in experiments for seed in seeds if lacking(experiment, seed)]
    if runs and not keep:
        number = "1 run was" if len(runs) == 1 else f"{len(runs)} runs were"
        typer.echo(f"mola: {number} done before weights were kept; mola train --keep makes them", err=True)
        return False
    differ = False
    for experiment, seed in runs:
        difference = make(experiment, seed)
        outcome = f"not kept, as it gives other weights here: {difference}" if difference else "weights kept"
        typer.echo(f"{experiment.name} seed {seed}: {outcome}", err=bool(difference))
        differ |= difference is not None
    return differ


def tune(
    config: Config = DEFAULT,
    benchmark: Benchmarks = None,
    method: Methods = None,
    restart: Annotated[bool, typer.Option("--restart", help="Begin the chosen studies anew.")] = False,
) -> None:
    """Tune the chosen benchmarks and methods with equal budgets; a tuned.json each, which train then uses.

    The suite needs a section "tune" (config/tuned.yaml is an example). Every method gets the same number of finished
    trials, scored on the validation split. A study that was interrupted goes on as if it had not been; one whose
    code, settings or search space changed is refused, until --restart. Without -b or -m: all of the suite.

    Example: mola tune -c config/tuned.yaml -b digits -m mola_grad
    """
    suite = load_suite(config)
    # planning may import NumPy, to ask a benchmark for its sources
    choose_kernels(suite)
    experiments = chosen_experiments(suite, benchmark, method)
    if suite.tune is not None:
        for experiment in experiments:
            experiment.study  # noqa: B018  # hashed before it is imported, as in train
    from mola.terminal import progress
    from mola.tuning.study import tune as tune_experiment

    failed = []
    # a line per trial, not per epoch; log.txt has both
    with log_lines(without="mola.training"):
        for experiment in experiments:
            with progress(experiment.name) as on_step:
                result = tune_experiment(experiment, restart=restart, on_step=on_step)
            score = "no trial had a finite score" if result["value"] is None else f"{result['value']:.4f}"
            typer.echo(f"{experiment.name}: {score} after {result['finished']} trials: {_flat(result['parameters'])}")
            failed += [experiment.name] if result["value"] is None else []
    if failed:
        typer.echo(f"mola: no trial had a finite score: {', '.join(failed)}; optuna/history.csv has reasons", err=True)
        raise typer.Exit(1)


def status(config: Config = DEFAULT, watch: Watching = False, every: Every = None) -> None:
    """Show which runs of the suite are done, running, failed, stale (and why), or still to do; and the lock that a
    killed Snakemake left, with what lifts it.

    The last line adds the time that the records tell, and about how long one process would take for the rest.

    --watch follows a suite that runs, in one line: the runs, the epochs of those that are running, images per second,
    and about how long it will take with as many side by side as now. It ends when all runs have, or by Ctrl-C.

    Examples: mola status -c config/smoke.yaml; mola status --watch
    """
    suite = load_suite(config)
    if every is not None and not watch:
        raise BadInput("--every: expected --watch with it, found it alone")
    if watch:
        _follow(suite, 5.0 if every is None else every)
        return
    from mola.experiment.duration import in_words
    from mola.experiment.spec import experiments
    from mola.experiment.status import again, look, versions_behind
    from mola.experiment.weights import lacks
    from mola.experiment.workflow_lock import stale

    counts: Counter[str] = Counter()
    runs, planned = {}, experiments(suite)
    width = max((len(experiment.name) for experiment in planned), default=0)
    for experiment in planned:
        looks = {seed: look(experiment, seed) for seed in suite.seeds}
        states = {one.state: [seed for seed, its in looks.items() if its.state == one.state] for one in looks.values()}
        words = "; ".join(f"{spans(seeds)} {state}" for state, seeds in states.items())
        typer.echo(f"{experiment.name:<{width}}  {words}")
        for seed, one in looks.items():
            if one.state == "failed" and one.record is not None:
                typer.echo(f"  seed {seed} failed: {one.record.reason}; again: {again(experiment, [seed], config)}")
        for reason in dict.fromkeys(one.reason for one in looks.values() if one.reason):
            typer.echo(f"  stale: {reason} (seeds {spans([s for s, one in looks.items() if one.reason == reason])})")
        if problem := experiment.damage:
            typer.echo(f"  {problem}")
        for change in versions_behind(one.record for one in looks.values() if one.record):
            typer.echo(f"  made with {change}; mola train --renew trains such runs again")
        if lacking := [seed for seed, one in looks.items() if lacks(experiment, seed, one.record)]:
            typer.echo(f"  without kept weights: seeds {spans(lacking)}; mola train --keep makes them")
        counts.update(one.state for one in looks.values())
        runs[experiment.benchmark, experiment.label] = [(one.state, one.record) for one in looks.values()]
    if line := stale():
        typer.echo(line)
    typer.echo(", ".join(f"{number} {word}" for word, number in sorted(counts.items())) + in_words(runs))


def _follow(suite: Suite, every: float) -> None:
    """Show how far a suite is: on a terminal one line that changes, elsewhere a line whenever it does."""
    import time

    from mola.experiment.spec import experiments
    from mola.experiment.watch import Watch
    from mola.terminal import changing

    followed = Watch(experiments(suite))
    with changing() as show:
        try:
            while True:
                line, ended = followed.line()
                show(line)
                if ended:
                    return
                time.sleep(every)
        except KeyboardInterrupt:
            return


def _flat(parameters: dict[str, Any]) -> str:
    return ", ".join(f"{key} {_short(value)}" for options in parameters.values() for key, value in options.items())


def _short(value: Any) -> str:
    """A value, or one for each task or part, in words: ``mnist 0.002, printed 0.004``."""
    return ", ".join(f"{name} {one}" for name, one in value.items()) if isinstance(value, dict) else str(value)
