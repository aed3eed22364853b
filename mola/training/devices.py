"""One GPU per run: Snakemake counts GPUs but hands out no numbers, so each run locks the one it takes."""

from __future__ import annotations

import logging
import os
import platform
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from mola.types import BadInput

log = logging.getLogger(__name__)
POLL = 5.0  # seconds between two looks for a free GPU
CPUINFO = Path("/proc/cpuinfo")


@contextmanager
def claim(kind: str) -> Iterator[torch.device]:
    """The device to train on, held until the block ends or the process dies.

    kind: "cpu", "cuda" (BadInput where there is none) or "auto" (a GPU if there is any).

    Waits while all GPUs are held.
    """
    gpus = torch.cuda.device_count() if kind != "cpu" else 0
    if kind == "cuda" and not gpus:
        raise BadInput("device: expected a CUDA GPU, found none that torch can use")
    if not gpus:
        yield torch.device("cpu")
        return
    held, index = _first_free(gpus)
    try:
        torch.cuda.set_device(index)
        yield torch.device("cuda", index)
    finally:
        held.release()


def processor() -> str:
    """The name of this machine's processor; its architecture where the system knows no name."""
    try:
        lines = CPUINFO.read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()


def loader_threads(device: torch.device) -> int:
    """How many threads augment images. On a CPU one, since the model wants the cores. Beside a GPU as many as
    OMP_NUM_THREADS grants, by default this GPU's share of the cores; torch's own work on the CPU then takes one each.
    """
    if device.type == "cpu":
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    granted = os.environ.get("OMP_NUM_THREADS", "")
    torch.set_num_threads(1)
    return int(granted) if granted.isdecimal() else max(1, cores // torch.cuda.device_count())


def _identity(index: int, gpus: int) -> str:
    """What names a GPU in every process of the machine, whatever part of the GPUs each of them sees."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    # an instance of a divided GPU, whose other instances may serve other runs
    if len(visible) == gpus and visible[index].startswith("MIG"):
        return visible[index].replace("/", "_")
    return str(torch.cuda.get_device_properties(index).uuid)


def _first_free(gpus: int) -> tuple[FileLock, int]:
    waited = False
    while True:
        for index in range(gpus):
            lock = FileLock(Path(tempfile.gettempdir()) / f"mola-gpu-{_identity(index, gpus)}.lock", mode=0o666)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                continue
            return lock, index
        if not waited:
            log.info("all %d GPUs are held by other runs; waiting for one", gpus)
            waited = True
        time.sleep(POLL)
