"""Runs trained once more: equal ones, tampered ones, others within bounds; and nothing of the results is touched."""

import json
import os
import subprocess
import sys

import pytest
import torch

from mola import portable
from mola.config import load
from mola.experiment import record as records
from mola.experiment import reproduce, run, spec
from mola.experiment.rerun import differences, other_surroundings
from mola.source import ROOT

needs_avx2 = pytest.mark.skipif(portable.unsupported() is not None, reason="portable kernels need x86-64 with AVX2")


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def experiment(suite_file):
    """A trained experiment of kernels that the processor chose."""
    experiment = spec.experiment(load(suite_file()), "digits", "shared")
    run.train(experiment, 0)
    return experiment


def mola(*words, **variables):
    command = [sys.executable, "-m", "mola.cli", *map(str, words)]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | variables, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done


def change(path, **changes):
    record = records.read(path)
    records.write(path, record.model_copy(update=changes))


def record_of(experiment):
    return experiment.run_folder(0) / "record.json"


def other_test(experiment, by):
    """The test scores of the record, the first task's accuracy larger by so much."""
    scores = json.loads(record_of(experiment).read_text())["test"]
    scores["mnist"]["accuracy"] += by
    return scores


def compared(experiment, tolerance=5.0):
    """The sample of the one run, and what comes of it."""
    (drawn,), total = reproduce.draw([experiment], 3, 0)
    assert total == 1
    ((line, agrees),) = reproduce.compare([drawn], tolerance)
    return drawn, line, agrees


@needs_avx2
@pytest.mark.long
def test_portable_runs_are_equal_and_tampered_ones_are_caught(suite_file, tmp_path):
    training = {"epochs": 2, "batch_size": 16, "lr": 0.002, "deterministic": "portable"}
    path = suite_file(training=training, methods={"shared": None, "mola_grad": None}, probes={"oracle_selection": True})
    assert mola("train", "-c", path).returncode == 0
    folder = tmp_path / "results"
    before = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in folder.rglob("*") if p.is_file()}
    # a shell with other kernels and threads changes nothing
    done = mola("reproduce", "-c", path, "--sample", 9, "--draw", 1, OMP_NUM_THREADS="2", MKL_CBWR="AUTO")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "2 of 2 finished runs, --draw 1"
    assert lines[1] == "2 runs: portable, with the versions and threads of here: every bit has to be equal"
    for label in ("shared", "mola_grad"):
        record = records.read(folder / f"tiny/digits/{label}/seed0/record.json")
        (line,) = [line for line in lines if line.startswith(f"digits/{label} seed 0: ")]
        assert f"equal (weights {record.weights_sha256[:8]}…, average " in line and line.endswith(" s)")
    assert {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in folder.rglob("*") if p.is_file()} == before

    suite = load(path)
    one, other = (spec.experiment(suite, "digits", label) for label in ("shared", "mola_grad"))
    change(record_of(one), test=other_test(one, 1e-9))
    change(record_of(other), weights_sha256="0" * 64)
    done = mola("reproduce", "-c", path, "--sample", 2)
    assert done.returncode == 1 and "mola: 2 of 2 runs differ from their records" in done.stderr
    assert "digits/shared seed 0: differs: test.mnist.accuracy" in done.stdout
    assert "digits/mola_grad seed 0: differs: weights 00000000…, here " in done.stdout


def test_the_same_process_gives_the_same_bits(experiment):
    drawn, line, agrees = compared(experiment)
    assert agrees and "digits/shared seed 0: equal (weights" in line
    assert not drawn.is_portable and drawn.surroundings == ()
    # where the system knows no name of the processor, a record has its architecture alone
    one_word = len(drawn.record.device.split()) == 2
    assert drawn.unknown == (("processor not recorded",) if one_word else ())


def test_other_scores_of_equal_weights_are_wrong_whatever_the_processor(experiment):
    change(record_of(experiment), test=other_test(experiment, 0.001))
    _, line, agrees = compared(experiment)
    assert not agrees and "differs: test" in line


@pytest.mark.parametrize("device", ["cpu: x86_64", "cpu: Intel64 Family 6 Model 158"])
def test_other_weights_of_equal_scores_are_wrong_where_the_processor_is_recorded(experiment, monkeypatch, device):
    """Another processor may have other weights, and of records that do not name it nobody can tell."""
    here = run.machine(torch.device("cpu")) | {"device": device}
    monkeypatch.setattr(reproduce, "machine", lambda _: here)
    change(record_of(experiment), weights_sha256="0" * 64, device=device)
    drawn, line, agrees = compared(experiment)
    assert drawn.surroundings == ()
    if drawn.unknown:
        assert drawn.may_differ == ("processor not recorded",)
        assert agrees and ": agrees within 5 points" in line
    else:
        assert not agrees and "differs: weights" in line
    assert bool(drawn.unknown) == (device == "cpu: x86_64")


