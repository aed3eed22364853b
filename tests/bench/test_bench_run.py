"""``mola bench run``: the phases of a whole run; no times are asserted."""

import json

import pytest

from mola.bench.page import page
from mola.bench.phases import PHASES, Clock
from mola.bench.run import overhead_share


def test_the_shares_of_a_run_and_their_json(tmp_path, bench, capsys, suite_file):
    path, config = tmp_path / "run.json", suite_file(seeds=[3, 5], probes={"routing": 4})
    bench("run", "-c", str(config), "-b", "digits", "-m", "shared", "--json", str(path))
    run = json.loads(path.read_text())["run"]
    assert list(run["shares"]) == ["start-up", *PHASES, "the rest"] == list(run["wall"])
    for shares in (run["shares"], run["wall"]):
        assert sum(shares.values()) == pytest.approx(1)
    # those of any length
    assert all(run["shares"][phase] > 0 for phase in ("start-up", "steps", "evaluation"))
    overhead = sum(run["shares"][phase] for phase in ("start-up", "evaluation", "checkpoints", "records"))
    assert run["together"] == pytest.approx(overhead) and run["in_suite"] < run["together"]
    lines = capsys.readouterr().out.strip().splitlines()
    verdict = "met" if overhead <= 0.15 else "MISSED"
    assert lines[-2] == f"start-up, evaluation, checkpoints, records together: {overhead:.1%}, threshold 15% {verdict}"
    assert "2 seeds in one process, computed" in lines[-1]
    assert f"- {lines[-2]}" in page([path]).splitlines()
    # the run left nothing where the suite's own are
    assert not (tmp_path / "results").exists()


def test_seconds_of_a_phase_within_another_count_once(monkeypatch):
    moments = iter(range(100))
    monkeypatch.setattr("mola.bench.phases._now", lambda: (float(next(moments)), 0.0))
    clock = Clock()
    save = clock.wrap("checkpoints", lambda: None)
    # before the first step: part of start-up
    save()
    clock.wrap("steps", save)()
    assert clock.first_step == (3.0, 0.0)
    # a second before the checkpoint, and one after it
    assert clock.seconds["steps"][0] == 2.0 and clock.seconds["checkpoints"][0] == 1.0


def test_start_up_is_shared_by_the_seeds_of_a_process():
    seconds = {"start-up": 10.0, "steps": 7.0, "evaluation": 2.0, "checkpoints": 1.0, "records": 0.0, "the rest": 0.0}
    assert overhead_share(seconds, 1) == pytest.approx(13 / 20)
    assert overhead_share(seconds, 10) == pytest.approx(40 / 110)


def test_a_run_that_fails_is_one_line(bench, capsys, suite_file):
    """The process's last line, whatever it was."""
    bench("run", "-c", str(suite_file(training={"epochs": 1, "batch_size": 16, "lr": 1e30})), code=2)
    assert "digits/shared: expected a run that ends well, found: " in capsys.readouterr().err
