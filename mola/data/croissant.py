"""A benchmark as a Croissant file (https://docs.mlcommons.org/croissant): its splits, prepared arrays, sources and
licences, for tools that read data sets by their description.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mola import files, registry
from mola.data.splits.manifest import Manifest, manifest_path
from mola.types import BadInput, Source

VERSION = "http://mlcommons.org/croissant/1.0"
# the terms of the vocabulary, all of them: tools compare the context with the published one
TERMS = (
    "citeAs column equivalentProperty extract field fileObject fileProperty fileSet format includes isLiveDataset "
    "jsonPath key md5 parentField path recordSet references regex repeated replace samplingRate separator source "
    "subField transform"
)
CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    **{name: f"cr:{name}" for name in TERMS.split()},
}


def write_croissant(benchmark: Any, path: Path) -> None:
    """Write a benchmark's Croissant file, and its splits beside it: as a CSV table of items where the manifest lists
    them, else a copy of the manifest, which has a rule and counts. Arrays are described once they are prepared.

    Raises BadInput for a benchmark without a manifest.
    """
    # that of the user's images lies with them
    manifest: Path = getattr(benchmark, "path", None) or manifest_path(benchmark.name)
    if not manifest.is_file():
        raise BadInput(f"{manifest}: expected the split manifest of '{benchmark.name}', found none; mola prepare first")
    listed = _items(benchmark)
    text = listed or manifest.read_text(encoding="utf-8")
    splits = path.with_name(
        f"{path.name.removesuffix('.json').removesuffix('.croissant')}.splits.{'csv' if listed else 'json'}"
    )
    files.write_text(splits, text)
    files.write_json(path, _described(benchmark, splits, path.parent))


def _items(benchmark: Any) -> str | None:
    """The items of the sources by task and split, in the order of the prepared arrays; None where they are not listed:
    lists of files of downloaded data may not be copied.
    """
    try:
        ids = Manifest.read(benchmark.name, benchmark.version).ids
    except BadInput:
        return None
    rows = [f"{task},{split},{one}" for task, splits in ids.items() for split, every in splits.items() for one in every]
    return "\n".join(["task,split,item", *rows]) + "\n"


def _described(benchmark: Any, splits: Path, folder: Path) -> dict[str, Any]:
    """The content of the file; it names other files from the folder where it lies."""
    summary, citation = registry.describe("benchmarks", benchmark.name)
    sources: tuple[Source, ...] = benchmark.sources
    page = next((url for source in sources for url in re.findall(r"https?://[^\s;]+", source.origin)), None)
    form = {".csv": "text/csv", ".json": "application/json"}[splits.suffix]
    first = _file("splits", splits, folder, form, "Which items of the sources form each split.")
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": VERSION,
        "name": benchmark.name,
        "description": summary,
        "citeAs": citation,
        "version": f"{benchmark.version}.0.0",
        **_rights(benchmark),
        **({"url": page} if page else {}),
        "isBasedOn": [_work(source) for source in sources],
        "distribution": [first, *_arrays(benchmark, folder)],
        "recordSet": [_records()] if splits.suffix == ".csv" else [],
    }


def _rights(benchmark: Any) -> dict[str, Any]:
    """Who made the data set, and its licences; nothing about images of the user's own."""
    licences = list(dict.fromkeys(source.licence for source in benchmark.sources))
    if benchmark.divides_by_itself or not (licences or type(benchmark).__module__.startswith("mola.")):
        return {}
    creator = {"@type": "sc:Organization", "name": "the mola-bench authors"}
    return {"creator": creator, "license": licences or ["Apache-2.0"]}


def _work(source: Source) -> dict[str, str]:
    return {
        "@type": "sc:CreativeWork",
        "name": source.name,
        "description": source.origin,
        "license": source.licence,
        "identifier": f"sha256:{source.sha256}",
    }


def _file(name: str, path: Path, folder: Path, form: str, description: str) -> dict[str, str]:
    with path.open("rb") as file:
        checksum = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "@type": "cr:FileObject",
        "@id": name,
        "name": name,
        "description": description,
        "contentUrl": os.path.relpath(path, folder),
        "contentSize": f"{path.stat().st_size} B",
        "encodingFormat": form,
        "sha256": checksum,
    }


def _arrays(benchmark: Any, folder: Path) -> Iterator[dict[str, str]]:
    """Each prepared array, NumPy's format."""
    for path in sorted(benchmark.folder.glob("*.npy")):
        array: Mapping[str, Any] = np.load(path, mmap_mode="r").__array_interface__
        shape = " × ".join(map(str, array["shape"]))
        yield _file(path.stem, path, folder, "application/octet-stream", f"{shape} array of {array['typestr']}, .npy")


def _records() -> dict[str, Any]:
    """The set of records that a table of items holds."""
    fields = (
        ("task", "sc:Text", "Name of the task."),
        ("split", "sc:Text", "train, valid or test."),
        ("item", "sc:Integer", "Number of the item in its source."),
    )
    return {
        "@type": "cr:RecordSet",
        "@id": "items",
        "name": "items",
        "description": "The items of each task and split, in the order of the prepared arrays.",
        "field": [
            {
                "@type": "cr:Field",
                "@id": f"items/{column}",
                "name": column,
                "description": description,
                "dataType": kind,
                "source": {"fileObject": {"@id": "splits"}, "extract": {"column": column}},
            }
            for column, kind, description in fields
        ],
    }
