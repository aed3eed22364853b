"""A suite that is followed while it runs: what the folders tell."""

from types import SimpleNamespace

from filelock import FileLock

from mola.config import load
from mola.experiment.spec import experiments
from mola.experiment.watch import Pace, Watch, pace, remaining
from mola.training.checkpoint import Position

START = "2026-01-01 10:00:00,000 {folder} on cpu\n2026-01-01 10:00:00,000 {{settings}}\n"
LINES = "2026-01-01 10:00:10,000 epoch 1/4  loss 1\n2026-01-01 10:00:14,500 epoch 2/4  loss 1\n"


def test_the_pace_of_a_run_is_that_of_the_process_that_works_on_it(tmp_path):
    log, start = tmp_path / "log.txt", START.format(folder=tmp_path)
    assert pace(tmp_path, 4) == Pace(0, 4, None), "no log yet"
    log.write_text(start + LINES)
    assert pace(tmp_path, 4) == Pace(2, 4, 4.5) and pace(tmp_path, 4).remaining == 0.5
    log.write_text(start + LINES + start)
    assert pace(tmp_path, 4) == Pace(0, 4, None), "it begins anew"
    for position in (Position(2), Position(2, 7)):
        log.write_text(start + LINES + start + f"2026-01-01 11:00:00,000 resumed {position.words()}\n")
        assert pace(tmp_path, 4) == Pace(2, 4, None)
    log.write_text("x" * 30_000 + "\n" + LINES)
    assert pace(tmp_path, 4) == Pace(2, 4, 4.5), "its beginning is far above"


def test_what_is_left_counts_the_epochs_that_are_to_do():
    done = ("done", SimpleNamespace(seconds=100.0))
    runs = {("digits", "shared"): [done, ("running", None), ("to do", None)], ("digits", "mmoe"): [("to do", None)]}
    assert remaining(runs, {("digits", "shared", 1): Pace(3, 4, None)}) == 25 + 100 + 100
    runs["digits", "shared"][0] = ("to do", None)
    assert remaining(runs, {("digits", "shared", 1): Pace(3, 4, None)}) is None, "nothing tells"
    assert remaining(runs, {("digits", "shared", 1): Pace(3, 4, 5.0)}) == 5 + 20 + 20 + 20


def test_the_line_names_what_runs_and_how_fast(suite_file):
    suite = load(suite_file(seeds=2, training={"epochs": 4, "batch_size": 16}))
    (one,) = experiments(suite)
    watch, folder = Watch([one]), one.run_folder(1)
    assert watch.line() == ("0 of 2 runs done, 2 to do", False)
    folder.mkdir(parents=True)
    with FileLock(folder / "lock"):
        (folder / "log.txt").write_text(START.format(folder=folder) + LINES)
        # 64 images an epoch; half of a run of 18 s, and a whole one
        expected = (
            "0 of 2 runs done, 1 to do, 1 running (digits/shared seed 1: epoch 2/4), 14 images/s, about 27 s left"
        )
        assert watch.line() == (expected, False)
