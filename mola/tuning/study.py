"""One study of one (benchmark, method): goes on after a kill as if nothing had happened, and only as it began."""

from __future__ import annotations

from typing import Any

from mola import registry
from mola.config import Suite
from mola.experiment import tuned
from mola.experiment.inputs import write_cell
from mola.experiment.run import build, cost, writing
from mola.training.devices import claim
from mola.training.fit import OnStep
from mola.tuning import space, store
from mola.tuning.budget import one, spent
from mola.tuning.result import write
from mola.tuning.trial import Place, seeds
from mola.types import BadInput, Benchmark


def tune(
    suite: Suite,
    benchmark: str,
    label: str,
    *,
    restart: bool = False,
    on_step: OnStep = lambda done, total: None,
) -> dict[str, Any]:
    """Spend what is left of a cell's budget; writes and returns ``tuned.json``, whose value is None where no trial had
    a finite score.

    restart: begin anew, also where code, settings or search space changed, which is refused otherwise.
    Raises BadInput, with nothing written where it is the configuration that is wrong.
    """
    if suite.tune is None:
        raise BadInput(f"tune: expected a section with this key in the suite '{suite.suite}', found none")
    given = suite.settings(benchmark, label)
    data: Benchmark = registry.create("benchmarks", benchmark, suite.data, options=given.benchmark_options)
    if not data.held_out:
        raise BadInput(f"benchmarks.{benchmark}.split: expected a split whose valid is not reported, to tune on")
    knobs = space.knobs(suite, benchmark, label, [task.name for task in data.tasks])
    if not knobs:
        raise BadInput(f"methods.{label}: expected a knob to tune, found all of them fixed by the configuration")
    settings = given
    if suite.tune.epochs is not None:
        settings = tuned.applied(given, {"training": {"epochs": suite.tune.epochs}})
    folder = tuned.folder(suite, benchmark, label)
    told = tuned.study(suite, benchmark, label)
    parts = told["fingerprint"]
    identity = {
        "space": {name: list(values) for name, values in knobs.items()},
        **{key: told[key] for key in ("settings", "tune")},
        **{key: parts[key] for key in ("code", "manifest")},
        "data": data.identity,
    }
    if restart or not (folder / store.JOURNAL).is_file():
        with claim(suite.device) as device:
            whole, method, _ = build(settings, suite.data, seeds(1)[0], device)
            cost(method, whole, device)  # a first pass: what is wrong shows before anything is written
    with writing(folder):
        if restart:
            store.discard(folder)
        study = store.opened(folder, f"{benchmark}/{label}", identity)
        write_cell(suite, benchmark, label)  # older than what is found: the workflow then has nothing to tune
        if not spent(study, suite.tune, settings):
            with claim(suite.device) as device:
                known = f"{parts['all']} {data.identity}"
                place = Place(suite.data, device, folder, known)
                while not spent(study, suite.tune, settings):
                    one(study, suite.tune, settings, knobs, place, on_step)
        return write(study, suite.tune, settings, told, folder)
