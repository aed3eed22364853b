"""A lock of a Snakemake that is gone is told apart from that of one at work."""

import shutil
import subprocess
from pathlib import Path

import pytest

from mola.experiment.workflow_lock import LIFT, stale
from mola.source import ROOT


@pytest.fixture
def locked(tmp_path):
    """A folder in which Snakemake holds a lock, or left one."""
    (tmp_path / "here/.snakemake/locks").mkdir(parents=True)
    (tmp_path / "here/.snakemake/locks/0.output.lock").write_text("results/tiny/runs.json\n")
    (tmp_path / "elsewhere").mkdir()
    return tmp_path / "here"


def at_work(folder):
    """A process that is called as Snakemake is, and waits."""
    process = subprocess.Popen(["snakemake", "60"], executable=shutil.which("sleep"), cwd=folder)
    # Popen returns before the kernel shows the new program's words
    while "snakemake" not in Path(f"/proc/{process.pid}/cmdline").read_text():
        assert process.poll() is None
    return process


def test_a_lock_that_nobody_holds_is_told_with_what_lifts_it(locked, monkeypatch):
    assert stale(locked).endswith("to lift it: snakemake --unlock")
    monkeypatch.chdir(locked)
    assert stale() == stale(locked)


def test_a_snakemake_elsewhere_does_not_hold_it(locked):
    with at_work(locked.parent / "elsewhere") as process:
        assert stale(locked)
        process.kill()


def test_one_at_work_holds_it(locked):
    with at_work(locked) as process:
        assert stale(locked) is None
        process.kill()
    assert stale(locked)


def test_without_a_lock_there_is_nothing_to_tell(locked):
    (locked / ".snakemake/locks/0.output.lock").unlink()
    assert stale(locked) is None and stale(locked.parent / "elsewhere") is None


def test_the_page_on_what_a_run_survives_has_the_command():
    assert f"`{LIFT}`" in (ROOT / "docs/survival.md").read_text()
