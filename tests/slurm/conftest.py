"""A small suite as jobs of a real SLURM, each of which something happens to; and the same suite here, undisturbed."""

import importlib.util
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from cluster import Cluster, missing
from running import copied_tree, environment, write_suite

HELD = '''"""Hard sharing that waits in the middle of training, as long as a file is there and no signal came.

Source: a test.
"""

import time
from pathlib import Path
from signal import SIGTERM, getsignal

from mola.methods.shared import Shared
from mola.training.stopping import Request


class Held(Shared):
    class Options(Shared.Options):
        hold: str

    def __init__(self, tasks, backbone, options):
        super().__init__(tasks, backbone, options)
        self.hold, self.calls = Path(options.hold), 0

    def forward(self, batch):
        # whoever hears signals while steps are done
        request = getattr(getsignal(SIGTERM), "__self__", None)
        if self.training and isinstance(request, Request):
            self.calls += 1
            while self.calls == 30 and self.hold.exists() and not request.number:
                self.hold.with_suffix(".waits").touch()
                time.sleep(0.1)
        return super().forward(batch)
'''
ROWS = ("signalled", "requeued", "over_time")
SUITE = {
    "seeds": 1,
    "plugins": ".",
    "training": {"epochs": 20, "batch_size": 16, "lr": 0.002, "checkpoint": {"minutes": 5}},
    "methods": {
        row: {"method": "held", "hold": f"hold/{row}", "training": {"lr": 0.001 * rate}}
        for rate, row in enumerate(ROWS, 1)
    },
}
# the profile as it is, but that it looks at its jobs more often, and that a GPU of a machine without any has one core
PROFILE = ["--profile", "profiles/slurm", "--slurm-init-seconds-before-status-checks", "2", "--set-threads", "train=1"]
OUTPUT = "output.txt"
PATIENCE = 900


@dataclass
class Finished:
    """What was left of the suite.

    local, folder: copies of the repository: where it ran here, and as jobs. output: what the latter's Snakemake said.
    jobs:          row → what SLURM says of its jobs, in their order.
    planned:       the configuration that the jobs were to read, with its time.
    """

    local: Path
    folder: Path
    output: str
    jobs: dict[str, list[str]]
    planned: tuple[bytes, int]


@pytest.fixture(scope="session")
def cluster():
    reason = missing()
    if not importlib.util.find_spec("snakemake_executor_plugin_slurm"):
        reason = "no Snakemake executor for SLURM: pip install -e .[slurm]"
    if reason:
        pytest.skip(f"no SLURM is started here: {reason}")
    with Cluster() as started:
        yield started


@pytest.fixture(scope="session")
def finished(cluster, tmp_path_factory):
    """The suite, undisturbed here; and as jobs, one of which is signalled, one requeued, one stopped at its limit."""
    data = tmp_path_factory.mktemp("data")
    local, folder = (suite_in(tmp_path_factory.mktemp(name), data) for name in ("local", "jobs"))
    for row in ROWS:
        (folder / "hold" / row).touch()
    # cards that are there would be used here, and not by the jobs
    alone = environment(local) | {"CUDA_VISIBLE_DEVICES": ""}
    with ExitStack() as started:
        prepared = started.enter_context(snakemake(local, alone, "--cores", "2", "--until", "prepare"))
        assert prepared.wait(PATIENCE) == 0, output(local)
        jobs = started.enter_context(snakemake(folder, environment(folder) | names(cluster), *PROFILE))
        waits(jobs, folder, lambda: all((folder / f"hold/{row}.waits").exists() for row in ROWS))
        path = folder / "results/tiny/config.yaml"
        planned = path.read_bytes(), path.stat().st_mtime_ns
        disturb(jobs, cluster, folder)
        for command in ("train", "table"):
            words = [sys.executable, "-m", "mola", command, "-c", "tiny.yaml"]
            subprocess.run(words, cwd=local, env=alone, check=True, timeout=PATIENCE)
        assert jobs.wait(PATIENCE) == 0, output(folder)
    return Finished(local, folder, output(folder), {row: jobs_of(cluster, row) for row in ROWS}, planned)


@contextmanager
def snakemake(folder: Path, of: dict[str, str], *words: str) -> Iterator[subprocess.Popen]:
    """The tables of the suite in a folder; what is said goes to a file."""
    command = [sys.executable, "-m", "snakemake", "table", "--configfile", "tiny.yaml", *words]
    with (folder / OUTPUT).open("w") as file:
        process = subprocess.Popen(command, cwd=folder, env=of, stdout=file, stderr=file)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def output(folder: Path) -> str:
    return (folder / OUTPUT).read_text()


def suite_in(folder: Path, data: Path) -> Path:
    copied_tree(folder)
    for name in ("methods", "hold"):
        (folder / name).mkdir()
    (folder / "methods/held.py").write_text(HELD)
    write_suite(folder, **SUITE, data=str(data))
    return folder


def names(cluster: Cluster) -> dict[str, str]:
    """What programs of SLURM are found by."""
    return {
        "SLURM_CONF": cluster.environment["SLURM_CONF"],
        "PATH": f"{Path(sys.executable).parent}:{cluster.environment['PATH']}",
    }


def disturb(jobs: subprocess.Popen, cluster: Cluster, folder: Path) -> None:
    """Let something happen to each job, and let those that go on run at full speed."""
    # whoever plans again would refuse a row, and look for files of another
    suite = yaml.safe_load((folder / "tiny.yaml").read_text())
    suite["methods"][ROWS[0]]["method"] = "no_such_method"
    suite["methods"]["added"] = {"method": "shared"}
    (folder / "tiny.yaml").write_text(yaml.safe_dump(suite, sort_keys=False))
    job = {row: number(jobs_of(cluster, row)[-1]) for row in ROWS}
    cluster.run("scancel", "--signal=TERM", job["signalled"])
    cluster.run("scontrol", "requeue", job["requeued"])
    # its limit is hours away; SLURM looks at limits every half a minute
    cluster.run("scontrol", "update", f"JobId={job['over_time']}", "EndTime=now+1")
    for row, has_met in (
        ("signalled", "JobState=FAILED"),
        ("requeued", "Restarts=1"),
        ("over_time", "JobState=TIMEOUT"),
    ):
        waits(jobs, folder, lambda row=row, has_met=has_met: f" {has_met} " in jobs_of(cluster, row)[0])
        (folder / "hold" / row).unlink()


def waits(process: subprocess.Popen, folder: Path, is_so: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not is_so():
        assert process.poll() is None and time.monotonic() < until, output(folder)
        time.sleep(0.2)


def jobs_of(cluster: Cluster, row: str) -> list[str]:
    """What SLURM says of the jobs of a row, in their order."""
    said = cluster.run("scontrol", "show", "job", "--oneliner").splitlines()
    return sorted((line for line in said if f"Comment=rule_train_wildcards_digits_{row} " in line), key=order)


def order(line: str) -> int:
    return int(number(line))


def number(line: str) -> str:
    return re.match(r"JobId=(\d+)", line)[1]
