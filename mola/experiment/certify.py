"""Records that a change of code alone made stale: of every row one seed of each code is trained once more, and where
it gives the same bits, the records of that code count for the code of today, and say so.

Every file is written by renaming, and the record of the seed that was trained comes last: after a kill, records that
are not stamped yet are as stale as they were, and the same command goes on.
"""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mola.experiment import record as records
from mola.experiment import tuned, weights
from mola.experiment.edited import Retuned, RowState, state
from mola.experiment.inputs import write_inputs
from mola.experiment.provenance import commit, git, uncommitted
from mola.experiment.record import Certified, Fingerprint, Parameters, Record, Tuned
from mola.experiment.rerun import differences, listed, other_surroundings, prepared, rerun
from mola.experiment.row import train_seeds, write_index
from mola.experiment.run import ANALYSIS, finished, write_analysis, writing
from mola.experiment.spec import Experiment
from mola.files import with_checksum, write_json
from mola.training.build import build
from mola.training.cost import costs
from mola.training.devices import claim
from mola.types import BadInput

log = logging.getLogger(__name__)
COUNTED = ("parameters", "flops_per_sample")  # of a record, what no training decides
Line = tuple[str, bool]  # what happened, and whether it is as it should be
# of a study with the code of today, trained in a scratch folder: see mola.tuning.again.differences
StudyDifferences = Callable[[Retuned, Path], list[str]]


@dataclass(frozen=True)
class Proof:
    """Stale records of one code by seed, and the first of them trained once more."""

    stale: dict[int, Record]
    again: Record

    @property
    def failed(self) -> bool:
        """Whether training failed, which says nothing of bits: the old record is of a run that did not."""
        return self.again.status == "failed"

    @property
    def old(self) -> Record:
        """The stale record of the seed that was trained."""
        return self.stale[self.again.seed]


def certify(experiments: Sequence[Experiment], study_differences: StudyDifferences) -> Iterator[Line]:
    """Certify the rows whose records a change of code alone made stale, and train those again whose bits changed.

    Raises BadInput, with nothing written, where the code of one of them is in no commit, or data can't be had; and
    where another commit is checked out meanwhile, with nothing written of that row.
    """
    head = str(commit())
    rows = [state(prepared(experiment)) for experiment in experiments]
    due = [row for row in rows if row.is_due]
    for row in due:
        more = ["mola.tuning.budget"] if row.experiment.suite.tune is not None else []
        if files := uncommitted(row.experiment, *more):
            raise BadInput(f"{row.experiment.name}: expected its code in a commit, found uncommitted: {files}")
    if not due:
        yield "nothing to certify: no record is stale by a change of code alone", True
    for row in due:
        with tempfile.TemporaryDirectory(prefix="mola-certify-") as folder:
            yield from _certified(row, head, study_differences, Path(folder))
    for row in rows:
        for seed, problem in row.problems.items():
            yield f"{row.experiment.name} seed {seed}: not certified: {problem}; mola train makes it", False


def _certified(row: RowState, head: str, study_differences: StudyDifferences, scratch: Path) -> Iterator[Line]:
    experiment, name = row.experiment, row.experiment.name
    first = f"mola tune --restart -b {experiment.benchmark} -m {experiment.label} first, and mola train with these then"
    if isinstance(experiment, Retuned) and (changes := study_differences(experiment, scratch)):
        yield f"{name}: its study gives another result: {listed(changes)}", True
        yield f"{name}: {first}", False
        return
    proofs = [Proof(group, rerun(experiment, next(iter(group)), scratch)) for group in row.groups()]
    _check_commit(name, head)
    for proof in proofs:
        if proof.failed:
            yield f"{name}: seed {proof.again.seed} failed: {proof.again.reason}; no record of that code changed", False
        elif changes := differences(proof.old, proof.again):
            where = other_surroundings(proof.old, proof.again.model_dump())
            yield f"{name}: seed {proof.again.seed} gives other bits: {listed(where + changes)}", True
    settled = [proof for proof in proofs if not proof.failed]
    if isinstance(experiment, Retuned):
        if any(differences(proof.old, proof.again) for proof in settled):
            yield f"{name}: {first}", False
            return
        # the records count for what the study found
        if len(settled) < len(proofs):
            return
    elif not settled:
        return
    yield from _settle(experiment, settled, head, scratch)


def _settle(experiment: Experiment, proofs: Sequence[Proof], head: str, scratch: Path) -> Iterator[Line]:
    """Let records count for the code of today, or make new ones.

    The order is that in which the workflow makes these files, so that none is older than what it depends on.
    """
    write_inputs([experiment])
    if isinstance(experiment, Retuned):
        if not _stamp_study(experiment):
            yield f"{experiment.name}: left alone: it was tuned anew meanwhile", False
            return
        yield f"{experiment.name}: its study is certified at {head[:7]}", True
    for proof in proofs:
        if differences(proof.old, proof.again):
            yield from _train(experiment, proof, scratch)
        else:
            yield from _stamp(experiment, proof, head, scratch)
    write_index(experiment)
    _touch_run_times(experiment)


def _train(experiment: Experiment, proof: Proof, scratch: Path) -> Iterator[Line]:
    """Train again all seeds whose records are of one code; the one of the proof is trained already."""
    if not _replace(experiment, proof, scratch):
        yield _left_alone(experiment, proof.again.seed)
    failed = train_seeds(experiment, [*proof.stale])
    trained = f"seeds {', '.join(map(str, proof.stale))}"
    yield f"{experiment.name}: trained again: {trained}{f'; failed: {failed}' if failed else ''}", not failed


