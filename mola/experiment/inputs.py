"""What each experiment depends on, in a file beside its records.

``results/<suite>/<benchmark>/<method>/inputs.json`` holds the fingerprint, the seeds and the configured settings. It is
rewritten only when it changes, so the workflow can take it as the one input that decides whether to train again, after
``git clone`` too. Where the suite tunes, the workflow takes ``tuned.json`` as the other input.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mola.config import Suite
from mola.experiment import spec, tuned
from mola.experiment.spec import Experiment, plain
from mola.files import write_text

NAME = "inputs.json"


def write_inputs(experiments: Iterable[Experiment]) -> None:
    """Write the files of every experiment where they are new or differ."""
    for experiment in experiments:
        if experiment.suite.tune is not None:
            _write(experiment.study_folder / tuned.STUDY, experiment.study)
        _write(experiment.folder / NAME, inputs(experiment))


def refresh_inputs(suite: Suite) -> None:
    """Write the files of the experiments on the user's images anew, where they are there: their splits may be new."""
    for benchmark, entry in suite.benchmarks.items():
        if "manifest" in entry.options:
            planned = [spec.experiment(suite, benchmark, label) for label in suite.rows(benchmark)]
            write_inputs(one for one in planned if (one.folder / NAME).is_file())


def inputs(experiment: Experiment) -> dict[str, Any]:
    """The content of ``inputs.json``."""
    return {
        "fingerprint": experiment.configured_fingerprint,
        "seeds": experiment.suite.seeds,
        "settings": plain(experiment.configured),
    }


def _write(path: Path, content: Mapping[str, Any]) -> None:
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    if not path.is_file() or path.read_text() != text:
        write_text(path, text)
