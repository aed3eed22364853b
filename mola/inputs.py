"""What each cell of a suite depends on, in a file beside its records.

``results/<suite>/<benchmark>/<method>/inputs.json`` holds the fingerprint, the seeds and the resolved settings. It is
rewritten only when it changes, so the workflow can take it as the one input that decides whether to train again, after
``git clone`` too.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mola.config import Settings, Suite
from mola.data.manifest import manifest_sha256
from mola.fingerprint import fingerprint

NAME = "inputs.json"


def inputs(suite: Suite, benchmark: str, label: str) -> dict[str, Any]:
    """``{"fingerprint", "seeds", "settings"}`` of one (benchmark, method). Raises BadInput for a wrong
    configuration.
    """
    settings = suite.settings(benchmark, label)
    told = settings.model_dump(mode="json")
    told["benchmark_options"].pop("mirror", None)  # where data comes from does not change it
    return {
        "fingerprint": fingerprint(told, modules(settings), manifest_sha256(benchmark)),
        "seeds": suite.seeds,
        "settings": told,
    }


def modules(settings: Settings) -> list[str]:
    """Dotted names of where a run starts."""
    return [
        "mola.runs",
        f"mola.benchmarks.{settings.benchmark}",
        f"mola.methods.{settings.method}",
        f"mola.balancers.{settings.balancer}",
    ]


def write_inputs(suite: Suite) -> list[Path]:
    """Write the file of every cell where it is new or differs; returns all of them."""
    paths = []
    for benchmark in suite.benchmarks:
        for label in suite.methods:
            path = suite.cell(benchmark, label) / NAME
            text = json.dumps(inputs(suite, benchmark, label), indent=1, ensure_ascii=False) + "\n"
            if not path.is_file() or path.read_text() != text:
                path.parent.mkdir(parents=True, exist_ok=True)
                temporary = path.with_name(f"{NAME}.tmp")
                temporary.write_text(text)
                temporary.replace(path)
            paths.append(path)
    return paths
