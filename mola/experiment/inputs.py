"""What each experiment depends on, in a file beside its records.

``results/<suite>/<benchmark>/<method>/inputs.json`` holds the fingerprint, the seeds and the configured settings, so
that records can be judged later, whatever the code and the configuration are by then. ``mola train`` and ``mola tune``
write it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mola.experiment import tuned
from mola.experiment.spec import Experiment, plain
from mola.files import write_text

NAME = "inputs.json"


def write_inputs(experiments: Iterable[Experiment]) -> None:
    """Write the files of experiments where they are new or differ."""
    for experiment in experiments:
        if experiment.suite.tune is not None:
            _write(experiment.study_folder / tuned.STUDY, experiment.study)
        _write(experiment.folder / NAME, inputs(experiment))


def inputs(experiment: Experiment) -> dict[str, Any]:
    """The content of ``inputs.json``."""
    return {
        "fingerprint": experiment.configured_fingerprint,
        "seeds": experiment.suite.seeds,
        "settings": plain(experiment.configured),
    }


def _write(path: Path, content: Mapping[str, Any]) -> None:
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    if not path.is_file() or path.read_bytes() != text.encode():
        write_text(path, text)
