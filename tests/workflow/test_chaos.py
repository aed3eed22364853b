"""Snakemake, trainers and tuners are killed at random instants; what is completed then is what nothing disturbed."""

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest
from filelock import FileLock
from running import environment, write_suite

from mola.experiment import record as records
from mola.experiment.rerun import differences

TABLES = "results/chaos/tables/summary.md"
SUITE = {
    "suite": "chaos",
    "seeds": 2,
    "reference": "shared",
    "training": {"epochs": 6, "passes": 6, "batch_size": 8, "checkpoint": {"steps": 4}},
    "tune": {"grid": {"lr": [0.002, 0.008]}, "epochs": 3},
    "shared_options": {"where": r"layer[1-4]\..*conv\d"},
    "methods": {"shared": None, "mola_grad": None},
}
COMMAND = [sys.executable, "-m", "snakemake", "--cores", "2", "--retries", "3", TABLES, "--configfile", "tiny.yaml"]
KILLS, OF_SNAKEMAKE, OF_TUNERS = 20, 5, 5
TIMES = ("seconds", "seconds_per_step", "peak_memory_bytes", "time", "resumed")  # of a record


class Processes:
    """Those of one suite: they inherit a mark from the Snakemake that began it, and keep it when that is dead."""

    def __init__(self, repository: Path) -> None:
        self.repository, self.mark = repository, f"MOLA_SUITE_UNDER_TEST={repository}"

    def started(self) -> subprocess.Popen:
        name, _, value = self.mark.partition("=")
        with (self.repository / "snakemake.txt").open("a") as output:
            return subprocess.Popen(
                COMMAND, cwd=self.repository, env=environment(self.repository) | {name: value}, stdout=output,
                stderr=output,
            )  # fmt: skip

    def living(self) -> list[Path]:
        return [path for path in Path("/proc").iterdir() if path.name.isdecimal() and self.mark in variables(path)]

    def training(self) -> list[tuple[str, int]]:
        """Word of the command and number of those that are at their steps: they add to a run's or a study's log."""
        pairs = ((word, path) for path in self.living() for word in ("train", "tune") if word in command(path)[:4])
        return [(word, int(path.name)) for word, path in pairs if any(one.name == "log.txt" for one in opened(path))]


def variables(process: Path) -> list[str]:
    try:
        return (process / "environ").read_text(errors="replace").split("\0")
    except OSError:
        return []


def command(process: Path) -> list[str]:
    try:
        return (process / "cmdline").read_text(errors="replace").split("\0")
    except OSError:
        return []


def opened(process: Path) -> list[Path]:
    try:
        return [path.readlink() for path in (process / "fd").iterdir()]
    except OSError:
        return []


def killed(processes: Processes, draw: random.Random) -> Counter:
    """Kill until enough of it was done, then let the rest be done; whenever Snakemake ends, the next one is started."""
    hit, workflow = Counter(), processes.started()
    while not processes.training():
        assert workflow.poll() is None, (processes.repository / "snakemake.txt").read_text()[-5000:]
        time.sleep(0.05)
    second = called(processes.repository, COMMAND)
    assert second.returncode == 1 and "Directory cannot be locked" in second.stderr, second.stderr
    assert "to lift it" not in second.stderr, "the first one is at work"
    while hit.total() < KILLS:
        while not processes.training():
            if workflow.poll() is not None:
                assert workflow.returncode, f"the suite was done after {hit}"
                workflow = processes.started()
            time.sleep(0.05)
        time.sleep(draw.uniform(0.1, 0.6))
        number, victims = draw.choice([signal.SIGKILL, signal.SIGTERM]), processes.training()
        # tuners come first, and are soon done where nothing else runs
        tuners = [one for one in victims if one[0] == "tune"] if hit["tune"] < OF_TUNERS else []
        victims = tuners or victims
        turn = hit["snakemake"] < OF_SNAKEMAKE and draw.random() < 0.4
        if victims and not tuners and turn and workflow.poll() is None:
            # once for sure so that its lock is left
            number = number if hit["snakemake"] else signal.SIGKILL
            workflow.send_signal(number)
            hit["snakemake"] += 1
            if number == signal.SIGKILL:
                workflow.wait()
                workflow = after_kill_9(processes)
        elif victims:
            word, process = draw.choice(victims)
            # one may have ended by itself in between
            with suppress(ProcessLookupError):
                os.kill(process, number)
                hit[word] += 1
    for _ in range(KILLS):
        if not workflow.wait():
            return hit
        workflow = processes.started()
    raise AssertionError((processes.repository / "snakemake.txt").read_text()[-5000:])


