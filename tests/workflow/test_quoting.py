"""No text of a configuration reaches a shell unquoted: hostile names are refused, odd paths are one word."""

import shutil
import subprocess
import sys

import pytest
import yaml
from running import TINY, environment

LABELS = ["x$(touch P)", "a;touch P;", "a\ntouch P\n", "--help", "..", ""]


def snakemake(repository, *words, **changes):
    (repository / "odd.yaml").write_text(yaml.safe_dump({**TINY, "suite": "odd", **changes}, sort_keys=False))
    command = [sys.executable, "-m", "snakemake", "--cores", "2", *words, "all", "--configfile", "odd.yaml"]
    done = subprocess.run(
        command, cwd=repository, env=environment(repository), capture_output=True, text=True, check=False
    )
    assert not list(repository.rglob("P")), "a text of the configuration was executed"
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("label", LABELS)
def test_labels_that_are_no_words_are_refused(repository, label):
    code, output = snakemake(repository, methods={label: {"method": "shared"}})
    lines = [line for line in output.splitlines() if line.startswith("mola: ")]
    assert code != 0 and len(lines) == 1 and "methods: expected a name that can be a folder" in lines[0], output
    assert not (repository / "results/odd").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("results", "data"), [("r s", "data"), ("-r'q\"$(touch P);touch P;", "d $(touch P)'")])
def test_folders_of_odd_names(repository, results, data):
    if data != "data":
        shutil.copytree(repository / "data", repository / data)
    code, output = snakemake(repository, results=results, data=data, methods={"a.b+c": {"method": "shared"}})
    assert code == 0, output
    assert "| a.b+c (draft) |" in (repository / results / "odd/tables/digits.md").read_text()
    assert [path.name for path in (repository / results).iterdir()] == ["odd"]
