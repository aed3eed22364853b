"""One run of an experiment: configuration → benchmark + method + balancer → fit → record."""

from __future__ import annotations

import importlib.metadata
import json
import logging
import platform
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from mola import files
from mola.data import disk
from mola.experiment import record as records
from mola.experiment import weights
from mola.experiment.fingerprint import check_unchanged
from mola.experiment.loggers import logged
from mola.experiment.plausible import fault
from mola.experiment.provenance import commit, uncommitted
from mola.experiment.record import Record
from mola.experiment.spec import Experiment, modules, other_versions, plain
from mola.experiment.status import CHECKPOINT, CHECKPOINTS, LOCK, LOG
from mola.files import with_checksum, write_json
from mola.methods import Method
from mola.sections import Settings
from mola.training.build import build
from mola.training.checksum import weights_sha256
from mola.training.cost import costs, peak_memory_bytes
from mola.training.devices import claim, processor
from mola.training.failures import described, is_of_the_disk, reason
from mola.training.fit import OnEpoch, OnStep, Outcome, fit
from mola.training.probes import Probe, probes
from mola.training.room import require_room
from mola.types import BadInput, Balancer, Benchmark

log = logging.getLogger(__name__)
ANALYSIS = "analysis.json"  # what the probes measured, but for scores
# seconds: "mola status" holds a lock for an instant to see whether a process does
LOOK = 1.0
RECORDED = ("torch", "torchvision", "timm", "numpy", "scipy", "pandas", "torchjd")


def train(
    experiment: Experiment, seed: int, on_step: OnStep = lambda done, total: None, *, renew: bool = False
) -> Record:
    """Train one seed and write its record.

    A finished record of the experiment as it is now is kept; an interrupted run goes on from its last checkpoint, and
    so does a failed one, which is tried again.
    renew: also train again what was made with other versions of the packages that compute.
    Raises BadInput, with nothing written, for everything that is wrong before the first step; also where the disk is
    full or can't be written: the run then goes on as soon as it can.
    """
    settings, folder = experiment.settings, experiment.run_folder(seed)
    if (record := finished(experiment, seed)) and not (renew and other_versions(record)):
        log.info("%s is done already", folder)
        return record
    check_unchanged(modules(settings))
    origin = _origin(experiment, seed)
    with claim(experiment.suite.device) as device, logged(experiment.suite.log, folder) as on_epoch:
        try:
            benchmark, method, balancer = build(settings, experiment.suite.data, seed, device)
            check_unchanged([], settings.weights_files)
            active_probes = probes(settings, benchmark, seed, device, first=seed == experiment.suite.seeds[0])
            # a first pass over data: what is wrong with them shows before anything is written
            cost = costs(method, benchmark, device)
        except Exception as error:
            if isinstance(error, BadInput) or is_of_the_disk(error):
                raise
            return _not_built(experiment, folder, origin, error, device)
        made_of = {"data": benchmark.identity, "remarks": list(benchmark.remarks()), **machine(device)}
        require_room(folder, method, folder.glob(CHECKPOINTS))
        with writing(folder):
            log.info("%s on %s", folder, device)
            log.debug("%s", json.dumps(origin["settings"], ensure_ascii=False))
            result = _attempt(
                method, balancer, benchmark, settings, seed, device, active_probes,
                folder / CHECKPOINT, f"{experiment.fingerprint['all']} {made_of['data']}", on_step, on_epoch,
            )  # fmt: skip
            record = Record.model_validate(origin | made_of | cost | result)
            _write_analysis(folder, record, active_probes)
            # before the record: a run that is done has its weights
            weights.keep(experiment, method, benchmark, record)
            records.write(folder / records.NAME, record)
            if record.status == "done":
                for path in folder.glob(CHECKPOINTS):
                    path.unlink()
    return record


def _not_built(
    experiment: Experiment, folder: Path, origin: Mapping[str, Any], error: Exception, device: torch.device
) -> Record:
    """Write the record of a run whose method, balancer or probes raised an error before the first step."""
    data = experiment.data_identity or "not known: the run failed before it"
    made_of = {"data": data, "remarks": list(experiment.data.remarks()), **machine(device)}
    cost = {"parameters": {"trainable": 0, "inference": 0}, "flops_per_sample": 0}
    with writing(folder):
        log.info("%s on %s", folder, device)
        outcome = Outcome()
        result = _result(outcome, 0.0, device, _failure(error, outcome, folder))
        record = Record.model_validate({**origin, **made_of, **cost, **result})
        records.write(folder / records.NAME, record)
    return record


def finished(experiment: Experiment, seed: int) -> Record | None:
    """The done record of a run of the experiment as it is now, if there is one."""
    try:
        record = records.read(experiment.run_folder(seed) / records.NAME)
    except (FileNotFoundError, BadInput):
        return None
    if record.status != "done" or experiment.stale(record, seed) or fault(record, experiment.data.tasks):
        return None
    return record


