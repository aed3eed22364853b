"""profiles/slurm on a real SLURM: what jobs ask for, what they survive, and that tables are those of a run here."""

import csv
import re

import pytest

from mola.experiment import record
from mola.experiment.rerun import differences

pytestmark = [pytest.mark.slurm, pytest.mark.slow]
MEASURED = {"milliseconds_per_step", "peak_memory_mib"}


def run(folder, row):
    return record.read(folder / f"results/tiny/digits/{row}/seed0/record.json")


def stopped_and_went_on(finished, row, after="epoch 7, step 2"):
    """A run that was stopped in the middle of its training, went on from there, and equals the one that was not.

    after: where it held.
    """
    log = (finished.folder / f"results/tiny/digits/{row}/seed0/log.txt").read_text()
    assert re.search(f"resumed after {after}", log), log
    one, two = (run(folder, row) for folder in (finished.local, finished.folder))
    assert one.status == two.status == "done"
    assert (one.resumed, two.resumed) == (0, 1)
    assert not differences(one, two)


def test_tables_are_those_of_a_local_run_but_for_what_is_measured(finished):
    local, tables = (folder / "results/tiny/tables" for folder in (finished.local, finished.folder))
    names = {path.relative_to(local) for path in local.rglob("*.*")}
    assert names and names == {path.relative_to(tables) for path in tables.rglob("*.*")}
    # these show what was measured; the CSV file has it in columns of its own
    timed = {name for name in names if name.stem == "digits"}
    assert [name for name in sorted(names - timed) if (local / name).read_bytes() != (tables / name).read_bytes()] == []
    rows = [list(csv.DictReader((folder / "digits.csv").open())) for folder in (local, tables)]
    here, there = ([{key: row[key] for key in row if key not in MEASURED} for row in each] for each in rows)
    assert here == there and [row["method"] for row in here] == list(finished.jobs)


def test_a_signalled_job_is_sent_again_and_goes_on(finished):
    first, second = finished.jobs["signalled"]
    assert "JobState=FAILED" in first and "JobState=COMPLETED" in second
    stopped_and_went_on(finished, "signalled")


def test_a_requeued_job_is_waited_for_and_goes_on(finished):
    (job,) = finished.jobs["requeued"]
    assert "JobState=COMPLETED" in job and "Restarts=1" in job
    stopped_and_went_on(finished, "requeued")


def test_a_job_over_its_time_limit_is_sent_again_and_goes_on(finished):
    first, second = finished.jobs["over_time"]
    assert "JobState=TIMEOUT" in first and "JobState=COMPLETED" in second
    stopped_and_went_on(finished, "over_time")


@pytest.mark.parametrize(
    "asked",
    [
        pytest.param("TresPerJob=gres:gpu:1", id="a GPU, which this machine need not have"),
        pytest.param("TimeLimit=12:00:00", id="time"),
        pytest.param("MinMemoryNode=16000M", id="memory"),
        pytest.param("NumCPUs=1", id="cores"),
        pytest.param("Requeue=1", id="to be requeued"),
    ],
)
def test_a_job_asks_for_what_the_profile_says(finished, asked):
    assert asked in finished.jobs["requeued"][0].split()


def test_jobs_plan_nothing_and_write_no_inputs(finished):
    """The suite's file was edited while the first jobs ran; those after them read what was planned."""
    path = finished.folder / "results/tiny/config.yaml"
    assert (path.read_bytes(), path.stat().st_mtime_ns) == finished.planned
    assert "no_such_method" in (finished.folder / "tiny.yaml").read_text()
    assert b"no_such_method" not in finished.planned[0] and "no_such_method" not in finished.output
