"""A list with a column of labels per task: what becomes of the labels, what is refused and how, and that it trains."""

import csv
import json
import os
import statistics
import subprocess
import sys

import numpy as np
import pytest
import torch
import yaml
from own_images import KINDS, labelled_rows, pixels, saved, write_list

from mola.benchmarks.image_labels import ImageLabels
from mola.types import BadInput, shown

SPLITS = ("train", "valid", "test")


def created(path, **options):
    standing = {"root": str(path), "manifest": str(path.parent / "x.splits.json"), "size": 16, "labels": KINDS}
    return ImageLabels.create(path.parent / "data", **{**standing, **options})


def prepared(path, **options):
    benchmark = created(path, **options)
    benchmark.fetch()
    benchmark.prepare()
    return benchmark


def refused(call, *args, **options):
    with pytest.raises(BadInput) as error:
        call(*args, **options)
    return shown(error.value)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_list(tmp_path_factory.mktemp("own") / "list.csv", labelled_rows(90))


@pytest.fixture
def path(images, tmp_path):
    """A list of its own, of the same images."""
    (tmp_path / "pictures").symlink_to(images.parent / "pictures")
    return write_list(tmp_path / "list.csv", labelled_rows(90))


def written(path):
    with path.open() as file:
        return {row["image"]: row for row in csv.DictReader(file)}


def test_targets_are_what_the_list_says(path):
    benchmark, rows = prepared(path), written(path)
    assert [(task.name, task.kind, task.outputs) for task in benchmark.tasks] == [
        ("species", "classes", 3), ("Age", "regression", 1), ("defects", "multilabel", 3),
    ]  # fmt: skip
    listed = []
    for split in SPLITS:
        (batch,) = benchmark.batches(split, size=90, seed=0, epoch=0) if split != "train" else [_all(benchmark)]
        files = benchmark.manifest.ids["all"][split]
        listed += files
        for row, file in enumerate(files):
            words = rows[file]
            assert int(batch.y["species"][row]) == ("xyz".index(words["species"]) if words["species"] else -1)
            age = float(batch.y["Age"][row])
            assert age == np.float32(words["age"]) if words["age"] else np.isnan(age)
            labels = [name in words["defects"] for name in ("dent", "hole", "scratch")]
            assert batch.y["defects"][row].tolist() == (labels if words["defects"] else [-1, -1, -1])
    assert sorted(listed) == sorted(rows)
    ages = [float(rows[file]["age"]) for file in benchmark.manifest.ids["all"]["train"] if rows[file]["age"]]
    age = benchmark.tasks[1]
    assert (age.mean, age.std) == pytest.approx((statistics.mean(ages), statistics.pstdev(ages)))
    few = created(path, train=9)
    first = [float(rows[file]["age"]) for file in few.manifest.ids["all"]["train"][:9] if rows[file]["age"]]
    assert few.tasks[1].mean == pytest.approx(statistics.mean(first)), "of those that are trained on"
    assert "data: species is not known of 18 of 90 images" in benchmark.remarks()


def _all(benchmark):
    return benchmark.batch("train", {"all": np.arange(benchmark.lengths("train")["all"])}, None)


def test_chosen_tasks_depend_on_their_labels_alone(path):
    some, whole = prepared(path, tasks=["Age"]), created(path)
    assert some.folder == whole.folder and whole.arrays
    before = some.splits_sha256, whole.splits_sha256
    rows = [*written(path).values()]
    rows[1]["species"] = "y" if rows[1]["species"] == "x" else "x"
    write_list(path, rows)
    text = refused(created(path).check_raw)
    assert "found 1 with other labels or another split; to divide them anew" in text
    manifest = json.loads((path.parent / "x.splits.json").read_text())
    files = next(each for each in manifest["files"].values() if rows[1]["image"] in each)
    files[rows[1]["image"]][0][0] = 2
    (path.parent / "x.splits.json").write_text(json.dumps(manifest))
    after = created(path, tasks=["Age"]).splits_sha256, created(path).splits_sha256
    assert before[0] == after[0] and before[1] != after[1]


