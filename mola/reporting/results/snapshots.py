"""Records of any suite, from a folder or out of a git revision: they are judged by what stands beside them, not by the
code and configuration of today. None is mixed in that was made with other code or settings than the rest of its row.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mola.experiment.inputs import NAME as INPUTS
from mola.reporting.results.beside import NAMES, TUNED, asked
from mola.reporting.results.records import Record, majority, parse
from mola.types import BadInput

Row = tuple[str, str]  # benchmark, label
RECORD = re.compile(r"([^/]+)/([^/]+)/seed(\d+)/record\.json")
UNCLEAN = "trained from a working tree with uncommitted changes"


@dataclass(frozen=True)
class Tree:
    """The finished records of a suite, and what was left out or must be known, a line each."""

    name: str
    records: dict[Row, dict[int, Record]] = field(default_factory=dict)
    problems: dict[Row, dict[int, str]] = field(default_factory=dict)


def tree(where: str, folder: Path, drafts: bool = False) -> Tree:
    """The records of a folder, of ``REVISION:FOLDER``, or of a revision's ``folder``. Raises BadInput.

    drafts: also take runs that were trained from a working tree with uncommitted changes.
    """
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
    return _judged(name, files, drafts)


def _judged(name: str, files: Mapping[str, bytes], drafts: bool) -> Tree:
    found = Tree(name)
    for path in sorted(files):
        if (parts := RECORD.fullmatch(path)) is None:
            continue
        row, seed = (parts[1], parts[2]), int(parts[3])
        record, problem = parse(files[path])
        if record:
            problem = _stale(record, files, "/".join(row)) or problem
        if record.get("dirty") and not drafts:
            problem = problem or f"left out: {UNCLEAN}; counted as a draft with --drafts"
        if problem:
            found.problems.setdefault(row, {})[seed] = problem
        else:
            draft = {"draft": f"{UNCLEAN}: a draft"} if record.get("dirty") else {}
            found.records.setdefault(row, {})[seed] = record | draft
    for row, runs in found.records.items():  # by number: "seed10" sorts before "seed2"
        wanted = majority(list(runs.values()), _fingerprint)
        for seed in [seed for seed, record in runs.items() if _fingerprint(record) != wanted]:
            found.problems.setdefault(row, {})[seed] = (
                "left out: of other code, settings or splits than most of its row"
            )
        found.records[row] = {seed: runs[seed] for seed in sorted(runs) if _fingerprint(runs[seed]) == wanted}
    return found


def _stale(record: Record, files: Mapping[str, bytes], cell: str) -> str | None:
    if asked(record, files, cell) is not False:
        return None
    beside = " and ".join(name for name in (INPUTS, TUNED) if f"{cell}/{name}" in files)
    return f"left out: of other code, settings or splits than the {beside} beside it"


def _fingerprint(record: Record) -> object:
    return record["fingerprint"]["all"]


def _of_folder(folder: Path) -> Iterator[tuple[str, bytes]]:
    for pattern in ("seed*/record.json", *NAMES):
        for path in folder.glob(f"*/*/{pattern}"):
            yield path.relative_to(folder).as_posix(), path.read_bytes()


def _of_commit(commit: str, folder: str) -> Iterator[tuple[str, bytes]]:
    listed = _git("ls-tree", "-r", "-z", "--name-only", commit, "--", f"{folder}/") or b""
    paths = [p for p in listed.decode().split("\0") if p.endswith(("/record.json", *(f"/{name}" for name in NAMES)))]
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
