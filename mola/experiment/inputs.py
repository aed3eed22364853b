"""What each cell of a suite depends on, in a file beside its records.

``results/<suite>/<benchmark>/<method>/inputs.json`` holds the fingerprint, the seeds and the resolved settings. It is
rewritten only when it changes, so the workflow can take it as the one input that decides whether to train again, after
``git clone`` too. Where the suite tunes it holds the settings before tuning, and the workflow takes ``tuned.json`` as
the other input.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mola.config import Suite
from mola.data.splits.manifest import manifest_sha256
from mola.experiment import tuned
from mola.experiment.fingerprint import fingerprint
from mola.files import write_text

NAME = "inputs.json"


def inputs(suite: Suite, benchmark: str, label: str) -> dict[str, Any]:
    """``{"fingerprint", "seeds", "settings"}`` of one (benchmark, method); where the suite tunes also ``"tuned"``, None
    while that is still to do: a fingerprint that no run has. Raises BadInput for a wrong configuration.
    """
    settings, more = suite.settings(benchmark, label), {}
    if suite.tune is not None:
        found = tuned.read(suite, benchmark, label)
        if found is not None:
            settings = tuned.applied(settings, found["parameters"])
            found = {key: found[key] for key in ("trials", "value", "parameters")}
        more = {"tuned": found}
    told = tuned.told(settings)
    return {
        "fingerprint": fingerprint(told | more, tuned.modules(settings), manifest_sha256(benchmark)),
        "seeds": suite.seeds,
        "settings": told,
        **more,
    }


def write_inputs(suite: Suite) -> list[Path]:
    """Write the files of every cell where they are new or differ; returns the ``inputs.json`` of all."""
    return [write_cell(suite, benchmark, label) for benchmark in suite.benchmarks for label in suite.methods]


def write_cell(suite: Suite, benchmark: str, label: str) -> Path:
    """The same for one cell."""
    path = suite.cell(benchmark, label) / NAME
    if suite.tune is not None:
        _write(tuned.folder(suite, benchmark, label) / tuned.STUDY, tuned.study(suite, benchmark, label))
    _write(path, inputs(suite.model_copy(update={"tune": None}), benchmark, label))
    return path


def _write(path: Path, content: Mapping[str, Any]) -> None:
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    if not path.is_file() or path.read_text() != text:
        write_text(path, text)
