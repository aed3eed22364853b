"""What a run survives: stops at any step, kills, signals, damaged files, errors, a full disk, too little memory."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest
import torch
from filelock import FileLock

from mola import files
from mola.config import load
from mola.experiment import record as records
from mola.experiment import row
from mola.experiment import run as runs
from mola.experiment.rerun import differences
from mola.experiment.spec import experiment
from mola.experiment.status import look
from mola.methods.shared import Shared
from mola.training import fit
from mola.training.room import require_room
from mola.training.stopping import Stopped
from mola.types import BadInput

PROBED = {"oracle_selection": True, "gradients": 1, "routing": 4}
EVERY_STEP = {"epochs": 2, "passes": 2, "batch_size": 16, "lr": 0.002, "checkpoint": {"steps": 1}}
# row, balancer, sampling
ROWS = [
    ("mola_router", "sum", "balanced"),
    ("single_task", "uw", "proportional"),
    ("mola_grad", "dwa", "proportional"),
    ("shared", "famo", "balanced"),
    ("ltb", "gradnorm", "balanced"),
    ("dselect_k", {"name": "db_mtl", "beta": 0.5}, "balanced"),
]


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def stop_at(number):
    def stop(done, total):
        if done == number:
            raise KeyboardInterrupt

    return stop


@pytest.fixture
def whole(suite_file, tmp_path):
    """A run of ``shared`` that nothing disturbs, and a suite in which the same is to be disturbed."""
    suite = load(suite_file(results=str(tmp_path / "whole"), training=EVERY_STEP))
    undisturbed = runs.train(experiment(suite, "digits", "shared"), 0)
    return undisturbed, experiment(load(suite_file(training=EVERY_STEP)), "digits", "shared")


@pytest.mark.parametrize(
    ("row", "balancer", "sampling"),
    [pytest.param(*row, id=row[0], marks=[] if row in ROWS[:2] else pytest.mark.slow) for row in ROWS],
)
def test_stops_at_any_step_change_no_bit(suite_file, tmp_path, row, balancer, sampling):
    """Of 16 steps in two epochs of two passes; also before and after validation, and twice at the same place."""
    changes = {
        "benchmarks": {"digits": {"limit": 8}},
        "methods": {row: None},
        "balancer": balancer,
        "probes": PROBED,
        "training": EVERY_STEP | {"batch_size": 8, "sampling": sampling},
    }
    suite = load(suite_file(results=str(tmp_path / "whole"), **changes))
    one = runs.train(experiment(suite, "digits", row), 0)
    cut = experiment(load(suite_file(**changes)), "digits", row)
    stops = (1, 5, 8, 9, 9, 16)
    for number in stops:
        with pytest.raises(KeyboardInterrupt):
            runs.train(cut, 0, stop_at(number))
        torch.rand(5)  # whatever the new process drew before
    two = runs.train(cut, 0)
    assert not differences(one, two)
    assert [epoch.steps for epoch in two.curve] == [8, 8]
    assert two.resumed == len(stops) and one.resumed == 0
    analyses = [path / "analysis.json" for path in (suite.folder / "digits" / row / "seed0", cut.run_folder(0))]
    if row != "single_task":
        assert json.loads(analyses[0].read_text()) == json.loads(analyses[1].read_text())
    assert not list(cut.run_folder(0).glob("checkpoint*"))


def test_where_checkpoints_are_written_is_no_part_of_a_run(suite_file):
    training = {"epochs": 2, "batch_size": 16, "lr": 0.002}
    often = training | {"checkpoint": {"steps": 1}, "retries": 5}
    one, two = (experiment(load(suite_file(training=t)), "digits", "shared") for t in (training, often))
    assert one.fingerprint == two.fingerprint
    record = runs.train(two, 0)
    assert not {"checkpoint", "retries"} & record.settings["training"].keys()
    with pytest.raises(BadInput, match=r"training\.checkpoint: .*at least 1 item"):
        load(suite_file(training=training | {"checkpoint": {}}))


@pytest.mark.long
def test_kill_term_and_int_then_the_same_command_goes_on(suite_file, tmp_path):
    changes = {"training": {"epochs": 24, "batch_size": 16, "lr": 0.002, "checkpoint": {"epochs": 1}}}
    one = runs.train(experiment(load(suite_file(results=str(tmp_path / "whole"), **changes)), "digits", "shared"), 0)
    path = suite_file(**changes)
    cut = experiment(load(path), "digits", "shared")
    command = [sys.executable, "-m", "mola.cli", "train", "-c", str(path), "-m", "shared", "-s", "0"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}

    def hear():
        # a test run in the background of a shell ignores it, and so would its processes
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    for number, code in ((signal.SIGKILL, -9), (signal.SIGTERM, 143), (signal.SIGINT, 130)):
        process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, preexec_fn=hear)
        epochs = 0
        for line in process.stderr:
            epochs += "  valid: " in line
            if epochs == 3:
                break
        if number == signal.SIGKILL:
            # the first waits in the middle of its run, which a second must not touch
            process.send_signal(signal.SIGSTOP)
            second = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            assert second.returncode == 2 and "another process is training this run" in second.stderr, second.stderr
        process.send_signal(number)
        rest = process.stderr.read()
        assert process.wait() == code, rest
        if code > 0:
            assert f"mola: stopped by {signal.Signals(number).name} after epoch " in rest, rest
            assert f"{cut.run_folder(0) / 'checkpoint.pt'} has its state; the same command goes on" in rest
        assert look(cut, 0)[0] == "interrupted"
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "resumed after epoch" in done.stderr, done.stderr
    two = records.read(cut.run_folder(0) / "record.json")
    assert not differences(one, two) and two.resumed == 3
    assert not list(cut.run_folder(0).glob("*.tmp"))


@pytest.mark.parametrize("damaged", [("checkpoint.pt",), ("checkpoint.pt", "checkpoint.old.pt")])
@pytest.mark.parametrize("how", ["a bit", "the end"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_taken(whole, damaged, how):
    one, cut = whole
    with pytest.raises(KeyboardInterrupt):
        runs.train(cut, 0, stop_at(11))
    for name in damaged:
        content = bytearray((path := cut.run_folder(0) / name).read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content[:-100] if how == "the end" else content)
    two = runs.train(cut, 0)
    assert not differences(one, two)
    text = (cut.run_folder(0) / "log.txt").read_text()
    assert all(f"{name} is damaged" in text for name in damaged)
    assert ("resumed after epoch 1, step 1" in text) == (len(damaged) == 1)


def test_a_failed_run_keeps_checkpoint_and_curve_and_goes_on(whole, monkeypatch, caplog):
    one, cut = whole
    real, calls = Shared.forward, []

    def forward(self, batch):
        # of training: other batches have other sizes
        calls.append(self.training and len(batch.x) == 16)
        if calls[-1] and sum(calls) == 11:
            raise RuntimeError("the cable is out\nand more")
        return real(self, batch)

    monkeypatch.setattr(Shared, "forward", forward)
    failed = runs.train(cut, 0)
    assert (failed.status, failed.reason) == ("failed", "RuntimeError: the cable is out")
    assert (failed.failure.phase, failed.failure.epoch, failed.failure.step) == ("training", 2, 3)
    assert "the cable is out" in failed.failure.lines[-1] and failed.failure.log.endswith("seed0/log.txt")
    assert [epoch.epoch for epoch in failed.curve] == [1]
    assert failed.failure.log in caplog.text and (cut.run_folder(0) / "checkpoint.pt").is_file()
    row.write_index(cut)
    assert not (cut.folder / "runs.json").exists()
    # the next call goes on, and tries once more by itself
    calls[:] = [True] * 10
    assert row.train_seeds(cut, [0]) == []
    done = records.read(cut.run_folder(0) / "record.json")
    assert not differences(one, done) and done.resumed == 2
    assert (cut.folder / "runs.json").is_file()


@pytest.mark.parametrize("what", ["checkpoint.pt", "record.json"])
def test_a_full_disk_is_one_line_and_no_failure_of_the_run(whole, monkeypatch, what):
    one, cut = whole
    real, written = files.write, []

    def write(path, save, old=None):
        written.append(path.name == what)
        if path.name == what and sum(written) in (1 if what == "record.json" else 7,):
            save(path.with_name(f"{path.name}.{os.getpid()}-{files.HOST}.tmp"))
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(path, save, old)

    monkeypatch.setattr(files, "write", write)
    with pytest.raises(
        BadInput, match=r"seed0: expected to write what a run leaves, found a full disk; the same command"
    ):
        runs.train(cut, 0)
    assert not (cut.run_folder(0) / "record.json").exists()
    (dead := cut.run_folder(0) / "checkpoint.pt.4194305.tmp").touch()
    two = runs.train(cut, 0)
    assert not differences(one, two) and two.resumed == 1 and not dead.exists()


def test_a_look_at_a_run_does_not_refuse_its_trainer(suite_file, tmp_path):
    """mola status holds the lock for an instant."""
    folder = tmp_path / "seed0"
    with runs.writing(folder):
        pass
    looking, looked = threading.Event(), threading.Event()

    def look_at_it():
        with FileLock(folder / "lock"):
            looking.set()
            time.sleep(0.2)
        looked.set()

    thread = threading.Thread(target=look_at_it)
    thread.start()
    assert looking.wait(10)
    with runs.writing(folder):
        assert looked.wait(10)
    thread.join()


def test_a_checkpoint_that_is_renamed_meanwhile_takes_no_room(tmp_path):
    method = torch.nn.Linear(2, 2)
    require_room(tmp_path, method, [tmp_path / "checkpoint.pt"])


def test_too_little_room_is_foreseen(whole, monkeypatch):
    _, cut = whole
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=10**6))
    with pytest.raises(BadInput, match=r"expected [\d.]+ MB free for checkpoints, found 1\.0 MB"):
        runs.train(cut, 0)
    assert not cut.folder.exists()


def test_too_little_memory_computes_batches_in_parts(whole, monkeypatch):
    one, cut = whole
    real, sizes = Shared.forward, []

    def forward(self, batch):
        sizes.append(len(batch.x))
        if self.training and len(batch.x) > 5 and len(sizes) > 5:
            raise torch.OutOfMemoryError("out of memory")
        return real(self, batch)

    monkeypatch.setattr(Shared, "forward", forward)
    record = runs.train(cut, 0)
    assert record.status == "done" and record.batch_parts == 4 and max(sizes[-20:]) <= 16
    assert [epoch.steps for epoch in record.curve] == [epoch.steps for epoch in one.curve]
    assert record.resumed == 0


def test_a_balancer_that_sees_whole_batches_fails_and_says_what_helps(suite_file, monkeypatch):
    def forward(self, batch):
        raise torch.OutOfMemoryError("out of memory")

    suite = load(suite_file(balancer="pcgrad", training=EVERY_STEP | {"retries": 0}))
    monkeypatch.setattr("mola.training.step.TrainingStep.__call__", forward)
    record = runs.train(experiment(suite, "digits", "shared"), 0)
    assert record.failure.kind == "out of memory" and record.reason.endswith("lower training.batch_size")


@pytest.mark.parametrize("place", ["build", "probes", "costs"])
def test_an_error_before_the_first_step_is_a_failed_run_that_the_next_call_tries_again(whole, monkeypatch, place):
    one, cut = whole

    def broken(*arguments, **options):
        raise ZeroDivisionError(f"of {place}")

    with monkeypatch.context() as patch:
        patch.setattr(runs, place, broken)
        assert row.train_seeds(cut, [0]) == [0]
    record = records.read(cut.run_folder(0) / "record.json")
    assert (record.status, record.reason) == ("failed", f"ZeroDivisionError: of {place}")
    assert (record.failure.kind, record.failure.phase, record.failure.step) == ("error", "start", 0)
    assert record.failure.lines[-1].startswith("test_survival.py:") and not record.curve
    assert look(cut, 0).state == "failed"
    assert "Traceback" in (cut.run_folder(0) / "log.txt").read_text()
    assert not differences(one, runs.train(cut, 0))


def test_wrong_data_are_still_refused_before_anything_is_written(whole, monkeypatch):
    _, cut = whole

    def refuse(*arguments):
        raise BadInput("backbone: expected another one")

    monkeypatch.setattr(runs, "costs", refuse)
    with pytest.raises(BadInput, match="backbone: expected another one"):
        runs.train(cut, 0)
    assert not cut.folder.exists()


@pytest.mark.parametrize("place", ["test", "selection"])
def test_a_signal_after_the_last_step_is_heard_and_the_run_goes_on_from_there(whole, monkeypatch, place):
    one, cut = whole
    real = fit._Run.at

    def at(self, phase, epoch, step):
        real(self, phase, epoch, step)
        if phase == place:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(fit._Run, "at", at)
        with pytest.raises(Stopped, match=r"stopped by SIGTERM after epoch 2; .*checkpoint.pt has its state"):
            runs.train(cut, 0)
    assert not (cut.run_folder(0) / "record.json").exists()
    two = runs.train(cut, 0)
    assert not differences(one, two) and two.resumed == 1


def test_a_signal_before_memory_runs_out_ends_the_run_as_well(whole, monkeypatch):
    one, cut = whole
    real, calls = Shared.forward, []

    def forward(self, batch):
        calls.append(len(batch.x))
        if len(calls) == 9:
            os.kill(os.getpid(), signal.SIGTERM)
            raise torch.OutOfMemoryError("out of memory")
        return real(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Shared, "forward", forward)
        with pytest.raises(Stopped, match=r"stopped by SIGTERM out of memory; .*checkpoint.pt has an earlier state"):
            runs.train(cut, 0)
    two = runs.train(cut, 0)
    assert not differences(one, two) and (two.resumed, two.batch_parts) == (1, 1)
