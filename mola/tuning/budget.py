"""Spending a study's budget: draw, train, report. What decides the draws and the values of a study stands here, and in
what this imports.

Every trial draws from a sampler of its own, seeded by the number of trials that were drawn before it and counted. TPE
looks at finished trials alone, so a trial that a kill cut short is drawn again with the same values. Of a grid, trial
number n takes the n-th combination.
"""

from __future__ import annotations

import logging
import math
import time
import warnings

import optuna
from optuna.pruners import MedianPruner, NopPruner
from optuna.samplers import PartialFixedSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from mola.experiment import tuned
from mola.sections import Settings, Tune
from mola.seeds import derive
from mola.training.failures import is_of_the_machine
from mola.training.fit import OnStep
from mola.tuning import space, store
from mola.tuning.trial import Refused, Workplace, score
from mola.types import BadInput

log = logging.getLogger(__name__)
WORST = -math.inf  # of a trial that diverged or ran out of memory: it had its turn
REFUSALS = 10  # draws that can't be built, for every trial of the budget


def spent(study: optuna.Study, tune: Tune, settings: Settings) -> bool:
    """Whether nothing is left: of trials, or with a pruner of the epochs of that many whole trials."""
    if len(store.refused(study)) > REFUSALS * tune.budget:
        last = store.refused(study)[-1].user_attrs[store.REFUSED]
        raise BadInput(f"{study.study_name}: expected values that a model can be built with, found only: {last}")
    if tune.pruner == "none":
        return len(store.finished(study)) >= tune.budget
    return _epochs_left(study, tune, settings) <= 0


def _epochs_left(study: optuna.Study, tune: Tune, settings: Settings) -> int:
    used = sum(trial.user_attrs[store.EPOCHS] for trial in store.finished(study))
    return int(tune.budget * tune.seeds * settings.training.epochs - used)


def sampler(slot: int, first: space.Drawn) -> optuna.samplers.BaseSampler:
    """Of the trial before which ``slot`` others were drawn and counted. The seed is the same for all studies: their
    first draws of the shared knobs are pairs. Trial 0 takes the values ``first``.
    """
    tpe = TPESampler(seed=derive(slot, "tuning", "sampler") % 2**32)
    return _fixed(first, tpe) if slot == 0 else tpe


def _fixed(values: space.Drawn, rest: optuna.samplers.BaseSampler) -> optuna.samplers.BaseSampler:
    """Draws these values, and the other knobs' from another sampler."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return PartialFixedSampler(dict(values), rest)


def run_trial(
    study: optuna.Study, tune: Tune, settings: Settings, knobs: space.Knobs, workplace: Workplace, on_step: OnStep
) -> None:
    """Draw a trial's values, train and score it, and report it to the study."""
    slot = len(store.finished(study)) + len(store.refused(study))
    if tune.grid is None:
        study.sampler = sampler(slot, space.configured(settings, knobs))
    else:
        study.sampler = _fixed(space.points(knobs)[slot], RandomSampler())
    study.pruner = NopPruner() if tune.pruner == "none" else MedianPruner()
    whole, left = tune.seeds * settings.training.epochs, _epochs_left(study, tune, settings)
    trial, began, epochs = study.ask(), time.perf_counter(), 0
    drawn = space.draw(trial, knobs)

    def on_score(done: int, value: float) -> None:
        nonlocal epochs
        epochs = done
        if tune.pruner != "none":
            trial.report(value, done)
            if done < whole and (trial.should_prune() or done >= left):
                raise optuna.TrialPruned

    state, value, failure = TrialState.COMPLETE, WORST, None
    try:
        value, parts = score(
            tuned.applied(settings, space.parameters(drawn)), tune.seeds, workplace.of(drawn), on_score, on_step
        )
        if tune.grid is not None and len(parts) > 1:
            trial.set_user_attr(store.PARTS, parts)
    except optuna.TrialPruned:
        state = TrialState.PRUNED
    except Exception as error:
        # a full disk, or too many open files, say nothing of the values: the trial stays open and is done again
        if is_of_the_machine(error):
            raise BadInput(f"{study.study_name}: tuning stopped: {error}; the same command goes on") from None
        if isinstance(error, Refused) and tune.grid is None:
            state = TrialState.FAIL
            trial.set_user_attr(store.REFUSED, str(error))
        elif isinstance(error, Refused):  # a combination of a grid can't be drawn again with other values: it counts
            failure = str(error)
            trial.set_user_attr(store.FAILURE, failure)
        else:
            failure = f"{type(error).__name__}: {error}".splitlines()[0]
            epochs = min(epochs + 1, whole)
            trial.set_user_attr(store.FAILURE, failure)
    trial.set_user_attr(store.EPOCHS, epochs)
    trial.set_user_attr(store.SECONDS, round(time.perf_counter() - began, 3))
    frozen = study.tell(trial, value if state is TrialState.COMPLETE else None, state=state)
    workplace.clear()
    log.info("%s", _line(study, tune, frozen, failure))


def _line(study: optuna.Study, tune: Tune, trial: FrozenTrial, failure: str | None) -> str:
    values = ", ".join(
        f"{name.partition('.')[2]} {value:.4g}" if isinstance(value, float) else f"{name.partition('.')[2]} {value}"
        for name, value in trial.params.items()
    )
    done = len(store.finished(study))
    of = f"{done}/{tune.budget}" if tune.pruner == "none" else str(done)
    if trial.state is TrialState.FAIL:
        return f"{study.study_name} drawn again: {trial.user_attrs[store.REFUSED]}"
    result = failure or ("pruned" if trial.state is TrialState.PRUNED else f"{trial.value:.4f}")
    top = store.best(store.finished(study))
    return f"{study.study_name} trial {of}: {result}; best {f'{top.value:.4f}' if top else 'none'}; {values}"
