"""Records of any suite, from a folder or out of a git revision: they are judged by the files of their row, not by the
code and configuration of today. None is mixed in that was made with other code or settings than the rest of its row.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mola.experiment import index
from mola.experiment import record as stored
from mola.experiment.inputs import NAME as INPUTS
from mola.experiment.provenance import git
from mola.experiment.record import Record
from mola.reporting.results.recorded_inputs import NAMES, TUNED, agrees
from mola.reporting.results.records import Row, majority
from mola.types import BadInput

Key = tuple[str, str]  # benchmark, label
RECORD = re.compile(r"([^/]+)/([^/]+)/seed(\d+)/record\.json")
UNCLEAN = "trained from a working tree with uncommitted changes"


@dataclass(frozen=True)
class Snapshot:
    """The rows of a suite, with the records that count and why others do not."""

    name: str
    rows: dict[Key, Row] = field(default_factory=dict)


def snapshot(where: str, folder: Path, drafts: bool = False) -> Snapshot:
    """The records of a folder, of ``REVISION:FOLDER``, or of a revision's ``folder``. Raises BadInput.

    drafts: also take runs that were trained from a working tree with uncommitted changes.
    """
    if Path(where).is_dir():
        name, files = where, dict(_of_folder(Path(where)))
    else:
        revision, _, inside = where.partition(":")
        commit = git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}", folder=Path())
        if commit is None:
            raise BadInput(f"--compare: expected a folder of results or a git revision, found '{where}'")
        place = Path(os.path.relpath(inside or folder)).as_posix()
        name = f"{revision} ({commit.decode()[:7]}), {place}"
        files = dict(_of_commit(commit.decode().strip(), place))
    if not any(RECORD.fullmatch(path) for path in files):
        raise BadInput(f"--compare: {name}: expected <benchmark>/<method>/seed<k>/record.json, found none")
    return _judged(name, files, drafts)


def _judged(name: str, files: Mapping[str, bytes], drafts: bool) -> Snapshot:
    result = Snapshot(name)
    # by number: "seed10" sorts before "seed2"
    matches = sorted(filter(None, map(RECORD.fullmatch, files)), key=lambda match: (match[1], match[2], int(match[3])))
    for match in matches:
        row = result.rows.setdefault((match[1], match[2]), Row(match[2], {}, {}))
        seed = int(match[3])
        try:
            record = stored.parse(files[match[0]])
        except BadInput as error:
            row.problems[seed] = str(error)
            continue
        if problem := _copied(record, match, files) or _problem(record, files, f"{match[1]}/{match[2]}", drafts):
            row.problems[seed] = problem
        else:
            row.records[seed] = record
            row.remarks[seed] = [f"{UNCLEAN}: a draft"] if record.dirty else []
    for row in result.rows.values():
        usual = majority(list(row.records.values()), _fingerprint) if row.records else None
        for seed in [seed for seed, record in row.records.items() if _fingerprint(record) != usual]:
            row.leave_out(seed, "left out: of other code, settings or splits than most of its row")
    return result


def _copied(record: Record, match: re.Match[str], files: Mapping[str, bytes]) -> str | None:
    """What is wrong with where a record is: in another run's folder, or not the one that the row's index lists."""
    if (record.benchmark, record.method, record.seed) != (match[1], match[2], int(match[3])):
        return f"left out: the record of {record.benchmark}/{record.method}, seed {record.seed}"
    path = f"{match[1]}/{match[2]}/{index.NAME}"
    try:
        listed = index.parse(files[path], path)["runs"].get(match[3])
    except (KeyError, BadInput):
        return None
    if listed and listed["sha256"] != index.checksum(files[match[0]]):
        return f"left out: not the record that {index.NAME} lists"
    return None


def _problem(record: Record, files: Mapping[str, bytes], folder: str, drafts: bool) -> str | None:
    if agrees(record, files, folder) is False:
        judges = " and ".join(name for name in (INPUTS, TUNED) if f"{folder}/{name}" in files)
        return f"left out: of other code, settings or splits than the {judges} beside it"
    if record.status == "failed":
        return f"failed: {record.reason}"
    if record.dirty and not drafts:
        return f"left out: {UNCLEAN}; counted as a draft with --drafts"
    return None


def _fingerprint(record: Record) -> str:
    return record.fingerprint.all


def _of_folder(folder: Path) -> Iterator[tuple[str, bytes]]:
    for pattern in (f"seed*/{stored.NAME}", *NAMES):
        for path in folder.glob(f"*/*/{pattern}"):
            yield path.relative_to(folder).as_posix(), path.read_bytes()


def _of_commit(commit: str, folder: str) -> Iterator[tuple[str, bytes]]:
    listed = git("ls-tree", "-r", "-z", "--name-only", commit, "--", f"{folder}/", folder=Path()) or b""
    endings = tuple(f"/{name}" for name in (stored.NAME, *NAMES))
    paths = [path for path in listed.decode().split("\0") if path.endswith(endings)]
    # one process for all of them
    text = "".join(f"{commit}:./{path}\n" for path in paths)
    answer = git("cat-file", "--batch", folder=Path(), text=text) or b""
    for path in paths:
        head, _, answer = answer.partition(b"\n")
        size = int(head.split()[-1])
        yield Path(os.path.relpath(path, folder)).as_posix(), answer[:size]
        answer = answer[size + 1 :]
