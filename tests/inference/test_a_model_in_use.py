"""From a run to predictions for image files: the scores of the record come out again, whatever the method."""

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from cached_runs import section, write_weights
from own_images import write_folder
from PIL import Image

import mola
from mola.config import load
from mola.deployment.export import export
from mola.deployment.run import kept_run
from mola.experiment import record as records
from mola.experiment import run as runs
from mola.experiment.spec import experiment
from mola.inference.predict import predict
from mola.types import BadInput

ROOT = Path(__file__).parent.parent.parent
SMALL = {"router_width": 4, "router_pool": 2, "where": r"layer[2-4]\..*conv\d"}


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def trained(path, label, benchmark="digits"):
    """A run with kept weights: its experiment and its folder."""
    one = experiment(load(path), benchmark, label)
    assert runs.train(one, 0).status == "done"
    return one, one.run_folder(0)


def saved_images(one, folder):
    """Task → the files of its test images as the benchmark has them, and their labels."""
    files = {}
    for task in one.data.tasks:
        images, labels = (one.data.arrays[f"{task.name}.test.{kind}"] for kind in ("images", "labels"))
        paths = [folder / f"{task.name}.{row}.png" for row in range(one.data.sizes("test")[task.name])]
        for path, image in zip(paths, images, strict=False):
            Image.fromarray(image).save(path)
        files[task.name] = (paths, labels)
    return files


def accuracies(model, files):
    """Task → the accuracy of the predictions for its files."""
    return {task: accuracy(model, task, *pair) for task, pair in files.items()}


def accuracy(model, task, paths, labels):
    rows = list(predict(model, paths, task, pytest.fail))
    assert [row.path for row in rows] == [str(path) for path in paths]
    known = model.classes(task)
    return sum(row.prediction == known[label] for row, label in zip(rows, labels, strict=False)) / len(paths)


@pytest.mark.parametrize(
    ("label", "form", "needs_task"),
    [("mola_grad", "merged", True), ("mola_router", "whole", False), ("linear_probe", "merged", False)],
)
def test_predictions_have_the_scores_of_the_record(suite_file, tmp_path, label, form, needs_task):
    options = {"mola_grad": {"norm": "task"}}.get(label)
    path = suite_file(keep="best", methods={label: options}, shared_options=SMALL)
    one, folder = trained(path, label)
    expected = {task: scores["accuracy"] for task, scores in records.read(folder / "record.json").test.items()}
    files = saved_images(one, tmp_path)
    export(kept_run(folder), tmp_path / "model")
    assert json.loads((tmp_path / "model/config.json").read_text())["form"] == form
    for model in (mola.load_model(folder), mola.load_model(tmp_path / "model")):
        assert model.needs_task == needs_task and not model.training
        assert accuracies(model, files) == pytest.approx(expected)
        if needs_task:
            with pytest.raises(BadInput, match="task: expected one of mnist, optdigits, mnistm, printed"):
                model(torch.zeros(1, 3, 32, 32))
        else:
            answers = model(model.read(*files["mnist"][0][:3]))
            torch.testing.assert_close(answers["printed"], model(model.read(*files["mnist"][0][:3]), "printed"))


def test_frozen_stages_whose_features_were_kept_are_put_back(suite_file, tmp_path):
    backbone = section(write_weights(tmp_path / "weights.pth"), views=2)
    path = suite_file(keep="best", methods={"mola_router": None}, shared_options=SMALL, backbone=backbone)
    one, folder = trained(path, "mola_router")
    expected = {task: scores["accuracy"] for task, scores in records.read(folder / "record.json").test.items()}
    export(kept_run(folder), tmp_path / "model")
    # the exported model has them itself
    (tmp_path / "weights.pth").unlink()
    assert accuracies(mola.load_model(tmp_path / "model"), saved_images(one, tmp_path)) == pytest.approx(expected)


