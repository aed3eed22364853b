"""A suite that tunes, through Snakemake for real: tune → train → table, and what runs again after which change."""

import json
import shutil
import subprocess
import sys

import pytest
from running import PAGES, environment, planned, snakemake, write_suite

from mola.files import with_checksum

METHODS = {"shared": None, "weighted": {"method": "shared", "balancer": "static"}}


def read(repository, label, name, suite="tuned"):
    return json.loads((repository / "results" / suite / "digits" / label / name).read_text())


@pytest.mark.long
def test_tune_train_table_and_nothing_in_vain(repository, tmp_path):
    tune = {"trials": 2, "space": {"weight_decay": None}}
    write_suite(repository, suite="tuned", methods=METHODS, tune=tune)
    assert planned(repository).items() >= {"tune": 2, "train": 2, **PAGES}.items()
    snakemake(repository)
    for label in METHODS:
        result, record = read(repository, label, "optuna/tuned.json"), read(repository, label, "seed0/record.json")
        assert result["finished"] == 2 and record["status"] == "done"
        assert record["settings"]["training"]["lr"] == result["parameters"]["training"]["lr"]
    assert "| weighted (draft) |" in (repository / "results/tuned/tables/digits.md").read_text()
    assert planned(repository) == {}, "everything is done"

    clone = tmp_path / "clone"
    ignored = shutil.ignore_patterns(".snakemake", "logs", "*.prepared", "*.fetched")
    shutil.copytree(repository, clone, ignore=ignored)
    for path in sorted(p for p in clone.rglob("*") if p.is_file()):
        path.touch()  # as git writes them: new, one after the other, in the order of their names
    assert not {"tune", "train"} & set(planned(clone)), "a clone with committed results computes nothing"

    path = repository / "results/tuned/digits/shared/optuna/tuned.json"
    kept = path.read_text()
    edited = kept.replace('"lr": ', '"lr": 1')
    path.write_text(edited)
    assert planned(repository) == {"tune": 1, "train": 1, **PAGES, "all": 1}, "an edited result is found again"
    path.write_text(json.dumps(with_checksum(json.loads(edited))))
    assert planned(repository) == {"train": 1, **PAGES, "all": 1}, "other parameters train their row again"
    path.write_text(kept)

    write_suite(repository, suite="tuned", methods=METHODS, tune={**tune, "trials": 3})
    assert planned(repository) == {"tune": 2, "train": 2, **PAGES, "all": 1}

    write_suite(repository, suite="tuned", methods=METHODS, tune={**tune, "seeds": 2})
    code, output = snakemake(repository, check=False)
    assert code != 0 and "found changed: tune.seeds: 1 → 2; mola tune --restart" in output
    assert "Traceback" not in output
    command = [sys.executable, "-m", "mola.cli", "tune", "-c", "tiny.yaml", "--restart"]
    subprocess.run(command, cwd=repository, env=environment(repository), check=True)
    assert planned(repository) == {"train": 2, **PAGES, "all": 1}, "tuned by hand: the workflow need not again"


@pytest.mark.long
def test_a_grid_from_the_configuration_to_the_table(repository):
    """A rate for each task's model, one for the shared model, and both in the table; nothing is left to do."""
    methods = {"single_task": None, "shared": None}
    write_suite(repository, suite="grid", methods=methods, tune={"grid": {"lr": [0.001, 0.004]}})
    assert planned(repository).items() >= {"tune": 2, "train": 2, **PAGES}.items()
    snakemake(repository)
    for label in methods:
        result, record = (read(repository, label, name, "grid") for name in ("optuna/tuned.json", "seed0/record.json"))
        assert result["finished"] == 2 and record["status"] == "done"
        assert record["settings"]["training"]["lr"] == result["parameters"]["training"]["lr"]
    assert set(read(repository, "single_task", "optuna/tuned.json", "grid")["parts"]) == {
        "mnist", "optdigits", "mnistm", "printed",
    }  # fmt: skip
    table = (repository / "results/grid/tables/digits.md").read_text()
    assert "| lr |" in table and "learning rate of every row: the best of 0.001, 0.004" in table
    assert "single_task, learning rate by part: mnist 0.00" in table
    assert planned(repository) == {}
    output = subprocess.run(
        [sys.executable, "-m", "mola.cli", "status", "-c", "tiny.yaml"],
        cwd=repository, env=environment(repository), capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    # behind it stands the time that the records tell
    assert output.splitlines()[-1].partition(";")[0] == "2 done"
