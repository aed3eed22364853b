"""Faults and their outcome, with a real disk, real processes and real files: one line, nothing torn, nothing lost.

Others stand beside what they are about: too little memory, an error in a method and damaged checkpoints in
``test_survival.py``, NaN in ``test_runs.py``, copied and edited records in ``tests/reporting/test_damaged_files.py``,
two Snakemakes and kills in ``tests/workflow/test_chaos.py``, prepared arrays in ``tests/data/prepare/test_store.py``,
downloads and archives in ``tests/data/fetch``.
"""

import os
import random
import signal
import subprocess
import sys
import time

import pytest
import torch

from mola import cli
from mola.config import load
from mola.experiment import record as records
from mola.experiment import row
from mola.experiment import run as runs
from mola.experiment.rerun import differences
from mola.experiment.spec import experiment
from mola.experiment.watch import pace
from mola.tuning import study
from mola.types import BadInput

TRAINING = {"epochs": 2, "passes": 2, "batch_size": 16, "lr": 0.002, "checkpoint": {"steps": 1}}


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def disk(tmp_path):
    """Mounts a small disk of its own: a function of its megabytes, which returns the folder."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = []

    def mount(megabytes):
        words = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
        try:
            done = subprocess.run(words, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            pytest.skip("no command mount here")
        if done.returncode:
            pytest.skip(f"mounting a small disk is not permitted here: {done.stderr.strip()}")
        mounted.append(folder)
        return folder

    yield mount
    for path in mounted:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


@pytest.fixture
def mola(monkeypatch, capsys):
    """The command line in this process: exit code, what it prints, and its line of error; ``err`` is all of stderr."""

    def call(*words):
        monkeypatch.setattr("sys.argv", ["mola", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            cli.main()
        text = capsys.readouterr()
        call.err = text.err
        return end.value.code, text.out, [line for line in text.err.splitlines() if line.startswith("mola: ")]

    return call


def fill(folder):
    """Leave no byte free; returns the file to remove."""
    path = folder / "ballast"
    with path.open("wb", buffering=0) as file:
        for size in (2**20, 4096, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                pass
    return path


def sizes(folder):
    return {path: path.stat().st_size for path in folder.rglob("*") if path.is_file() and path.name != "log.txt"}


def stop_at(number, do):
    def on_step(done, total):
        if done == number:
            do()

    return on_step


@pytest.fixture
def whole(suite_file, tmp_path):
    """The record of a run of ``shared`` that nothing disturbs."""
    suite = load(suite_file(results=str(tmp_path / "whole"), training=TRAINING))
    return runs.train(experiment(suite, "digits", "shared"), 0)


def test_a_disk_too_small_for_checkpoints_is_foreseen(suite_file, disk, mola):
    folder = disk(16)
    code, _, lines = mola("train", "-c", suite_file(results=str(folder / "results"), training=TRAINING))
    assert code == 2 and len(lines) == 1 and "MB free for checkpoints, found 16." in lines[0], lines
    assert not list(folder.iterdir())


def test_a_disk_that_fills_up_ends_the_run_with_a_line_and_nothing_is_torn(suite_file, disk, mola, whole):
    folder = disk(120)
    path = suite_file(results=str(folder / "results"), training=TRAINING)
    cut = experiment(load(path), "digits", "shared")
    with pytest.raises(BadInput, match=r"found a full disk; the same command goes on"):
        runs.train(cut, 0, stop_at(5, lambda: fill(folder)))
    assert not list(folder.rglob("*.tmp")) and not (cut.run_folder(0) / "record.json").exists()
    (folder / "ballast").unlink()
    done = runs.train(cut, 0)
    assert not differences(whole, done) and done.resumed == 1
    row.write_index(cut)
    for command in ("table", "figures", "about"):
        code, _, lines = mola(command, "-c", path)
        assert code == 0, lines
    before = sizes(folder)
    fill(folder)
    for command in ("table", "about"):
        code, _, lines = mola(command, "-c", path)
        assert code == 2 and len(lines) == 1 and "full disk" in lines[0], (command, lines)
    code, _, lines = mola("figures", "-c", path)
    assert code == 0 or "full disk" in "".join(lines), "it removes what it draws again"
    assert mola("status", "-c", path)[0] == 0
    (folder / "ballast").unlink()
    assert sizes(folder) == before


def test_a_folder_that_can_not_be_written_is_one_line(suite_file, disk, mola, whole):
    folder = disk(120)
    changes = {"results": str(folder / "results"), "training": TRAINING, "methods": {"shared": None, "mola_grad": None}}
    path = suite_file(**changes)
    cut = experiment(load(path), "digits", "shared")
    with pytest.raises(KeyboardInterrupt):
        runs.train(cut, 0, stop_at(5, lambda: (_ for _ in ()).throw(KeyboardInterrupt)))
    before = sizes(folder)
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    code, _, lines = mola("train", "-c", path, "-m", "shared")
    assert code == 2 and len(lines) == 1 and "expected a folder that can be written, found: read-only" in lines[0], (
        lines
    )
    code, out, _ = mola("status", "-c", path)
    assert code == 0 and "0 interrupted" in out, "to look is no writing"
    subprocess.run(["mount", "-o", "remount,rw", str(folder)], check=True)
    assert sizes(folder) == before
    assert mola("train", "-c", path, "-m", "shared")[0] == 0
    assert not differences(whole, records.read(cut.run_folder(0) / "record.json"))

    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    before = sizes(folder)
    for command in ("train", "table", "about"):
        code, _, lines = mola(command, "-c", path)
        assert code == 2 and len(lines) == 1 and "ead-only" in lines[0], (command, lines)
    code, _, lines = mola("train", "-c", path, "-m", "shared")
    assert code == 0, ("what is done needs no writing", lines)
    assert mola("status", "-c", path)[0] == 0 and sizes(folder) == before


def test_a_clock_that_was_moved_back_changes_no_bit(suite_file, mola, whole, monkeypatch):
    path = suite_file(training=TRAINING)
    cut = experiment(load(path), "digits", "shared")
    with pytest.raises(KeyboardInterrupt):
        runs.train(cut, 0, stop_at(11, lambda: (_ for _ in ()).throw(KeyboardInterrupt)))
    # what was written until now is of tomorrow
    tomorrow = time.time() + 86_400
    for file in cut.folder.rglob("*"):
        os.utime(file, (tomorrow, tomorrow))
    log = cut.run_folder(0) / "log.txt"
    log.write_text(log.read_text().replace(time.strftime("%Y-"), f"{time.localtime().tm_year + 1}-"))
    two = runs.train(cut, 0)
    assert not differences(whole, two) and two.resumed == 1
    row.write_index(cut)
    code, out, _ = mola("status", "-c", path)
    assert code == 0 and "1 done" in out
    assert runs.train(cut, 0) == two, "kept, though older files are newer"


def test_a_clock_moved_back_during_a_run_tells_no_negative_pace(tmp_path):
    lines = ["12:00:00,000 tmp on cpu", "12:00:10,000 epoch 1/9  loss 1", "11:00:00,000 epoch 2/9  loss 1"]
    (tmp_path / "log.txt").write_text("".join(f"2026-01-02 {line}\n" for line in lines))
    assert pace(tmp_path, 9).seconds is None


@pytest.mark.slow
def test_the_second_of_two_tuners_is_refused(suite_file):
    path = suite_file(training=TRAINING | {"epochs": 40}, tune={"grid": {"lr": [0.002, 0.008]}})
    command = [sys.executable, "-m", "mola.cli", "tune", "-c", str(path)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    folder = experiment(load(path), "digits", "shared").study_folder
    first = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        while not (folder / "checkpoint0.pt").is_file():
            assert first.poll() is None, first.stderr.read()
            time.sleep(0.02)
        first.send_signal(signal.SIGSTOP)
        before = sizes(folder)
        second = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert second.returncode == 2 and "another process is training this run" in second.stderr, second.stderr
        assert "Traceback" not in second.stderr and sizes(folder) == before
    finally:
        first.kill()
        first.wait()
        first.stderr.close()


FLIPPED = {
    "record.json", "runs.json", "inputs.json", "analysis.json", "tuned.json", "study.json",
    "history.csv", "importance.csv", "SHA256SUMS",
}  # fmt: skip


@pytest.mark.slow
def test_a_flipped_bit_in_any_kind_of_file_is_no_traceback_and_no_other_number(suite_file, mola):
    """Of what the next call reads: it is named, made again, or means nothing; then all is as it was."""
    path = suite_file(
        training=TRAINING | {"epochs": 1},
        tune={"grid": {"lr": [0.002]}},
        probes={"gradients": 1},
        methods={"mola_grad": None},
    )
    for command in ("tune", "train", "table"):
        assert mola(command, "-c", path)[0] == 0
    row = experiment(load(path), "digits", "mola_grad")
    kept = {file: file.read_bytes() for file in row.folder.rglob("*") if file.name in FLIPPED}
    assert {file.name for file in kept} == FLIPPED
    one, draw = records.read(row.run_folder(0) / "record.json"), random.Random(0)
    for file, content in kept.items():
        for place, bit in ((draw.randrange(len(content)), 7), (draw.randrange(len(content)), draw.randrange(7))):
            flipped = content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :]
            file.write_bytes(flipped)
            for command in ("status", "table", "figures", "about", "tune"):
                code, _, lines = mola(command, "-c", path)
                assert code in (0, 2) and len(lines) <= 1, (file, place, bit, command, lines)
                if command == "figures" and file.name in ("analysis.json", "history.csv", "importance.csv"):
                    assert f"{file}: left out of the figures, damaged: " in mola.err, (place, bit, mola.err)
            code, _, lines = mola("train", "-c", path)
            assert code == 0 or (code == 2 and len(lines) == 1), (file, place, bit, lines)
            if code == 0:
                two = records.read(row.run_folder(0) / "record.json")
                assert not differences(one, two), (file, place, bit)
            for other, whole_content in kept.items():
                other.write_bytes(whole_content)
    assert mola("status", "-c", path)[1].splitlines()[-1].startswith("1 done")


def test_a_flipped_bit_in_a_journal_is_no_traceback_and_no_other_choice(suite_file):
    path = suite_file(tune={"grid": {"lr": [0.002, 0.008]}}, training=TRAINING | {"epochs": 1, "passes": 1})
    row = experiment(load(path), "digits", "shared")
    one = study.tune(row)
    journal, draw, refused = row.study_folder / "journal.log", random.Random(0), 0
    content = journal.read_bytes()
    for _ in range(100):
        place = draw.randrange(len(content))
        journal.write_bytes(content[:place] + bytes([content[place] ^ 1 << draw.randrange(8)]) + content[place + 1 :])
        try:
            assert study.tune(row) == one
        except BadInput as error:
            refused += 1
            message = str(error)
            assert len(message.splitlines()) == 1 and (str(journal) in message or row.name in message)
    assert refused > 50


def test_a_journal_that_lost_or_won_lines_is_no_traceback_and_no_other_choice(suite_file):
    path = suite_file(tune={"grid": {"lr": [0.002, 0.008]}}, training=TRAINING | {"epochs": 1, "passes": 1})
    row = experiment(load(path), "digits", "shared")
    one = study.tune(row)
    journal = row.study_folder / "journal.log"
    lines = journal.read_text().splitlines(keepends=True)
    foreign = ["null\n", "[]\n", "1\n", '{"op_code": 99, "worker_id": "x"}\n', f"{'[' * 20_000}\n"]
    # without its last lines it is the journal of a study that was killed
    damaged = [lines[:at] + lines[at + 1 :] for at in range(len(lines) - 1)] + [[*lines, text] for text in foreign]
    for content in damaged:
        journal.write_text("".join(content))
        with pytest.raises(BadInput, match="expected Optuna's journal, found") as caught:
            study.tune(row)
        assert len(str(caught.value).splitlines()) == 1 and str(journal) in str(caught.value)
    journal.write_text("".join(lines))
    assert study.tune(row) == one


def test_what_a_killed_process_of_another_machine_left_is_removed(suite_file):
    """Whoever trains holds the folder, so that nobody else is writing there."""
    row = experiment(load(suite_file(training=TRAINING | {"epochs": 1})), "digits", "shared")
    folder = row.run_folder(0)
    folder.mkdir(parents=True)
    left = [folder / f"checkpoint.pt.{number}-abcdef.tmp" for number in (1, 4_194_305)]
    for path in left:
        path.write_bytes(b"half")
    (folder / "mine.tmp").write_bytes(b"no file of ours")
    runs.train(row, 0)
    assert not any(path.exists() for path in left) and (folder / "mine.tmp").exists()
