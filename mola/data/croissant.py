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
# of the terms that are used here; the specification asks for it
CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    **{name: f"cr:{name}" for name in ("recordSet", "field", "source", "fileObject", "extract", "jsonPath")},
}


def write_croissant(benchmark: Any, path: Path) -> None:
    """Write a benchmark's Croissant file, with a copy of its split manifest beside it: what is described travels with
    the description. Arrays are described once they are prepared.

    Raises BadInput for a benchmark without a manifest.
    """
    # that of the user's images lies with them
    manifest: Path = getattr(benchmark, "path", None) or manifest_path(benchmark.name)
    if not manifest.is_file():
        raise BadInput(f"{manifest}: expected the split manifest of '{benchmark.name}', found none; mola prepare first")
    copy = path.with_name(f"{benchmark.name}.splits.json")
    files.write_text(copy, manifest.read_text(encoding="utf-8"))
    files.write_json(path, _described(benchmark, copy, path.parent))


def _described(benchmark: Any, manifest: Path, folder: Path) -> dict[str, Any]:
    """The content of the file; it names other files from the folder where it lies."""
    summary, citation = registry.describe("benchmarks", benchmark.name)
    sources: tuple[Source, ...] = benchmark.sources
    page = next((url for source in sources for url in re.findall(r"https?://[^\s;]+", source.origin)), None)
    splits = _file("splits", manifest, folder, "application/json", "Which items of the sources form each split.")
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": VERSION,
        "name": benchmark.name,
        "description": f"{summary} {citation}".strip(),
        "version": f"{benchmark.version}.0.0",
        "creator": {"@type": "sc:Organization", "name": "the mola-bench authors"},
        "license": list(dict.fromkeys(source.licence for source in sources)) or ["Apache-2.0"],
        **({"url": page} if page else {}),
        "isBasedOn": [_work(source) for source in sources],
        "distribution": [splits, *_arrays(benchmark, folder)],
        "recordSet": list(_records(benchmark)),
    }


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


def _records(benchmark: Any) -> Iterator[dict[str, Any]]:
    """A set of records for each task and split: the items of the sources that form it, where the manifest lists them.
    Of downloaded data it has a rule and counts instead, as lists of files may not be copied.
    """
    try:
        ids = Manifest.read(benchmark.name, benchmark.version).ids
    except BadInput:
        return
    for task, splits in ids.items():
        for split in splits:
            name = f"{task}.{split}"
            yield {
                "@type": "cr:RecordSet",
                "@id": name,
                "name": name,
                "description": f"The items of {task} in the {split} split, in the order of the prepared arrays.",
                "field": [
                    {
                        "@type": "cr:Field",
                        "@id": f"{name}/item",
                        "name": "item",
                        "description": "Number of the item in its source.",
                        "dataType": "sc:Integer",
                        "source": {
                            "fileObject": {"@id": "splits"},
                            "extract": {"jsonPath": f"$.ids.{task}.{split}[*]"},
                        },
                    }
                ],
            }
