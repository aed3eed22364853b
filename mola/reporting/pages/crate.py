"""``results/<suite>/ro-crate-metadata.json``: the folder of a finished suite as an RO-Crate 1.1 of the profile *Process
Run Crate* 0.5, so that archives know its files, runs, software and sources.
"""

from __future__ import annotations

import hashlib
import mimetypes
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mola.config import Suite
from mola.experiment import record as records
from mola.experiment.record import Record
from mola.experiment.spec import experiment
from mola.files import write_json
from mola.reporting.results.read import Results
from mola.shipped import DISTRIBUTION
from mola.types import BadInput

NAME = "ro-crate-metadata.json"
CRATE, PROFILE = "https://w3id.org/ro/crate/1.1", "https://w3id.org/ro/wfrun/process/0.5"
CONTEXT = [f"{CRATE}/context", "https://w3id.org/ro/terms/workflow-run/context"]
# whoever passes the folder on may state one here
LICENCE = {
    "@id": "#licence",
    "@type": "CreativeWork",
    "name": "not stated",
    "description": "Who made the suite has stated no licence of its records, tables and figures. Those of the data "
    "stand with their sources.",
}
# a run that failed is none of the records that count
COMPLETED = "http://schema.org/CompletedActionStatus"
Entity = dict[str, Any]


def write_crate(suite: Suite, benchmarks: Mapping[str, Results]) -> Path:
    """Describe the folder of a suite by its records. The same files give the same bytes. Raises BadInput where no
    record counts.

    benchmarks: what its tables show.
    """
    counted = {
        (name, row.label, seed): record
        for name, results in benchmarks.items()
        for row in results.rows
        for seed, record in row.records.items()
    }
    if not counted:
        raise BadInput("--crate: expected finished runs to describe, found none that counts")
    files = list(_files(suite, counted))
    software = {_software(record)["@id"]: _software(record) for record in counted.values()}
    sources = _sources(suite)
    actions = [_action(key, record, suite, sources[key[0]]) for key, record in counted.items()]
    works = {one["@id"]: one for every in sources.values() for one in every}
    newest = max(map(_time, counted.values()))
    root = {
        "@id": "./",
        "@type": "Dataset",
        "conformsTo": _link(PROFILE),
        "name": f"Suite {suite.suite}",
        "description": f"{', '.join(suite.methods)} on {', '.join(suite.benchmarks)}: records of {len(counted)} runs, "
        "with tables and figures that are made of them.",
        "datePublished": newest,
        "license": _link(LICENCE["@id"]),
        "hasPart": [_link(file["@id"]) for file in files],
        "mentions": [_link(action["@id"]) for action in actions],
    }
    descriptor = {"@id": NAME, "@type": "CreativeWork", "conformsTo": _link(CRATE), "about": _link("./")}
    profile = {"@id": PROFILE, "@type": "CreativeWork", "name": "Process Run Crate", "version": "0.5"}
    graph = [descriptor, root, profile, LICENCE, *files, *software.values(), *works.values(), *actions]
    path = suite.folder / NAME
    write_json(path, {"@context": CONTEXT, "@graph": graph})
    return path


def _time(record: Record) -> str:
    """When a run ended, with the offset that ISO 8601 knows."""
    return f"{record.time.removesuffix('Z')}+00:00"


def _link(identifier: str) -> dict[str, str]:
    return {"@id": identifier}


def _files(suite: Suite, counted: Iterable[tuple[str, str, int]]) -> Iterator[Entity]:
    """The records that count, and what is made of them; checkpoints, logs and locks are left out."""
    folder = suite.folder
    # Snakemake leaves a hidden file in folders that it makes
    outputs = [path for name in ("tables", "figures") for path in sorted((folder / name).rglob("[!.]*"))]
    pages = [folder / name for name in ("config.yaml", "about.html", "report.html", "workflow.html")]
    runs = [folder / name / label / f"seed{seed}" / records.NAME for name, label, seed in counted]
    for path in [*pages, *outputs, *runs]:
        if path.is_file():
            content = path.read_bytes()
            yield {
                "@id": _place(path, suite),
                "@type": "File",
                "name": str(path.relative_to(folder)),
                "encodingFormat": mimetypes.guess_type(path.name)[0] or "text/plain",
                "contentSize": str(len(content)),
                "sha256": hashlib.sha256(content).hexdigest(),
            }


def _place(path: Path, suite: Suite) -> str:
    """How the crate calls a file: its path in the folder, as part of an address."""
    return quote(str(path.relative_to(suite.folder)))


def _software(record: Record) -> Entity:
    """What trained a run: the commit, where there was one."""
    version = record.commit or "unknown"
    return {
        "@id": f"#{DISTRIBUTION}-{quote(version)}",
        "@type": "SoftwareApplication",
        "name": DISTRIBUTION,
        "softwareVersion": version,
    }


def _sources(suite: Suite) -> dict[str, list[Entity]]:
    """Benchmark, by label → where its data come from, with their licences."""
    return {
        name: [
            {
                "@id": f"#{quote(source.name)}-{source.sha256[:8]}",
                "@type": "CreativeWork",
                "name": source.name,
                "description": f"{source.origin}; licence: {source.licence}",
                "identifier": f"sha256:{source.sha256}",
            }
            for source in experiment(suite, name, suite.rows(name)[0]).data.sources
        ]
        for name in suite.benchmarks
    }


def _action(key: tuple[str, str, int], record: Record, suite: Suite, sources: Sequence[Entity]) -> Entity:
    benchmark, label, seed = key
    place = suite.folder / benchmark / label / f"seed{seed}" / records.NAME
    configuration = [_link("config.yaml")] if (suite.folder / "config.yaml").is_file() else []
    return {
        "@id": f"#{quote(f'{benchmark}/{label}/seed{seed}')}",
        "@type": "CreateAction",
        "name": f"{label} on {benchmark}, seed {seed}",
        "description": f"mola train -b {benchmark} -m {label} -s {seed}, on {record.device}",
        "instrument": _link(_software(record)["@id"]),
        "object": [*configuration, *(_link(source["@id"]) for source in sources)],
        "result": _link(_place(place, suite)),
        "endTime": _time(record),
        "actionStatus": COMPLETED,
    }
