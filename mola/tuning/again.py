"""The best trial of a study once more: whether the code of today draws the same values for it, and scores them the
same. Nothing below results is written.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.trial import FrozenTrial

from mola.experiment import tuned
from mola.experiment.fingerprint import check_unchanged
from mola.experiment.spec import Experiment, modules
from mola.terminal import progress
from mola.training.devices import claim
from mola.tuning import space, store
from mola.tuning.budget import run_trial
from mola.tuning.trial import Workplace
from mola.types import BadInput


def differences(experiment: Experiment, scratch: Path) -> list[str]:
    """What differs of a study's best trial once more, a text each: its space, its values, its score and those of parts.

    The trials before it are taken from the journal, as what a sampler draws depends on them. Of a study without a
    finite score the first trial is tried. A journal that is not there, or not of ``tuned.json``, is a difference too.

    scratch: where it trains. Raises BadInput where the code was edited since it was hashed.
    """
    result, tune = experiment.tuning_result, experiment.suite.tune
    assert result is not None
    assert tune is not None
    knobs = space.knobs(experiment, [task.name for task in experiment.data.tasks])
    check_unchanged([*modules(experiment.configured), "mola.tuning.budget"], experiment.configured.weights_files)
    journal = experiment.study_folder / store.JOURNAL
    try:
        old = _read(journal, experiment.name, scratch)
        began, trials = store.began(old), old.get_trials(deepcopy=False)
        best = _best(store.finished(old), result)
    except (OSError, *store.DAMAGED) as error:
        return [f"{journal.name}: expected the study of {tuned.NAME}, found {type(error).__name__}: {error}"]
    if json.loads(json.dumps({name: list(values) for name, values in knobs.items()})) != began.get("space"):
        return ["the search space"]
    settings = experiment.configured
    if tune.epochs is not None:
        settings = tuned.applied(settings, {"training": {"epochs": tune.epochs}})
    counted = {trial.number for trial in (*store.finished(old), *store.refused(old))}
    study = optuna.create_study(study_name=experiment.name, direction="maximize")
    study.add_trials([trial for trial in trials if trial.number in counted and trial.number < best.number])
    with claim(experiment.suite.device) as device, progress(f"{experiment.name} best trial") as on_step:
        workplace = Workplace(experiment.suite.data, device, scratch, experiment.study["fingerprint"]["all"])
        try:
            run_trial(study, tune, settings, knobs, workplace, on_step)
        except (ValueError, KeyError, IndexError) as error:
            if isinstance(error, BadInput):
                raise
            return [f"drawing fails: {type(error).__name__}: {error}"]
    return _compared(best, study.get_trials(deepcopy=False)[-1])


def _read(journal: Path, name: str, scratch: Path) -> optuna.Study:
    """The study of a journal, read from a copy: Optuna would make a file where there is none."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    copy = Path(shutil.copy(journal, scratch / store.JOURNAL))
    return optuna.load_study(study_name=name, storage=JournalStorage(store.Journal(copy)))


def _best(finished: Sequence[FrozenTrial], result: Mapping[str, Any]) -> FrozenTrial:
    """The trial that ``tuned.json`` chose. Raises ValueError where the two are not of one study."""
    best = finished[result["trial"] or 0]
    pairs = [(best.value, result["value"])] if result["trial"] is not None else []
    for name, part in result.get("parts", {}).items():
        pairs.append((finished[part["trial"]].user_attrs[store.PARTS][name], part["value"]))
    for journal_value, value in pairs:
        if journal_value != value:
            raise ValueError(f"a score of {journal_value} for one of {value}")
    return best


def _compared(old: FrozenTrial, new: FrozenTrial) -> list[str]:
    before, after = _outcome(old), _outcome(new)
    texts = [
        f"{name} {before.get(name)}, here {after.get(name)}"
        for name in dict.fromkeys([*before, *after])
        if before.get(name) != after.get(name)
    ]
    reason = new.user_attrs.get(store.FAILURE) or new.user_attrs.get(store.REFUSED)
    return [*texts, reason] if texts and reason else texts


def _outcome(trial: FrozenTrial) -> dict[str, Any]:
    return {
        "state": trial.state.name.lower(),
        **trial.params,
        "score": trial.value,
        **{f"score of {name}": value for name, value in trial.user_attrs.get(store.PARTS, {}).items()},
        **{f"range of {name}": str(values) for name, values in trial.distributions.items()},
    }
