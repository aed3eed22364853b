"""A folder of images to its tables in one workflow, fetch → prepare → train → table; what follows when it changes."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from own_images import pixels, saved, write_folder

ROOT = Path(__file__).parent.parent.parent


def run(folder, *words):
    """A command in the user's folder; its exit code and output."""
    programs = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {"PATH": programs, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def snakemake(folder, *words):
    command = [sys.executable, "-m", "snakemake", "--cores", "2", *words, "all", "--configfile", "suites/own.yaml"]
    return run(folder, *command, "--snakefile", str(ROOT / "Snakefile"))


def planned(folder):
    _, output = snakemake(folder, "-n", "--quiet")
    return {name: int(n) for name, n in re.findall(r"^(\w+) +(\d+)$", output, re.MULTILINE) if name != "total"}


@pytest.mark.long
def test_from_a_folder_to_the_tables(tmp_path):
    photos = write_folder(tmp_path / "photos", 12)
    suite = {
        "suite": "own",
        "device": "cpu",
        "seeds": 1,
        "reference": None,
        "benchmarks": {
            "mine": {"benchmark": "image_folder", "root": "photos", "size": 32},
            "few": {"benchmark": "image_folder", "root": "photos", "size": 32, "train": 12, "tasks": ["out_doors"]},
        },
        "training": {"epochs": 1, "batch_size": 12},
        "backbone": {"name": "test_resnet"},
        "shared_options": {"rank": 2, "where": r"layer4\..*conv\d"},
        "methods": {"shared": None, "mola_grad": {"benchmarks": ["mine"]}},
    }
    (tmp_path / "suites").mkdir()
    (tmp_path / "suites/own.yaml").write_text(yaml.safe_dump(suite, sort_keys=False))
    broken = photos / "indoors/cup/broken.jpg"
    broken.touch()
    code, output = snakemake(tmp_path)
    assert code != 0 and "indoors/cup/broken.jpg: an empty file" in output and "Traceback" not in output, output
    assert not list(tmp_path.glob("suites/*.json")) and not list(tmp_path.glob("data/image_folder-*/*.npy"))
    broken.unlink()

    code, output = snakemake(tmp_path)
    assert code == 0, output
    assert [path.name for path in (tmp_path / "suites").glob("*.json")] == ["own.mine.splits.json"]
    assert len(list(tmp_path.glob("data/image_folder-32-*/manifest.json"))) == 1, "both entries share their arrays"
    for label, row, tasks in (("mine", "mola_grad", ["indoors", "out_doors"]), ("few", "shared", ["out_doors"])):
        table = (tmp_path / f"results/own/tables/{label}.md").read_text()
        assert f"| {row}" in table, table
        record = json.loads((tmp_path / f"results/own/{label}/{row}/seed0/record.json").read_text())
        assert record["status"] == "done" and list(record["test"]) == tasks
        inputs = json.loads((tmp_path / f"results/own/{label}/{row}/inputs.json").read_text())
        assert inputs["fingerprint"] == {k: v for k, v in record["fingerprint"].items() if v is not None}
    assert list((tmp_path / "results/own/figures").glob("*.png")) and (tmp_path / "results/own/about.html").is_file()
    assert planned(tmp_path) == {}, "everything is done"
    code, output = run(tmp_path, "mola", "status", "-c", "suites/own.yaml")
    assert code == 0 and "3 done" in output, output

    saved(photos / "indoors/cup/new.png", pixels(77, 0))
    for code, output in (snakemake(tmp_path), run(tmp_path, "mola", "train", "-c", "suites/own.yaml")):
        assert code != 0 and "mola: photos: expected the images that the split manifest names, found 1 added" in output
    code, output = run(tmp_path, "mola", "prepare", "-c", "suites/own.yaml", "--renew-split")
    assert code == 0 and "few: prepared in" in output, output
    assert planned(tmp_path)["train"] == 2, "other splits, but not of the task that is as it was"
    code, output = snakemake(tmp_path)
    assert code == 0, output
    (tmp_path / "suites/own.mine.splits.json").unlink()
    assert planned(tmp_path)["prepare"] == 2
    code, output = snakemake(tmp_path)
    assert code == 0 and (tmp_path / "suites/own.mine.splits.json").is_file(), output
    code, output = run(tmp_path, "mola", "status", "-c", "suites/own.yaml")
    assert "3 done" in output, "the same images and rule: the same splits, and nothing to train"


def test_the_split_of_other_benchmarks_is_not_renewed(tmp_path):
    suite = {"suite": "x", "seeds": 1, "reference": None, "benchmarks": {"digits": None}, "methods": {"shared": None}}
    (tmp_path / "x.yaml").write_text(yaml.safe_dump({**suite, "data": str(tmp_path / "data")}))
    code, output = run(tmp_path, "mola", "prepare", "digits", "-c", "x.yaml", "--renew-split")
    assert code == 2 and output.startswith("mola: --renew-split: expected images of the user, found 'digits'")
