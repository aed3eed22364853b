"""What a study found: ``tuned.json`` for training, and its history and importances as CSV for figures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
from optuna.importance import PedAnovaImportanceEvaluator
from optuna.trial import FrozenTrial, TrialState

from mola.experiment.tuned import NAME
from mola.files import write_json, write_text
from mola.sections import Settings, Tune
from mola.tuning import store
from mola.tuning.space import parameters
from mola.tuning.trial import seeds

HISTORY, IMPORTANCE = "history.csv", "importance.csv"


def write(
    study: optuna.Study, tune: Tune, settings: Settings, fingerprint: Mapping[str, str], folder: Path
) -> dict[str, Any]:
    """Write the three files and return the content of ``tuned.json``, a function of the journal alone.

    fingerprint: of the study. A study that was longer once counts as long as the budget is.
    """
    trials = store.finished(study)
    if tune.pruner == "none":
        trials = trials[: tune.trials]
    top = store.best(trials)
    content = {
        "fingerprint": fingerprint,
        "trials": tune.trials,
        "value": top.value if top else None,
        "parameters": parameters(top.params) if top else {},
        "trial": trials.index(top) if top else None,
        "finished": len(trials),
        "failed": sum(store.FAILURE in trial.user_attrs for trial in trials),
        "pruned": sum(trial.state is TrialState.PRUNED for trial in trials),
        "epochs": settings.training.epochs,
        "seeds": seeds(tune.seeds),
        "optuna": store.began(study)[store.OPTUNA],
    }
    write_text(folder / HISTORY, _history(trials))
    write_text(folder / IMPORTANCE, _importance(trials))
    write_json(folder / NAME, content)
    return content


def _history(trials: Sequence[FrozenTrial]) -> str:
    """A row per finished trial; ``best`` is the highest value so far."""
    names = list(dict.fromkeys(name for trial in trials for name in trial.params))
    rows = []
    for index, trial in enumerate(trials):
        top, failure = store.best(trials[: index + 1]), trial.user_attrs.get(store.FAILURE)
        rows.append(
            {
                "trial": index,
                "state": "failed" if failure else trial.state.name.lower(),
                "value": "" if failure else trial.value,
                "best": top.value if top else "",
                "epochs": trial.user_attrs[store.EPOCHS],
                "seconds": trial.user_attrs[store.SECONDS],
                **trial.params,
                "reason": failure or "",
            }
        )
    return _csv(["trial", "state", "value", "best", "epochs", "seconds", *names, "reason"], rows)


def _importance(trials: Sequence[FrozenTrial]) -> str:
    """The share of each knob in the differences between the trials' values; no row where there are no differences.

    PED-ANOVA (Watanabe et al. 2023, arXiv 2304.10255), of the trials with a finite value.
    """
    scored = [trial for trial in trials if trial.state is TrialState.COMPLETE and math.isfinite(trial.value or 0.0)]
    shares: dict[str, float] = {}
    if len({trial.value for trial in scored}) > 1:
        counted = optuna.create_study(direction="maximize")
        counted.add_trials(scored)
        shares = optuna.importance.get_param_importances(counted, evaluator=PedAnovaImportanceEvaluator())
    return _csv(["knob", "importance"], [{"knob": name, "importance": share} for name, share in shares.items()])


def _csv(columns: list[str], rows: list[dict[str, Any]]) -> str:
    return pd.DataFrame(rows, columns=columns, dtype=object).to_csv(index=False, lineterminator="\n")
