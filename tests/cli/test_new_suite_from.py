"""From a folder of images to a suite that answers, with an estimate of its time that was measured."""

import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import yaml
from own_images import labelled_rows, write_folder, write_list

from mola.cli import new
from mola.cli.own_images import LITE0, RESNET, TINY, Choice, configuration, look
from mola.config import parse
from mola.experiment import estimate
from mola.experiment.estimate import Pace, together
from mola.plain import check
from mola.source import ROOT
from mola.types import BadInput


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("own") / "photos", number=12)


def mola(*words, cwd):
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "mola.cli", *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, env=environment)


@pytest.mark.parametrize("backbone", [TINY, LITE0, RESNET], ids=["tiny", "lite0", "resnet"])
def test_what_is_written_is_a_suite(photos, backbone, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = configuration("shop", look(photos), Choice(backbone, 32, (0.0001, 0.0002, 0.00005)))
    content = yaml.safe_load(text)
    check(content)
    suite = parse(content, "shop.yaml", tmp_path / "shop.yaml")
    assert [*suite.answers] == ["pool them", "keep them apart", "mixtures of adapters"]
    assert all(suite.rows("shop") == [*suite.methods] for _ in suite.benchmarks) and len(suite.methods) == 6
    assert len(suite.tune.grid_values["lr"]) == 3 and len(suite.seeds) == 5
    assert suite.training.epochs * suite.training.passes * 2 >= 150, "two batches hold the training images"
    counts = re.search(r"# indoors: 3 classes; train (\d+), valid (\d+), test (\d+)", text)
    assert sum(map(int, counts.groups())) == 36
    assert not re.search(r"\b(NAME|FOUND|COMPUTING|ENTRY|SIZE|EPOCHS|PASSES|BATCH|LR_LOW|BACKBONE)\b", text)


@pytest.mark.parametrize("backbone", [TINY, LITE0, RESNET], ids=["tiny", "lite0", "resnet"])
def test_a_list_with_columns_of_labels_is_a_suite(backbone, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [{**row, "note: SIZE": f"text {i}", "on": str(i % 2)} for i, row in enumerate(labelled_rows(60))]
    images = look(write_list(tmp_path / "SIZE's list.csv", rows))
    text = configuration("trees", images, Choice(backbone, 32, (0.0001, 0.0002, 0.00005)))
    suite = parse(yaml.safe_load(text), "trees.yaml", tmp_path / "trees.yaml")
    entry = suite.benchmarks["trees"].options
    kinds = {"species": "classes", "age": "regression", "defects": "multilabel", "label": "classes", "on": "classes"}
    assert entry["labels"] == kinds and entry["size"] == 32 and Path(entry["root"]).name == "SIZE's list.csv"
    assert "      # note: size: no task; 60 different texts (text 0, " in text
    assert {row for rows in suite.answers.values() for row in rows} == {*suite.methods}
    assert "mola_router" in suite.methods
    assert not re.search(r"\b(NAME|FOUND|COMPUTING|ENTRY|EPOCHS|BATCH|BACKBONE|MIXTURES|ROUTER_ROW)\b", text)


def test_a_list_without_a_column_that_looks_like_labels(tmp_path):
    path = write_list(tmp_path / "x.csv", [{"image": f"{i}.png", "label": f"text {i}"} for i in range(9)])
    with pytest.raises(BadInput, match="or columns of labels, found none that looks like one"):
        look(path)


def test_names_that_look_like_marks_stay(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    photos = write_folder(tmp_path / "SIZE NAME BATCH's", number=6, domains=("EPOCHS", "NAME"))
    text = configuration("shop", look(photos), Choice(TINY, 32, (0.002, 0.004, 0.008)))
    assert yaml.safe_load(text)["benchmarks"]["shop"]["root"] == str(photos)
    assert "# EPOCHS: 3 classes" in text and "# NAME: 3 classes" in text


def test_the_command_looks_splits_and_writes(photos):
    folder = photos.parent
    done = mola("new", "suite", "shop", "--from", "photos", "--no-estimate", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "indoors: 3 classes; train " in done.stdout
    next_steps = [line.split("   #")[0].strip() for line in done.stdout.splitlines()[-5:]]
    assert next_steps == [
        "next, in this order:",
        "mola prepare -c shop.yaml",
        "mola estimate -c shop.yaml",
        f"snakemake --snakefile {ROOT}/Snakefile --cores all all --configfile shop.yaml",
        "mola report -c shop.yaml",
    ]
    again = mola("new", "suite", "shop", "--from", "photos", cwd=folder)
    assert again.returncode == 2 and "shop.yaml: expected a new file, found one" in again.stderr
    (photos / "indoors/cup/broken.png").write_bytes(b"no image")
    done = mola("new", "suite", "other", "--from", "photos", cwd=folder)
    (photos / "indoors/cup/broken.png").unlink()
    assert done.returncode == 2 and "indoors/cup/broken.png" in done.stderr and "Traceback" not in done.stderr
    assert not (folder / "other.yaml").exists()
    done = mola("new", "suite", "other", "--from", "nowhere", cwd=folder)
    assert done.returncode == 2 and "--from nowhere: expected a folder" in done.stderr


def test_whoever_stops_the_estimate_has_the_suite_and_what_comes_next(photos, monkeypatch, capsys, tmp_path):
    def stopped(*words):
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(import_module("mola.cli.estimate"), "estimate", stopped)
    monkeypatch.setattr(import_module("mola.cli.data"), "prepare", lambda *words: None)
    with pytest.raises(KeyboardInterrupt):
        new.suite("shop", photos)
    assert (tmp_path / "shop.yaml").is_file()
    assert "\n  mola estimate -c shop.yaml   #" in capsys.readouterr().out


def test_a_pace_is_measured_for_every_row(suite_file):
    done = mola("estimate", "-c", str(suite_file(methods={"shared": None, "mola_grad": None})), "-j", "1", cwd=".")
    assert done.returncode == 0, done.stderr
    shared, grad, total = done.stdout.splitlines()
    assert re.fullmatch(r"digits/shared: \d+ (s|min) a run", shared) and grad.startswith("digits/mola_grad: ")
    assert re.fullmatch(r"2 rows, 1 at a time: about \d+ (s|min)", total)


def test_what_is_not_prepared_is_one_line(suite_file, tmp_path):
    done = mola("estimate", "-c", str(suite_file(data=str(tmp_path / "none"))), cwd=".")
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "prepare" in done.stderr


def test_totals():
    paces = [Pace(start=2, run=10, trials=0), Pace(start=2, run=20, trials=30)]
    # 2 + 3 · 10 = 32; 2 + 3 · 20 + 2 + 30 = 94
    assert [pace.total(3) for pace in paces] == [32, 94]
    assert together(paces, 3, 1) == 126
    assert together(paces, 3, 2) == 94, "the longest row"
    assert together([paces[0]] * 4, 3, 2) == 64


def test_a_run_is_steps_and_scored_images():
    class Data:
        heterogeneity = "domain"

        def steps(self, size, sampling):
            return 5

        def group_sizes(self, split):
            return {"a": {"valid": 10, "test": 30}[split], "b": 10}

    class Training:
        epochs, passes, batch_size, sampling = 4, 2, 16, "balanced"

    # 4 · 2 · 5 steps of 1 s; (4 + 1) · 20 images of valid and 40 of test at 0.1 s
    assert estimate._run(Data(), Training(), 1.0, 0.1, test=True) == 40 + 10 + 4
    assert estimate._run(Data(), Training(), 1.0, 0.1, test=False) == 40 + 10


def test_images_that_cannot_be_used_are_named(tmp_path):
    with pytest.raises(BadInput, match="expected a folder <domain>/<class>/<image>, or a CSV list"):
        look(tmp_path / "nothing")