def test_everything_that_is_wrong_is_said_at_once(path):
    rows = [*written(path).values()]
    copied = path.parent / "copy.png"
    copied.write_bytes((path.parent / "pictures/1.png").read_bytes())
    rows += [
        {**rows[1], "image": "gone.png"},
        {**rows[2]},
        {**rows[1], "image": "copy.png", "species": "z"},
        {**dict.fromkeys(rows[0], ""), "image": "pictures/7.gif"},
        *({**rows[1], "image": f"new{i}.png", "age": "12 years"} for i in range(12)),
        {**rows[1], "image": "new12.png", "age": "inf"},
        {**rows[1], "image": "new13.png", "defects": "none; dent"},
        {**rows[1], "image": "new14.png", "defects": "|"},
        {**rows[1], "image": "broken.png"},
        {**rows[1], "image": "rare.png", "species": "w"},
    ]
    for i in range(15):
        saved(path.parent / f"new{i}.png", pixels(300 + i, 0))
    for name in ("pictures/7.gif", "rare.png"):
        saved(path.parent / name, pixels(400 + len(name), 0))
    (path.parent / "broken.png").write_bytes(b"no image")
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0]])
        writer.writeheader()
        writer.writerows(rows)
    text = refused(created(path).fetch)
    for part in (
        "list.csv: found 9 things to put right; nothing was prepared\n",
        "  fields of Age that are no finite number: 13\n    line 96: new0.png: 12 years\n",
        "    … and 3 more\n",
        "  fields of defects without a label (none says so): 1\n    line 110: new14.png: |\n",
        "  fields of defects with labels and none: 1\n    line 109: new13.png: none; dent\n",
        "  rows without any label: 1\n    line 95: pictures/7.gif\n",
        "  files that are not there: 1\n    line 92: gone.png\n",
        "  images that are listed twice: 1\n    line 93: pictures/2.png, as in line 4\n",
        "  files that can't be read: 1\n    broken.png: 8 bytes that can't be read",
        "  copies of one image with two labels of a task: 1\n    species: copy.png, pictures/1.png\n",
        "  classes of fewer than 3 images or groups, one for each split: 1\n    species: w: 1 image",
    ):
        assert part in text, text
    assert not (path.parent / "x.splits.json").exists()
    (path.parent / "pictures/7.gif").unlink()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"train": "classes"}, "a column that is a task: expected letters, digits, _ and -, and no word of PyTorch's"),
        ({"group": "classes"}, "expected columns of labels, group is none"),
        ({"Age": "regression", "age ": "classes"}, "expected columns that differ"),
        ({"age": "number"}, "'classes', 'multilabel' or 'regression'"),
        ({"agee": "regression"}, "expected columns image, agee, found image, species, age, defects, label"),
        ({}, "image_labels.labels: expected columns of the list, each with its kind, found none"),
    ],
)
def test_columns_that_cannot_be_tasks(path, labels, message):
    with pytest.raises(ValueError, match=message):
        created(path, labels=labels)


@pytest.mark.long
def test_from_a_list_to_a_record_in_the_users_words(path):
    """Through the real commands: the kinds are recognised, labels are missing, features of a frozen stage are kept."""

    def mola(*words, code=0):
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, "-m", "mola.cli", *words],
            cwd=path.parent, capture_output=True, text=True, check=False, env=environment,
        )  # fmt: skip
        assert done.returncode == code and "Traceback" not in done.stderr, done.stderr
        return done.stdout + done.stderr

    output = mola("new", "suite", "own", "--from", "list.csv", "--no-estimate")
    assert "species: 3 classes" in output and "defects: 3 labels, any of them" in output and "age: a number" in output
    suite = yaml.safe_load((path.parent / "own.yaml").read_text())
    entry = suite["benchmarks"]["own"]
    assert entry["labels"].items() > {key.lower(): kind for key, kind in KINDS.items()}.items()
    tiny = {"name": "resnet10t", "options": {"channels": [16, 32, 64, 128], "stem_width": 16}, "weights": "tiny"}
    frozen = {"freeze_stages": 1, "cached_views": 2}
    suite |= {
        "device": "cpu", "seeds": 1, "reference": None, "answers": {}, "tune": None, "shared_options": {"rank": 2},
        "training": {"epochs": 1, "batch_size": 18}, "backbone": tiny,
        "benchmarks": {"own": {**entry, "size": 32}, "kept": {**entry, "size": 32, "backbone": frozen}},
        "methods": {"shared": None} | {m: {"where": r"layer[2-4]\..*conv\d"} for m in ("mola_router", "mola_grad")},
        "keep": "best",
    }  # fmt: skip
    (path.parent / "own.yaml").write_text(yaml.safe_dump(suite))
    mola("prepare", "-c", "own.yaml")
    assert "method mola_router: fine" in mola("check", "own.yaml"), "one image may lack a label, and the task learns"
    mola("train", "-c", "own.yaml", "-b", "own")
    mola("train", "-c", "own.yaml", "-b", "kept")
    mola("export", "results/own/own/mola_grad/seed0", "-o", "model")
    assert json.loads((path.parent / "model/config.json").read_text())["form"] == "merged", (
        "a plain network for each task"
    )
    for run in ("own/shared", "own/mola_router", "kept/shared", "kept/mola_router"):
        record = json.loads((path.parent / f"results/own/{run}/seed0/record.json").read_text())
        assert record["status"] == "done"
        scores = record["test"]
        assert {"accuracy", "mean_absolute_error", "mean_average_precision"} < {m for s in scores.values() for m in s}
        # in the unit of the list: ages are 20 to 41, and a guess of the mean errs by 8
        assert 1 < scores["age"]["mean_absolute_error"] < 40


def test_features_come_with_the_labels_of_their_images(path):
    from mola.training.cached import CachedFeatures, PrefixCosts

    benchmark = prepared(path)
    arrays = {
        f"all.{split}.features": np.arange(size, dtype=np.float32).reshape(-1, 1, 1, 1, 1)
        for split in SPLITS
        for size in [benchmark.lengths(split)["all"]]
    }
    cached = CachedFeatures(benchmark, arrays, [{}], "", PrefixCosts(0, 0))
    whole, number = _all(benchmark), 0
    for batch in cached.batches("train", size=16, seed=0, epoch=0, sampling="proportional"):
        rows = batch.x.flatten().long()
        number += len(rows)
        for name, target in batch.y.items():
            assert torch.allclose(target, whole.y[name][rows], rtol=0, atol=0, equal_nan=True)
    assert number > 30
