"""Snakemake on a suite that lies elsewhere, with methods, balancers, a benchmark and a backbone beside it."""

import json
import re
import subprocess
import sys

import pytest
import user_folder
import yaml
from running import PAGES, environment

from mola.cli.new import SKELETONS


def snakemake(repository, path, *words):
    command = [sys.executable, "-m", "snakemake", "--cores", "2", *words, "all", "--configfile", str(path)]
    done = subprocess.run(
        command, cwd=repository, env=environment(repository), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def planned(repository, path):
    rules = re.findall(r"^(\w+) +(\d+)$", snakemake(repository, path, "-n", "--quiet"), re.MULTILINE)
    return {name: int(number) for name, number in rules if name != "total"}


@pytest.mark.slow
def test_a_suite_elsewhere_with_parts_of_its_own(repository, tmp_path):
    folder = user_folder.fill(tmp_path / "else where")
    stripes = (SKELETONS / "benchmark.py.txt").read_text().replace("NAME", "stripes").replace("CLASS(", "Stripes(")
    user_folder.fill(folder, benchmarks__stripes=stripes)
    methods = {"shared": None, "task_bias": {"where": "layer2"}, "twice": {"method": "shared", "balancer": "twice"}}
    path = user_folder.suite(
        folder, "data", results="results", methods=methods, backbone={"name": "my_net:make_model"},
        benchmarks={"stripes": {"limit": 16}},
    )  # fmt: skip
    snakemake(repository, path)
    table = (repository / "results/mine/tables/stripes.md").read_text()
    assert all(f"| {label} " in table for label in methods), table
    assert "†" not in table
    written = yaml.safe_load((repository / "results/mine/config.yaml").read_text())
    assert written["plugins"] == str(folder)
    # the split was written after the plan was made
    inputs = json.loads((repository / "results/mine/stripes/shared/inputs.json").read_text())
    record = json.loads((repository / "results/mine/stripes/shared/seed0/record.json").read_text())
    assert inputs["fingerprint"]["all"] == record["fingerprint"]["all"] and record["fingerprint"]["manifest"]
    assert planned(repository, path) == {}

    helper = folder / "methods/_helper.py"
    helper.write_text(helper.read_text() + "\nEDIT = 1\n")
    assert planned(repository, path) == {"train": 1, **PAGES, "all": 1}, "a sibling's edit retrains who imports it"
