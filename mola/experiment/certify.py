"""Records that a change of code alone made stale: one seed of every row is trained once more, and where it gives the
same bits, the records of the row count for the code of today, and say so.

Every file is written by renaming, and the record of the seed that was trained comes last: after a kill, records that
are not stamped yet are as stale as they were, and the same command goes on.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from mola.experiment import record as records
from mola.experiment import tuned
from mola.experiment.inputs import write_inputs
from mola.experiment.provenance import commit, uncommitted
from mola.experiment.record import Certified, Fingerprint, Record, Tuned
from mola.experiment.rerun import differences, listed, other_surroundings, prepared, rerun
from mola.experiment.run import ANALYSIS, train_seeds, write_index, writing
from mola.experiment.spec import Experiment
from mola.files import write_json
from mola.types import BadInput

Line = tuple[str, bool]  # what happened, and whether it is as it should be


@dataclass(frozen=True)
class Retuned(Experiment):
    """An experiment whose ``tuned.json`` counts although the code of its study was edited since."""

    result: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def tuning_result(self) -> dict[str, Any] | None:
        """The content of ``tuned.json``."""
        return self.result


@dataclass(frozen=True)
class RowState:
    """The records of a row, by seed.

    stale:    those that only a change of code made stale.
    problems: why the other seeds have none that counts.
    """

    experiment: Experiment
    stale: dict[int, Record]
    problems: dict[int, str]


def certify(experiments: Sequence[Experiment]) -> Iterator[Line]:
    """Certify the rows whose records a change of code alone made stale, and train those again whose bits changed.

    Raises BadInput, with nothing written, where the code of one of them is in no commit, or data can't be had.
    """
    rows = [_state(_with_result(prepared(experiment))) for experiment in experiments]
    due = [row for row in rows if row.stale]
    for row in due:
        more = ["mola.tuning.budget"] if row.experiment.suite.tune is not None else []
        if files := uncommitted(row.experiment, *more):
            raise BadInput(f"{row.experiment.name}: expected its code in a commit, found uncommitted: {files}")
    if not due:
        yield "nothing to certify: no record is stale by a change of code alone", True
    for row in due:
        yield from _certified(row)
        _touch_run_times(row.experiment)
    for row in rows:
        for seed, problem in row.problems.items():
            yield f"{row.experiment.name} seed {seed}: not certified: {problem}; mola train makes it", True


def _certified(row: RowState) -> Iterator[Line]:
    name, seed = row.experiment.name, next(iter(row.stale))
    with tempfile.TemporaryDirectory(prefix="mola-certify-") as folder:
        scratch = Path(folder)
        again = rerun(row.experiment, seed, scratch)
        changes = differences(row.stale[seed], again)
        if not changes:
            _stamp(row, again, scratch)
            others = len(row.stale) - 1
            what = f"{others} {'record' if others == 1 else 'records'} certified by seed {seed} at {str(commit())[:7]}"
            yield f"{name}: {what} (weights {str(again.weights_sha256)[:8]}…)", True
            return
        where = other_surroundings(row.stale[seed], again.model_dump())
        yield f"{name}: seed {seed} gives other bits: {listed(where + changes)}", True
        if isinstance(row.experiment, Retuned):
            options = f"-b {row.experiment.benchmark} -m {row.experiment.label}"
            yield f"{name}: mola tune --restart {options} first, and mola train {options} then", False
            return
        write_inputs([row.experiment])
        if again.status == "done":
            _replace(row.experiment, again, scratch)
    failed = train_seeds(row.experiment, row.experiment.suite.seeds)
    yield f"{name}: trained again, {f'seeds {failed} failed' if failed else 'all seeds'}", not failed


def _stamp(row: RowState, again: Record, scratch: Path) -> None:
    """Let the records of a row count for the code of today.

    The order is that in which the workflow makes these files, so that none is older than what it depends on.
    """
    experiment = row.experiment
    write_inputs([experiment])
    if isinstance(experiment, Retuned):
        _stamp_study(experiment)
    for seed, record in row.stale.items():
        if seed != again.seed:
            _write(experiment, _stamped(experiment, record, again), experiment.run_folder(seed) / ANALYSIS)
    _replace(experiment, again, scratch)
    write_index(experiment)


def _stamp_study(experiment: Retuned) -> None:
    result = experiment.study_folder / tuned.NAME
    write_json(result, {**experiment.result, "fingerprint": experiment.study["fingerprint"]})
    # written with it, and older than the study's inputs by now
    for path in experiment.study_folder.glob("*.csv"):
        path.touch()


def _touch_run_times(experiment: Experiment) -> None:
    """Snakemake counts a rule's file of run times as an output, so that an old one would plan the training again."""
    path = Path("logs", experiment.suite.suite, f"{experiment.benchmark}.{experiment.label}.tsv")
    if path.is_file():
        path.touch()


