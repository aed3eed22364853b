"""The weights of runs that were done before their suite kept any: trained once more, and compared with the record."""

from __future__ import annotations

import tempfile
from pathlib import Path

from mola.experiment import weights
from mola.experiment.rerun import differences, listed, other_surroundings, rerun
from mola.experiment.run import finished, writing
from mola.experiment.spec import Experiment


def lacking(experiment: Experiment, seed: int) -> bool:
    """Whether a run is done and has no kept weights."""
    record = finished(experiment, seed)
    return record is not None and not weights.are_kept(experiment.run_folder(seed), record)


def make(experiment: Experiment, seed: int) -> str | None:
    """Train a finished run once more and keep its weights, where they are those of the record, to the last bit.

    Returns None, or what differs: then nothing is kept. The record stays as it is either way.
    """
    record, folder = finished(experiment, seed), experiment.run_folder(seed)
    assert record is not None
    keeping = Experiment(
        experiment.suite.model_copy(update={"keep": "best"}),
        experiment.benchmark,
        experiment.label,
        experiment.configured,
    )
    with tempfile.TemporaryDirectory(prefix="mola-keep-") as scratch:
        again = rerun(keeping, seed, Path(scratch))
        if again.weights_sha256 != record.weights_sha256:
            reasons = other_surroundings(record, again.model_dump()) + differences(record, again)
            return listed(reasons)
        source = Path(scratch) / folder.relative_to(experiment.suite.results)
        with writing(folder):
            weights.bring(source, folder, record)
    return None
