"""One study of one experiment: it goes on after a kill as if nothing had happened, and only as it began."""

from __future__ import annotations

from typing import Any

import torch

from mola.experiment import tuned
from mola.experiment.fingerprint import check_unchanged
from mola.experiment.inputs import write_inputs
from mola.experiment.run import writing
from mola.experiment.spec import Experiment, modules
from mola.methods import Method
from mola.training.build import build
from mola.training.cost import costs
from mola.training.devices import claim
from mola.training.fit import OnStep
from mola.training.room import require_room
from mola.tuning import space, store
from mola.tuning.budget import run_trial, spent
from mola.tuning.result import write
from mola.tuning.trial import Workplace, seeds
from mola.types import BadInput


def tune(
    experiment: Experiment, *, restart: bool = False, on_step: OnStep = lambda done, total: None
) -> dict[str, Any]:
    """Spend what is left of an experiment's budget; writes and returns ``tuned.json``, whose value is None where no
    trial had a finite score.

    restart: begin anew, also where code, settings or search space changed, which is refused otherwise.
    Raises BadInput, with nothing written where it is the configuration that is wrong.
    """
    suite, settings = experiment.suite, experiment.configured
    if suite.tune is None:
        raise BadInput(f"tune: expected a section with this key in the suite '{suite.suite}', found none")
    benchmark = experiment.data
    if not benchmark.held_out:
        key = f"benchmarks.{experiment.benchmark}.split"
        raise BadInput(f"{key}: expected a split whose valid is not reported, to tune on")
    knobs = space.knobs(experiment, [task.name for task in benchmark.tasks])
    if not knobs:
        raise BadInput(
            f"methods.{experiment.label}: expected a knob to tune, found all of them fixed by the configuration"
        )
    if suite.tune.epochs is not None:
        settings = tuned.applied(settings, {"training": {"epochs": suite.tune.epochs}})
    folder, study_parts = experiment.study_folder, experiment.study
    identity = {
        "space": {name: list(values) for name, values in knobs.items()},
        **{key: study_parts[key] for key in ("settings", "tune")},
        **{key: part for key, part in study_parts["fingerprint"].items() if key in ("code", "manifest", "files")},
        "data": benchmark.identity,
    }
    is_new = restart or not (folder / store.JOURNAL).is_file()
    if is_new:
        with claim(suite.device) as device:
            # what is wrong shows before anything is written
            require_room(folder, _first_pass(experiment, device))
    check_unchanged([*modules(experiment.configured), "mola.tuning.budget"], experiment.configured.weights_files)
    with writing(folder):
        if restart:
            store.discard(folder)
        study = store.opened(folder, experiment.name, identity)
        # older than the result: the workflow then has nothing to tune
        write_inputs([experiment])
        if not spent(study, suite.tune, settings):
            with claim(suite.device) as device:
                # trials would fail, and count, by data that were damaged since the last call
                if not is_new:
                    _first_pass(experiment, device)
                fingerprint = f"{study_parts['fingerprint']['all']} {benchmark.identity}"
                workplace = Workplace(suite.data, device, folder, fingerprint)
                while not spent(study, suite.tune, settings):
                    run_trial(study, suite.tune, settings, knobs, workplace, on_step)
        return write(study, suite.tune, settings, study_parts["fingerprint"], folder)


def _first_pass(experiment: Experiment, device: torch.device) -> Method:
    """The method of the first seed as it is configured, after a pass over the data. Raises BadInput."""
    benchmark, method, _ = build(experiment.configured, experiment.suite.data, seeds(1)[0], device)
    costs(method, benchmark, device)
    return method