def test_other_versions_compare_scores_within_the_tolerance(experiment):
    versions = records.read(record_of(experiment)).versions
    change(record_of(experiment), versions={**versions, "torch": f"{versions['torch']}.1"}, threads=7)
    drawn, line, agrees = compared(experiment)
    assert drawn.surroundings == ("threads 7, here 1", f"torch {versions['torch']}.1, here {versions['torch']}")
    assert agrees and ": equal (" in line
    change(record_of(experiment), test=other_test(experiment, 0.1), weights_sha256="0" * 64)
    _, line, agrees = compared(experiment)  # a task of four by 10 points
    assert agrees and ": agrees within 5 points (average " in line
    _, line, agrees = compared(experiment, tolerance=2.4)
    assert not agrees and "differs: test.mnist.accuracy" in line


def test_another_processor_is_said_and_compared_within_the_tolerance(suite_file, monkeypatch):
    """Portable records where there are no portable kernels."""
    native = spec.experiment(load(suite_file()), "digits", "shared")
    again = run.train(native, 0)
    training = {"epochs": 2, "batch_size": 16, "lr": 0.002, "deterministic": "portable"}
    experiment = spec.experiment(load(suite_file(training=training)), "digits", "shared")
    fingerprint = records.Fingerprint(**experiment.fingerprint)
    change(record_of(experiment), settings=spec.plain(experiment.settings), fingerprint=fingerprint)
    monkeypatch.setattr(portable, "unsupported", lambda: "aarch64")
    drawn, line, agrees = compared(experiment)
    assert drawn.is_portable and not drawn.exact
    assert drawn.surroundings == ("processor x86-64 with AVX2 and FMA, here aarch64",)
    assert agrees and f"equal (weights {again.weights_sha256[:8]}…" in line


def test_another_processor_excuses_no_difference_of_portable_runs(experiment):
    record = records.read(record_of(experiment))
    here = run.machine(torch.device("cpu"))
    other = record.model_copy(update={"device": "cpu: another processor"})
    (text,) = other_surroundings(other, here)
    assert text.startswith("device cpu: another processor, here cpu: ")
    settings = {**record.settings, "training": {**record.settings["training"], "deterministic": "portable"}}
    portable_run = other.model_copy(update={"settings": settings})
    assert other_surroundings(portable_run, here) == []
    (text,) = other_surroundings(portable_run.model_copy(update={"device": "cuda: a GPU"}), here)
    assert text.startswith("device cuda: a GPU, here cpu: ")
    (text,) = other_surroundings(portable_run.model_copy(update={"threads": 7}), here)
    assert text == "threads 7, here 1"


def test_a_draw_is_repeatable_and_takes_finished_runs_that_are_not_stale(suite_file):
    suite = load(suite_file(seeds=6, training={"epochs": 1, "batch_size": 16}))
    experiment = spec.experiment(suite, "digits", "shared")
    run.train(experiment, 0)
    content = records.read(record_of(experiment))
    for seed in range(1, 6):
        records.write(experiment.run_folder(seed) / "record.json", content.model_copy(update={"seed": seed}))
    change(experiment.run_folder(1) / "record.json", status="failed")
    change(experiment.run_folder(2) / "record.json", fingerprint=content.fingerprint.model_copy(update={"all": "x"}))

    def seeds(number, draw):
        runs, total = reproduce.draw([experiment], number, draw)
        assert total == 4
        return [one.record.seed for one in runs]

    assert seeds(2, 5) == seeds(2, 5)
    assert {tuple(seeds(2, draw)) for draw in range(40)} > {(0, 3), (5, 4)}
    assert sorted(seeds(9, 0)) == [0, 3, 4, 5]


def test_data_are_prepared_where_they_are_not(experiment, suite_file, tmp_path):
    elsewhere = spec.experiment(load(suite_file(data=str(tmp_path / "data"))), "digits", "shared")
    assert not (tmp_path / "data").exists()
    _, line, agrees = compared(elsewhere)
    assert agrees and ": equal (" in line


def test_differences_are_of_what_a_run_computes_and_of_nothing_else(experiment):
    record = records.read(record_of(experiment))
    curve = [epoch.model_copy(update={"train_seconds": 9.0}) for epoch in record.curve]
    timed = {"seconds": 9.0, "seconds_per_step": 9.0, "peak_memory_bytes": 9, "time": "", "commit": "x", "curve": curve}
    assert differences(record, record.model_copy(update=timed)) == []
    nan = {"mnist": {"accuracy": float("nan")}}
    assert differences(*[record.model_copy(update={"valid": nan})] * 2) == []
    for changes in ({"selected": {"model": 7}}, {"valid": nan}, {"curve": record.curve[:1]}, {"status": "failed"}):
        assert differences(record, record.model_copy(update=changes)), changes


def test_wrong_calls_get_one_line(suite_file):
    path = suite_file()
    for words, message in (
        ((), "expected --sample N or --certify, found neither"),
        (("--sample", 1, "--certify"), "expected --sample N or --certify, found both"),
        (("--certify", "--draw", 1), "--draw: expected --sample N with it, found --certify"),
        (("--sample", 0), "--sample"),
        (("--sample", 1), "expected finished runs of the suite as it is now, found none"),
    ):
        done = mola("reproduce", "-c", path, *words)
        assert done.returncode == 2 and message in done.stderr, done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
