"""What a study found: ``tuned.json`` for training, and its history and importances as CSV for figures."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
from optuna.importance import PedAnovaImportanceEvaluator
from optuna.trial import FrozenTrial, TrialState

from mola.experiment.tuned import NAME
from mola.files import with_checksum, write_json, write_text
from mola.sections import Settings, Tune
from mola.spreadsheets import no_formula
from mola.tuning import store
from mola.tuning.space import parameters
from mola.tuning.trial import seeds

HISTORY, IMPORTANCE = "history.csv", "importance.csv"
SUMS = "SHA256SUMS"  # of these two, as sha256sum writes and checks it; the times in them are in no other file
RATE = "training.lr"  # what parts of a method may differ in


def write(
    study: optuna.Study, tune: Tune, settings: Settings, fingerprint: Mapping[str, str], folder: Path
) -> dict[str, Any]:
    """Write all files and return the content of ``tuned.json``, a function of the journal alone.

    fingerprint: of the study. A study that was longer once counts as long as the budget is.
    """
    trials = store.finished(study)
    if tune.pruner == "none":
        trials = trials[: tune.budget]
    top = store.best(trials)
    by_part = best_by_part(trials, top) if top else {}
    chosen = parameters(top.params) if top else {}
    if by_part:
        chosen["training"]["lr"] = {part: trial.params[RATE] for part, trial in by_part.items()}
    content = {
        "fingerprint": fingerprint,
        "trials": tune.budget,
        "value": top.value if top else None,
        "parameters": chosen,
        "trial": trials.index(top) if top else None,
        "finished": len(trials),
        "failed": sum(store.FAILURE in trial.user_attrs for trial in trials),
        "pruned": sum(trial.state is TrialState.PRUNED for trial in trials),
        "epochs": settings.training.epochs,
        "seeds": seeds(tune.seeds),
        "optuna": store.began(study)[store.OPTUNA],
    }
    if by_part:
        content["parts"] = {
            part: {"value": trial.user_attrs[store.PARTS][part], "trial": trials.index(trial)}
            for part, trial in by_part.items()
        }
    tables = {HISTORY: _history(trials), IMPORTANCE: _importance(trials)}
    for name, text in tables.items():
        write_text(folder / name, text)
    sums = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in tables.items()}
    write_text(folder / SUMS, "".join(f"{sha256}  {name}\n" for name, sha256 in sums.items()))
    content = with_checksum(content)
    write_json(folder / NAME, content)
    return content


def best_by_part(trials: Sequence[FrozenTrial], top: FrozenTrial) -> dict[str, FrozenTrial]:
    """Part → the trial whose learning rate is best for it, the earliest of equals; empty where no rates were tried or
    the method is one part.

    top: the best trial. Other knobs can't differ between parts: only trials with its values of those count.
    """
    rest = {name: value for name, value in top.params.items() if name != RATE}
    if RATE not in top.params or store.PARTS not in top.user_attrs:
        return {}
    same = [
        trial
        for trial in trials
        if store.PARTS in trial.user_attrs and {k: v for k, v in trial.params.items() if k != RATE} == rest
    ]
    parts = top.user_attrs[store.PARTS]
    return {part: max(same, key=lambda trial: trial.user_attrs[store.PARTS][part]) for part in parts}


def _history(trials: Sequence[FrozenTrial]) -> str:
    """A row per finished trial; ``best`` is the highest value so far, ``value.<part>`` a part's own."""
    names = list(dict.fromkeys(name for trial in trials for name in trial.params))
    parts = list(dict.fromkeys(name for trial in trials for name in trial.user_attrs.get(store.PARTS, {})))
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
                **{f"value.{name}": value for name, value in trial.user_attrs.get(store.PARTS, {}).items()},
                "reason": failure or "",
            }
        )
    return _csv(
        [
            "trial",
            "state",
            "value",
            "best",
            "epochs",
            "seconds",
            *names,
            *(f"value.{name}" for name in parts),
            "reason",
        ],
        rows,
    )


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
    data = pd.DataFrame(rows, columns=columns, dtype=object)
    return data.rename(columns=no_formula).map(no_formula).to_csv(index=False, lineterminator="\n")
