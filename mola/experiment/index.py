"""The index of a row's runs, ``runs.json``: which fingerprint they are of, and each record's status and checksum.

It is written when every seed of the suite has a record, so the workflow waits for it, plans by it, and records are
checked against it.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mola.types import BadInput

if TYPE_CHECKING:
    from mola.experiment.spec import Experiment

NAME = "runs.json"


def read(path: Path) -> dict[str, Any]:
    """The content of an index: ``fingerprint`` and, by seed, ``runs`` with ``status`` and ``sha256``.

    Raises FileNotFoundError, and BadInput for everything else that is wrong with it.
    """
    try:
        content = json.loads(path.read_bytes())
        runs = content["runs"]
        texts = [content["fingerprint"], *(run[key] for run in runs.values() for key in ("status", "sha256"))]
        if not all(isinstance(text, str) for text in texts):
            raise TypeError("expected texts")
    except FileNotFoundError:
        raise
    except OSError as error:
        raise BadInput(f"{path}: expected a file that can be read, found: {error.strerror}") from None
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise BadInput(f"{path}: expected an index of runs, found {type(error).__name__}: {error}") from None
    return {"fingerprint": content["fingerprint"], "runs": runs}


def is_of(experiment: Experiment) -> bool:
    """Whether the experiment as it is now has an index of all its seeds; a damaged one is none."""
    try:
        content = read(experiment.folder / NAME)
    except (FileNotFoundError, BadInput):
        return False
    same = content["fingerprint"] == experiment.fingerprint["all"]
    return same and {*content["runs"]} == {*map(str, experiment.suite.seeds)}
