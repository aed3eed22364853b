"""One run: configuration → benchmark + method + balancer → fit → record."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import logging
import os
import platform
import subprocess
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from filelock import FileLock, Timeout

from mola import registry
from mola.config import Settings, Suite
from mola.experiment import tuned
from mola.experiment.fingerprint import ROOT
from mola.experiment.inputs import inputs
from mola.files import write_json
from mola.methods import Method
from mola.models.backbones import builder
from mola.seeds import derive
from mola.training.cost import few_of_each, flops_per_sample, parameter_counts, peak_memory_bytes
from mola.training.devices import claim, loader_threads
from mola.training.fit import OnStep, Outcome, fit
from mola.training.probes import Watch
from mola.training.probes.build import watches
from mola.training.seeding import seed_everything
from mola.types import BadInput, Balancer, Benchmark

log = logging.getLogger(__name__)
Status = Literal["done", "failed"]
RECORD, CHECKPOINT, LOG, LOCK = "record.json", "checkpoint.pt", "log.txt", "lock"
ANALYSIS = "analysis.json"  # what the watches saw, but for scores


def train(suite: Suite, benchmark: str, label: str, seed: int, on_step: OnStep = lambda done, total: None) -> Status:
    """Train one seed of a cell and write its record; returns the record's status.

    A finished record of the same fingerprint is kept, an interrupted run goes on from its last epoch, and a failed one
    is tried again.
    Raises BadInput, with nothing written, for everything that is wrong before the first step.
    """
    settings, told = tuned.settings(suite, benchmark, label), inputs(suite, benchmark, label)
    folder = suite.cell(benchmark, label) / f"seed{seed}"
    if finished(folder, told["fingerprint"]["all"]):
        log.info("%s is done already", folder)
        return "done"
    with claim(suite.device) as device:
        data, method, balancer = build(settings, suite.data, seed, device)
        costs = cost(method, data, device)  # reads data: what is wrong with them shows before anything is written
        with writing(folder):
            log.info("%s on %s", folder, device)
            log.debug("%s", json.dumps(told["settings"], ensure_ascii=False))
            record = {
                "suite": suite.suite,
                "benchmark": benchmark,
                "method": label,
                "seed": seed,
                "config": told["settings"],
                "data": data.identity,
                **({"tuned": told["tuned"]} if "tuned" in told else {}),
                "remarks": list(data.remarks()),
            }
            record |= {"fingerprint": told["fingerprint"], **_surroundings(device), **costs}
            known = f"{told['fingerprint']['all']} {data.identity}"  # a checkpoint of other data is of no use
            seen = watches(settings, data, seed, device, first=seed == suite.seeds[0])
            record |= _attempt(settings, data, method, balancer, seed, device, folder, known, seen, on_step)
            _write_analysis(folder, record, seen)
            write_json(folder / RECORD, record)
            (folder / CHECKPOINT).unlink(missing_ok=True)
    return "done" if record["status"] == "done" else "failed"


def build(settings: Settings, data: Path, seed: int, device: torch.device) -> tuple[Benchmark, Method, Balancer]:
    """Everything that a run trains with; the weights depend on the seed alone. Raises BadInput."""
    benchmark: Benchmark = registry.create("benchmarks", settings.benchmark, data, options=settings.benchmark_options)
    benchmark.threads = loader_threads(device)
    dense = any(task.kind != "classes" for task in benchmark.tasks)
    backbone = builder(**settings.backbone.model_dump(), dense=dense)
    seed_everything(derive(seed, "initialisation"), settings.training.deterministic)
    method: Method = registry.create(
        "methods", settings.method, benchmark.tasks, backbone, options=settings.method_options
    )
    balancer: Balancer = registry.create(
        "balancers", settings.balancer, benchmark.tasks, device, options=settings.balancer_options
    )
    seed_everything(
        derive(seed, "training"), settings.training.deterministic
    )  # dropout draws the same whatever the method's weights drew
    return benchmark, method.to(device), balancer


def finished(folder: Path, fingerprint: str) -> bool:
    """Whether the folder holds a done record of this fingerprint."""
    try:
        record = json.loads((folder / RECORD).read_text())
    except (OSError, json.JSONDecodeError):
        return False
    return bool(record.get("status") == "done" and record.get("fingerprint", {}).get("all") == fingerprint)


def _attempt(
    settings: Settings,
    data: Benchmark,
    method: Method,
    balancer: Balancer,
    seed: int,
    device: torch.device,
    folder: Path,
    fingerprint: str,
    seen: list[Watch],
    on_step: OnStep,
) -> dict[str, Any]:
    """The part of the record that training gives; an error becomes a failed record with its reason, never a missing
    row.
    """
    began = time.perf_counter()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    outcome, status, reason = Outcome(), "done", None
    try:
        outcome = fit(
            method,
            balancer,
            data,
            settings.training,
            seed=seed,
            device=device,
            path=folder / CHECKPOINT,
            fingerprint=fingerprint,
            watches=seen,
            on_step=on_step,
        )
    except Exception as error:
        status, reason = "failed", f"{type(error).__name__}: {error}".splitlines()[0]
        log.error("%s failed: %s", folder, reason)
        log.debug("%s", traceback.format_exc())  # to the run's log alone
    return {
        "status": status,
        "reason": reason,
        "selected": outcome.selected,
        "valid": outcome.valid,
        "test": outcome.test,
        "curve": outcome.curve,
        "seconds": time.perf_counter() - began,  # of this process; an interrupted run's earlier part is in the curve
        "seconds_per_step": outcome.seconds_per_step if outcome.curve else None,
        "peak_memory_bytes": peak_memory_bytes(device),
        "weights_sha256": _weights_sha256(method) if status == "done" else None,
    }


def _write_analysis(folder: Path, record: dict[str, Any], seen: list[Watch]) -> None:
    """Scores into the record, the rest into a file beside it, where the run is done and there is any."""
    told = {watch.name: watch.told() for watch in seen} if record["status"] == "done" else {}
    record["oracle_selection"] = told.pop("oracle_selection", None)
    if told := {name: content for name, content in told.items() if content}:
        write_json(folder / ANALYSIS, {"fingerprint": record["fingerprint"]["all"], **told}, indent=None)
    else:
        (folder / ANALYSIS).unlink(missing_ok=True)


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Hold the run's folder and add to its log. The lock dies with the process: an orphan of a killed workflow
    still holds it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK)
        lock.acquire(timeout=0)
    except Timeout:
        raise BadInput(f"{folder}: another process is training this run; wait for it or stop it") from None
    except OSError as error:
        raise BadInput(
            f"{folder}: expected a folder that can be written, found: {(error.strerror or str(error)).lower()}"
        ) from None
    handler = logging.FileHandler(folder / LOG)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    logger = logging.getLogger("mola")
    logger.addHandler(handler)
    level = logger.level
    logger.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        handler.close()
        lock.release()


def cost(method: Method, benchmark: Benchmark, device: torch.device) -> dict[str, Any]:
    """What the method costs; a first forward pass, which tells whether the backbone takes such images at all."""
    batch = few_of_each(benchmark, device)
    try:
        return {"parameters": parameter_counts(method, batch), "flops_per_sample": flops_per_sample(method, batch)}
    except AssertionError as error:  # so timm's transformers refuse other sizes than their own
        height, width = batch.x.shape[-2:]
        raise BadInput(
            f"backbone: expected one that takes {benchmark.name}'s images of {height}×{width} pixels, found: {error}; "
            f"most transformers take backbone.options: {{img_size: [{height}, {width}]}}"
        ) from None


def _surroundings(device: torch.device) -> dict[str, Any]:
    """What a result may depend on outside the configuration."""
    packages = ("torch", "torchvision", "timm", "numpy", "scipy", "pandas", "torchmetrics", "torchjd")
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return {
        "versions": {
            "python": platform.python_version(),
            **{package: importlib.metadata.version(package) for package in packages},
        },
        **_commit(),
        "device": f"{device.type}: {name}",
        "threads": torch.get_num_threads(),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


@functools.cache  # of the process's start: all its seeds run the code that it imported then
def _commit() -> dict[str, Any]:
    def git(*words: str) -> str | None:
        done = subprocess.run(
            ["git", "-C", str(ROOT), *words],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
        )
        return done.stdout.strip() if done.returncode == 0 else None

    try:
        changed = git("status", "--porcelain", "--", ".", ":!results", ":!dvc.lock")  # results are what a run writes
        return {"commit": git("rev-parse", "HEAD"), "dirty": None if changed is None else bool(changed)}
    except OSError:  # no git on this machine
        return {"commit": None, "dirty": None}


def _weights_sha256(method: Method) -> str:
    digest = hashlib.sha256()
    for name, value in method.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
