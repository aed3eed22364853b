"""What the workflow takes for trained: an index of now, whose runs are done, each with the record that it lists."""

import json
from collections.abc import Callable

import pytest
import yaml

from mola.config import load
from mola.experiment import plan, row
from mola.experiment.spec import experiment


def failed(folder):
    content = json.loads((folder / "runs.json").read_text())
    content["runs"]["0"]["status"] = "failed"
    (folder / "runs.json").write_text(json.dumps(content))


def edited(folder):
    path = folder / "seed0/record.json"
    path.write_text(path.read_text().replace("0.", "0.9", 1))


@pytest.mark.parametrize(
    "damage",
    [
        failed,
        edited,
        lambda folder: (folder / "seed0/record.json").unlink(),
        lambda folder: (folder / "runs.json").unlink(),
    ],
    ids=["failed", "edited", "no record", "no index"],
)
def test_a_row_is_trained_where_its_index_and_its_records_say_so(suite_file, damage: Callable):
    path = suite_file(training={"epochs": 1, "batch_size": 16})
    one = experiment(load(path), "digits", "shared")
    assert row.train_seeds(one, [0]) == [] and planned(path)
    damage(one.folder)
    assert not planned(path)


def planned(path):
    return plan.of(yaml.safe_load(path.read_text()), [path]).is_trained("digits", "shared")


@pytest.mark.parametrize("edit", [{"seeds": 0}, {"colour": "red"}, {"methods": {"no_such": None}}, {"training": 5}])
def test_a_job_reads_what_was_planned_whatever_the_file_says_by_now(suite_file, edit):
    path = suite_file()
    planned = plan.of(yaml.safe_load(path.read_text()), [path])
    planned.write()
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | edit))
    job = plan.of_job(yaml.safe_load(path.read_text()), [path])
    assert job.suite == planned.suite and job.path == planned.path


def test_a_job_of_a_module_finds_what_was_planned_under_its_prefix(suite_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = suite_file(results="results", data="data")

    def move(name):
        return f"inner/{name}"

    planned = plan.of(yaml.safe_load(path.read_text()), [path], move)
    planned.write()
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"seeds": 0}))
    job = plan.of_job(yaml.safe_load(path.read_text()), [path], move)
    assert job.suite == planned.suite
    # rules name them without the prefix
    assert (job.content["results"], job.content["data"]) == ("results", "data")