def _origin(experiment: Experiment, seed: int) -> dict[str, Any]:
    """The part of the record that tells which run it is, and of which code."""
    head = commit()
    return {
        "suite": experiment.suite.suite,
        "benchmark": experiment.benchmark,
        "method": experiment.label,
        "seed": seed,
        "settings": plain(experiment.settings),
        "tuned": experiment.tuned_summary,
        "fingerprint": experiment.fingerprint,
        "commit": head,
        "dirty": None if head is None else uncommitted(experiment) is not None,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def machine(device: torch.device) -> dict[str, Any]:
    """The part of the record that tells on what it was made."""
    cuda = device.type == "cuda"
    name = torch.cuda.get_device_name(device) if cuda else processor()
    versions = {package: importlib.metadata.version(package) for package in RECORDED}
    return {
        "versions": {"python": platform.python_version(), **versions},
        "device": f"{device.type}: {name}",
        "threads": torch.get_num_threads(),
    }


def _attempt(
    method: Method,
    balancer: Balancer,
    benchmark: Benchmark,
    settings: Settings,
    seed: int,
    device: torch.device,
    active_probes: Sequence[Probe],
    checkpoint: Path,
    fingerprint: str,
    on_step: OnStep,
    on_epoch: OnEpoch,
) -> dict[str, Any]:
    """The part of the record that training gives; an error becomes a failed record with its reason, never a missing
    row. Raises OSError for those of the disk.
    """
    began = time.perf_counter()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    outcome, failure = Outcome(), {"status": "done", "reason": None, "failure": None}
    try:
        fit(
            method, balancer, benchmark, settings.training, seed=seed, device=device, path=checkpoint,
            fingerprint=fingerprint, probes=active_probes, on_step=on_step, on_epoch=on_epoch, outcome=outcome,
        )  # fmt: skip
    except Exception as error:
        if is_of_the_disk(error):
            raise
        failure = _failure(error, outcome, checkpoint.parent)
    result = _result(outcome, time.perf_counter() - began, device, failure) | {"backward_passes": balancer.passes}
    if failure["status"] == "done":
        measured = {probe.name: probe.result() for probe in active_probes}
        result["oracle_selection"] = measured.get("oracle_selection")
        result["weights_sha256"] = weights_sha256(method.state_dict())
    return result


def _failure(error: Exception, outcome: Outcome, folder: Path) -> dict[str, Any]:
    """The part of the record that tells of an error, which the log tells, too; all its lines in the run's log alone."""
    why, failure = reason(error), described(error, outcome, folder / LOG)
    log.error(
        "%s failed in %s, epoch %d, step %d: %s\n  %s\n  all lines: %s",
        folder, outcome.phase, outcome.epoch, failure["step"], why, "\n  ".join(failure["lines"]), failure["log"],
    )  # fmt: skip
    log.debug("%s", "".join(traceback.format_exception(error)))
    return {"status": "failed", "reason": why, "failure": failure}


def _result(outcome: Outcome, seconds: float, device: torch.device, failure: Mapping[str, Any]) -> dict[str, Any]:
    """The part of the record that every training gives, one that failed included."""
    return {
        **failure,
        "resumed": outcome.resumed,
        "batch_parts": outcome.parts,
        "selected": outcome.selected,
        "valid": outcome.valid,
        "test": outcome.test,
        "curve": outcome.curve,
        # of this process: an interrupted run's earlier part is in the curve
        "seconds": seconds,
        "seconds_per_step": outcome.seconds_per_step,
        "peak_memory_bytes": peak_memory_bytes(device),
        "weights_sha256": None,
    }


def _write_analysis(folder: Path, record: Record, active_probes: Sequence[Probe]) -> None:
    """What the probes measured besides scores, in a file beside the record, where there is any."""
    measured = {
        probe.name: probe.result() for probe in active_probes if probe.name != "oracle_selection" and probe.result()
    }
    if record.status == "done" and measured:
        write_analysis(folder, record, measured)
    else:
        (folder / ANALYSIS).unlink(missing_ok=True)


def write_analysis(folder: Path, record: Record, measured: Mapping[str, Any]) -> None:
    """Write what probes measured beside the record that it belongs to, with a checksum."""
    content = with_checksum({**measured, "fingerprint": record.fingerprint.all})
    write_json(folder / ANALYSIS, content, indent=None)


class _LogFile(logging.FileHandler):
    """A log that loses its lines where the disk is full, and prints no traceback for each of them."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Nothing."""


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Hold the run's folder, sweep what killed processes left, and add to its log. The lock dies with the process: an
    orphan of a killed workflow still holds it. What can't be written is BadInput.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK)
        lock.acquire(timeout=LOOK)
        files.sweep(folder)
        handler = _LogFile(folder / LOG)
    except Timeout:
        raise BadInput(f"{folder}: another process is training this run; wait for it or stop it") from None
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise BadInput(f"{folder}: expected a folder that can be written, found: {why}") from None
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    logger = logging.getLogger("mola")
    logger.addHandler(handler)
    level = logger.level
    logger.setLevel(logging.DEBUG)
    try:
        yield
    except OSError as error:
        if not is_of_the_disk(error):
            raise
        raise BadInput(
            f"{folder}: expected to write what a run leaves, found {disk.reason(error)}; the same command goes on"
        ) from None
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        handler.close()
        lock.release()