def _stamp(experiment: Experiment, proof: Proof, head: str, scratch: Path) -> Iterator[Line]:
    """Let the records of one code count for that of today."""
    again, count = proof.again, 0
    for seed, record in proof.stale.items():
        if seed == again.seed:
            continue
        if _write(experiment, record, _stamped(experiment, record, proof, head), experiment.run_folder(seed)):
            count += 1
        else:
            yield _left_alone(experiment, seed)
    if not _replace(experiment, proof, scratch):
        yield _left_alone(experiment, again.seed)
    what = f"{count} {'record' if count == 1 else 'records'} certified by seed {again.seed} at {head[:7]}"
    yield f"{experiment.name}: {what} (weights {str(again.weights_sha256)[:8]}…)", True


def _check_commit(name: str, head: str) -> None:
    """Raise BadInput where another commit is checked out than when certifying began: records would name the wrong."""
    now = (git("rev-parse", "HEAD") or b"").decode().strip()
    if now != head:
        raise BadInput(
            f"{name}: expected commit {head[:7]} to stay checked out, found {now[:7]}; nothing of it changed"
        )


def _left_alone(experiment: Experiment, seed: int) -> Line:
    text = f"{experiment.name} seed {seed}: left alone: its record is another one by now"
    return text, finished(experiment, seed) is not None


def _stamp_study(experiment: Retuned) -> bool:
    """Let ``tuned.json`` count for the code of today; False, with nothing written, where it is another one by now."""
    result = experiment.study_folder / tuned.NAME
    with writing(experiment.study_folder):
        try:
            if json.loads(result.read_text()) != experiment.result:
                return False
        except (OSError, ValueError):
            return False
        write_json(result, with_checksum({**experiment.result, "fingerprint": experiment.study["fingerprint"]}))
        # written with it, and older than the study's inputs by now
        for path in experiment.study_folder.glob("*.csv"):
            path.touch()
    return True


def _touch_run_times(experiment: Experiment) -> None:
    """Snakemake counts a rule's file of run times as an output, so that an old one would plan the training again."""
    path = Path("logs", experiment.suite.suite, f"{experiment.benchmark}.{experiment.label}.tsv")
    if path.is_file():
        path.touch()


def _stamped(experiment: Experiment, record: Record, proof: Proof, head: str) -> Record:
    """The record, certified by another seed's of the same code; what is counted and not trained is counted anew where
    the code of today counts otherwise.
    """
    trained = record.certified.trained_fingerprint if record.certified else record.fingerprint.code
    certified = Certified(seed=proof.again.seed, commit=head, trained_fingerprint=trained)
    update = {"fingerprint": Fingerprint(**experiment.fingerprint), "certified": certified}
    if _counts(proof.old) != _counts(proof.again):
        # they may differ from seed to seed: a router that nothing trained chooses other experts
        update |= _counted(experiment, record.seed)
    return record.model_copy(update=update)


def _counts(record: Record) -> dict[str, Any]:
    return {name: getattr(record, name) for name in COUNTED}


def _counted(experiment: Experiment, seed: int) -> dict[str, Any]:
    with claim(experiment.suite.device) as device:
        benchmark, method, _ = build(experiment.settings, experiment.suite.data, seed, device)
        content = costs(method, benchmark, device)
    return {**content, "parameters": Parameters.model_validate(content["parameters"])}


def _replace(experiment: Experiment, proof: Proof, scratch: Path) -> bool:
    """Put the record of the run that was trained in ``scratch`` in its place; False as :func:`_write`."""
    summary = experiment.tuned_summary
    record = proof.again.model_copy(
        update={
            "fingerprint": Fingerprint(**experiment.fingerprint),
            "tuned": Tuned.model_validate(summary) if summary else None,
        }
    )
    folder = experiment.run_folder(record.seed).relative_to(experiment.suite.results)
    return _write(experiment, proof.old, record, scratch / folder)


def _write(experiment: Experiment, old: Record, record: Record, source: Path) -> bool:
    """Write a record, and before it what its probes measured, from the folder ``source`` if that is elsewhere.

    False, with nothing written, where ``old`` is not the record that is there by now.
    """
    folder = experiment.run_folder(record.seed)
    with writing(folder):
        if not _is_there(old, folder):
            return False
        if not (source / ANALYSIS).exists():
            (folder / ANALYSIS).unlink(missing_ok=True)
        elif measured := _measured(source):
            write_analysis(folder, record, measured)
        weights.bring(source, folder, record)
        records.write(folder / records.NAME, record)
    return True


def _measured(folder: Path) -> dict[str, Any] | None:
    """What the probes of a run measured; None where it was changed since, or is of another record than the one beside
    it: such a file stays as it is, and figures leave it out. Raises OSError where one of the two can't be read.
    """
    data = (folder / ANALYSIS).read_bytes()
    try:
        content = json.loads(data)
        expected = records.read(folder / records.NAME).fingerprint.all
    except (FileNotFoundError, ValueError, RecursionError, BadInput):
        content = expected = None
    whole = isinstance(content, dict) and with_checksum(content) == content
    if whole and content["fingerprint"] == expected:
        measured: dict[str, Any] = content
        return measured
    log.warning("%s: not the one that was measured; it stays as it is, and figures leave it out", folder / ANALYSIS)
    return None


def _is_there(old: Record, folder: Path) -> bool:
    try:
        record = records.read(folder / records.NAME)
    except (FileNotFoundError, BadInput):
        return False
    return (record.fingerprint.all, record.time) == (old.fingerprint.all, old.time)
