"""Records of any suite, from a folder or out of a git revision: they are judged by what stands beside them, not by the
code and configuration of today.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mola.inputs import NAME
from mola.reporting.records import Record, parse
from mola.types import BadInput

Row = tuple[str, str]  # benchmark, label
RECORD = re.compile(r"([^/]+)/([^/]+)/seed(\d+)/record\.json")


@dataclass(frozen=True)
class Tree:
    """The finished records of a suite, and what was left out or must be known, a line each."""

    name: str
    records: dict[Row, dict[int, Record]] = field(default_factory=dict)
    problems: dict[Row, dict[int, str]] = field(default_factory=dict)


def tree(where: str, folder: Path) -> Tree:
    """The records of a folder, of ``REVISION:FOLDER``, or of a revision's ``folder``. Raises BadInput."""
    if Path(where).is_dir():
        name, files = where, dict(_of_folder(Path(where)))
    else:
        revision, _, inside = where.partition(":")
        commit = _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
        if commit is None:
            raise BadInput(f"--compare: expected a folder of results or a git revision, found '{where}'")
        place = Path(os.path.relpath(inside or folder)).as_posix()
        name = f"{revision} ({commit.decode()[:7]}), {place}"
        files = dict(_of_commit(commit.decode().strip(), place))
    if not any(RECORD.fullmatch(path) for path in files):
        raise BadInput(f"--compare: {name}: expected <benchmark>/<method>/seed<k>/record.json, found none")
    return _judged(name, files)


def _judged(name: str, files: Mapping[str, bytes]) -> Tree:
    found = Tree(name)
    for path in sorted(files):
        if (parts := RECORD.fullmatch(path)) is None:
            continue
        row, seed = (parts[1], parts[2]), int(parts[3])
        record, problem = parse(files[path])
        if record and record["fingerprint"]["all"] != _wanted(files, row, record):
            problem = f"left out: of other code, settings or splits than the {NAME} beside it"
        if problem:
            found.problems.setdefault(row, {})[seed] = problem
        else:
            found.records.setdefault(row, {})[seed] = record
    for row, runs in found.records.items():  # by number: "seed10" sorts before "seed2"
        found.records[row] = dict(sorted(runs.items()))
    return found


def _wanted(files: Mapping[str, bytes], row: Row, record: Record) -> object:
    """The fingerprint that counts; the record's own where nothing else tells."""
    try:
        return json.loads(files[f"{row[0]}/{row[1]}/{NAME}"])["fingerprint"]["all"]
    except (KeyError, ValueError, TypeError):
        return record["fingerprint"]["all"]


def _of_folder(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in (*folder.glob("*/*/seed*/record.json"), *folder.glob(f"*/*/{NAME}")):
        yield path.relative_to(folder).as_posix(), path.read_bytes()


def _of_commit(commit: str, folder: str) -> Iterator[tuple[str, bytes]]:
    listed = _git("ls-tree", "-r", "-z", "--name-only", commit, "--", f"{folder}/") or b""
    paths = [p for p in listed.decode().split("\0") if p.endswith(("/record.json", f"/{NAME}"))]
    # one process for all of them
    answer = _git("cat-file", "--batch", told="".join(f"{commit}:./{path}\n" for path in paths)) or b""
    for path in paths:
        head, _, answer = answer.partition(b"\n")
        size = int(head.split()[-1])
        yield Path(os.path.relpath(path, folder)).as_posix(), answer[:size]
        answer = answer[size + 1 :]


def _git(*words: str, told: str = "") -> bytes | None:
    try:
        done = subprocess.run(["git", *words], capture_output=True, input=told.encode(), check=False)
    except OSError:  # no git on this machine
        return None
    return done.stdout if done.returncode == 0 else None