def after_kill_9(processes: Processes) -> subprocess.Popen:
    """The next call is told about the lock, and what lifts it."""
    locks, noted = processes.repository / ".snakemake/locks", processes.repository / "told"
    if not any(locks.glob("*")):
        assert noted.exists(), "only one that was killed while it planned has no lock"
        return processes.started()
    if not noted.exists():
        words = "a Snakemake was killed here, and the next one stops at its lock; to lift it: snakemake --unlock"
        stopped = called(processes.repository, COMMAND)
        assert stopped.returncode == 1 and words in stopped.stderr, stopped.stderr
        status = called(processes.repository, [sys.executable, "-m", "mola.cli", "status", "-c", "tiny.yaml"])
        assert words in status.stdout, status.stdout + status.stderr
        noted.touch()
    lifted = called(processes.repository, [sys.executable, "-m", "snakemake", "--unlock"])
    assert lifted.returncode == 0 and not locks.exists(), lifted.stderr
    return processes.started()


def called(repository, words):
    return subprocess.run(
        words, cwd=repository, env=environment(repository), capture_output=True, text=True, check=False
    )


def with_times_of(undisturbed: Path, results: Path) -> None:
    """Write the times of other runs into the records, and the checksums of that into their indices."""
    for path in results.rglob("record.json"):
        other, record = (
            json.loads((folder / path.relative_to(results)).read_text()) for folder in (undisturbed, results)
        )
        record |= {key: other[key] for key in TIMES}
        for epoch, same in zip(record["curve"], other["curve"], strict=True):
            epoch["train_seconds"] = same["train_seconds"]
        path.write_text(json.dumps(record))
        index = path.parent.parent / "runs.json"
        content = json.loads(index.read_text())
        content["runs"][path.parent.name.removeprefix("seed")]["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
        index.write_text(json.dumps(content))


def names(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}


def same_but_for_times(repository: Path, results: Path, undisturbed: Path) -> None:
    """Every record, what tuning found, and all files of tables."""
    for path in undisturbed.rglob("record.json"):
        one, two = records.read(path), records.read(results / path.relative_to(undisturbed))
        assert not differences(one, two)
    for path in undisturbed.rglob("tuned.json"):
        assert path.read_text() == (results / path.relative_to(undisturbed)).read_text()
    with_times_of(undisturbed, results)
    table = called(repository, [sys.executable, "-m", "mola.cli", "table", "-c", "results/chaos/config.yaml"])
    assert table.returncode == 0, table.stderr
    for path in (undisturbed / "tables").rglob("*.*"):
        assert path.read_bytes() == (results / path.relative_to(undisturbed)).read_bytes(), path.name


def nothing_left(repository: Path, results: Path, undisturbed: Path) -> None:
    """No lock, and no file that an undisturbed suite has not."""
    assert not (repository / ".snakemake/locks").exists() and not names(repository / ".snakemake/incomplete")
    assert names(results) == names(undisturbed), "a temporary file, or a lost one"
    for lock in results.rglob("lock"):
        with FileLock(lock, timeout=0):
            pass


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="processes are looked for in /proc")
def test_kills_at_random_instants_change_no_table(repository):
    write_suite(repository, **SUITE)
    results, undisturbed = repository / "results/chaos", repository / "undisturbed"
    processes = Processes(repository)
    assert processes.started().wait() == 0, (repository / "snakemake.txt").read_text()[-5000:]
    shutil.move(results, undisturbed)
    shutil.rmtree(repository / ".snakemake")

    hit = killed(processes, random.Random(20))
    assert min(hit[word] for word in ("snakemake", "train", "tune")) >= 3, hit
    logs = "".join(path.read_text() for path in results.rglob("log.txt"))
    assert logs.count(" resumed after epoch ") > (hit["train"] + hit["tune"]) / 2, "kills hit training"
    assert not processes.living(), "an orphan"
    nothing_left(repository, results, undisturbed)
    same_but_for_times(repository, results, undisturbed)