@pytest.mark.slow
def test_photographs_of_any_kind_are_read_as_in_evaluation(suite_file, tmp_path):
    """In a process of its own, with the names of the classes, from the files themselves."""
    benchmarks = {"mine": {"benchmark": "image_folder", "root": str(write_folder(tmp_path / "photos", 12)), "size": 32}}
    path = suite_file(
        keep="best", benchmarks=benchmarks, methods={"shared_lora": {"rank": 2}}, data=str(tmp_path / "data")
    )
    experiment(load(path), "mine", "shared_lora").data.prepare()
    one, folder = trained(path, "shared_lora", "mine")
    listed = one.data.manifest.files["out_doors"]["test"]
    files = [tmp_path / "photos" / name for name in listed]
    (tmp_path / "broken.png").write_bytes(b"no image")
    done = command("predict", folder, files[0], tmp_path / "broken.png", *files[1:], "--task", "out_doors")
    assert done.returncode == 0
    assert re.fullmatch(r"mola: left out: \S+broken.png: expected an image, found 8 bytes .*\n", done.stderr)
    rows = list(csv.DictReader(done.stdout.splitlines()))
    assert [row["path"] for row in rows] == [str(file) for file in files]
    right = sum(row["prediction"] == Path(row["path"]).parent.name for row in rows) / len(rows)
    assert right == pytest.approx(records.read(folder / "record.json").test["out_doors"]["accuracy"])
    # domains with the same classes: the heads answer together
    done = command("predict", folder, tmp_path / "photos", tmp_path / "broken.png", "-o", tmp_path / "all.csv")
    rows = list(csv.DictReader((tmp_path / "all.csv").read_text().splitlines()))
    assert len(rows) == 72 and {row["task"] for row in rows} == {""} and done.returncode == 0
    assert {row["prediction"] for row in rows} <= {"cup", "hat", "key"}
    done = command("predict", folder, tmp_path / "broken.png")
    assert done.returncode == 2 and "found none among 1 files" in done.stderr.splitlines()[-1]


def command(*words):
    done = subprocess.run(
        [sys.executable, "-m", "mola.cli", *map(str, words)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


def test_the_page_runs_and_a_damaged_file_is_named(suite_file, tmp_path, monkeypatch):
    backbone = {"name": "resnet10t", "options": {"channels": [16, 32, 64, 128], "stem_width": 16}}
    path = suite_file(keep="best", methods={"mola_grad": None}, shared_options=SMALL, backbone=backbone)
    _, folder = trained(path, "mola_grad")
    export(kept_run(folder), tmp_path / "exported/digits.mola_grad.seed0")
    with pytest.raises(BadInput, match="expected a new or empty folder"):
        export(kept_run(folder), tmp_path / "exported/digits.mola_grad.seed0")
    Image.new("RGB", (40, 50)).save(tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    scope = {}
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs/use-a-model.md").read_text(), re.DOTALL)
    for block in blocks:
        exec(block, scope)
    assert len(blocks) == 2 and torch.allclose(scope["scores"], scope["plain_scores"], atol=1e-5)
    with Path("exported/digits.mola_grad.seed0/printed.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x7f")
    with pytest.raises(BadInput, match=r"printed\.safetensors: expected weights with sha256"):
        mola.load_model("exported/digits.mola_grad.seed0")


def test_a_description_of_other_weights_is_one_line(suite_file, tmp_path):
    _, folder = trained(suite_file(keep="best", methods={"single_task": None}), "single_task")
    export(kept_run(folder), tmp_path / "model")
    path = tmp_path / "model/config.json"
    content = path.read_text()
    path.write_text(content.replace('"test_resnet"', '"test_vit"'))
    assert path.read_text() != content
    with pytest.raises(BadInput, match=r"config\.json: expected the description of these weights") as caught:
        mola.load_model(tmp_path / "model")
    assert "\n" not in str(caught.value)


def test_odd_names_and_empty_folders_are_left_out_in_a_line_each(suite_file, tmp_path):
    _, folder = trained(suite_file(keep="best", methods={"shared": None}), "shared")
    names = ["=1+1.png", "new\nline.png", "good.png"]
    for name in names:
        Image.new("RGB", (40, 50)).save(tmp_path / name)
    (tmp_path / names[1]).write_bytes(b"no image")
    (tmp_path / "empty").mkdir()
    files = [names[0], *(tmp_path / name for name in names[1:]), tmp_path / "empty", tmp_path / "nothing.png"]
    done = subprocess.run(
        [sys.executable, "-m", "mola.cli", "predict", folder, *map(str, files), "--task", "mnist"],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    lines = done.stderr.splitlines()
    assert done.returncode == 0 and len(lines) == 3 and all(line.startswith("mola: left out: ") for line in lines)
    assert [row["path"] for row in csv.DictReader(done.stdout.splitlines())] == ["'=1+1.png", str(tmp_path / names[2])]