def _stamped(experiment: Experiment, record: Record, again: Record) -> Record:
    """The record, certified by another seed's of the same code."""
    trained = record.certified.trained_fingerprint if record.certified else record.fingerprint.code
    certified = Certified(seed=again.seed, commit=str(again.commit), trained_fingerprint=trained)
    return record.model_copy(update={"fingerprint": Fingerprint(**experiment.fingerprint), "certified": certified})


def _replace(experiment: Experiment, again: Record, scratch: Path) -> None:
    """Put the record of a run that was trained in ``scratch`` in its place."""
    summary = experiment.tuned_summary
    record = again.model_copy(
        update={
            "fingerprint": Fingerprint(**experiment.fingerprint),
            "tuned": Tuned.model_validate(summary) if summary else None,
        }
    )
    folder = experiment.run_folder(again.seed).relative_to(experiment.suite.results)
    _write(experiment, record, scratch / folder / ANALYSIS)


def _write(experiment: Experiment, record: Record, analysis: Path) -> None:
    """Write a record, and before it what its probes measured, from another file if that is elsewhere."""
    folder = experiment.run_folder(record.seed)
    with writing(folder):
        try:
            measured = json.loads(analysis.read_text())
        except FileNotFoundError:
            (folder / ANALYSIS).unlink(missing_ok=True)
        else:
            write_json(folder / ANALYSIS, {**measured, "fingerprint": record.fingerprint.all}, indent=None)
        records.write(folder / records.NAME, record)


def _state(experiment: Experiment) -> RowState:
    row = RowState(experiment, {}, {})
    for seed in experiment.suite.seeds:
        try:
            record = records.read(experiment.run_folder(seed) / records.NAME)
        except FileNotFoundError:
            row.problems[seed] = "no record"
            continue
        except BadInput as error:
            row.problems[seed] = str(error)
            continue
        reason = experiment.stale(record, seed)
        if record.status == "failed":
            row.problems[seed] = f"failed: {record.reason}"
        elif reason and _counts_but_for_code(experiment, record, seed):
            row.stale[seed] = record
        elif reason:
            row.problems[seed] = reason
    return row


def _counts_but_for_code(experiment: Experiment, record: Record, seed: int) -> bool:
    """Whether a record would count, were it of the code of today."""
    if not _same_but_code(record.fingerprint.model_dump(exclude_none=True), experiment.fingerprint):
        return False
    fingerprint = Fingerprint(**experiment.fingerprint)
    return experiment.stale(record.model_copy(update={"fingerprint": fingerprint}), seed) is None


def _same_but_code(old: Mapping[str, str], new: Mapping[str, str]) -> bool:
    without = ({key: part for key, part in parts.items() if key not in ("code", "all")} for parts in (old, new))
    return next(without) == next(without)


def _with_result(experiment: Experiment) -> Experiment:
    """The experiment; where its tuning is of other code alone, as if that counted."""
    if experiment.is_tuned:
        return experiment
    path = experiment.study_folder / tuned.NAME
    try:
        stored = json.loads(path.read_text())["fingerprint"]
        # all else that is wrong with the file
        result = tuned.read(experiment.study_folder, {**experiment.study, "fingerprint": stored})
        if not _same_but_code(stored, experiment.study["fingerprint"]):
            return experiment
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return experiment
    return Retuned(experiment.suite, experiment.benchmark, experiment.label, experiment.configured, result)
