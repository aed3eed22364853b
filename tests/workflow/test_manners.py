"""Planning leaves no file, wherever it is called from and whatever it is asked; in a module, too."""

import subprocess
import sys

import pytest
from running import environment, planned, write_suite

METHODS = {"shared": None, "single_task": None}
QUESTIONS = [
    ["-n", "--cores", "1", "all"],
    ["-n", "--cores", "1", "all", "--config", "seeds=2"],
    ["--summary"],
    ["--detailed-summary"],
    ["--list"],
    ["--filegraph"],
    ["--rulegraph", "mermaid-js"],
    ["--containerize"],
    ["--lint"],
]
MODULE = """
module bench:
    snakefile: "Snakefile"
    config: config
    {prefix}
use rule * from bench as bench_*
"""


def files(folder):
    hidden = (".snakemake", "__pycache__")
    paths = (path for path in folder.rglob("*") if path.is_file() and not {*path.parts} & {*hidden})
    return {path.relative_to(folder): path.stat().st_mtime_ns for path in paths}


def snakemake(folder, *words):
    command = [sys.executable, "-m", "snakemake", *words]
    done = subprocess.run(
        command, cwd=folder, env=environment(folder), capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
def test_planning_leaves_no_file_and_needs_no_cores(repository):
    write_suite(repository, methods=METHODS)
    before = files(repository)
    for words in QUESTIONS:
        snakemake(repository, *words, "--configfile", "tiny.yaml")
    assert "digits" in snakemake(repository, "-n", "--cores", "1", "all", "--config", "seeds=1"), "the default suite"
    assert files(repository) == before


@pytest.mark.slow
def test_a_module_with_a_prefix_runs_where_the_prefix_says(repository):
    write_suite(repository, methods={"shared": None})
    for prefix in ("", 'prefix: "sub"'):
        (repository / "module.smk").write_text(f'configfile: "tiny.yaml"\n{MODULE.format(prefix=prefix)}')
        output = snakemake(repository, "-s", "module.smk", "-n", "--cores", "1", "bench_all")
        assert f"output: {'sub/' if prefix else ''}results/tiny/digits/shared/runs.json" in output
    snakemake(repository, "-s", "module.smk", "--cores", "1", "bench_all")
    assert "\n| shared" in (repository / "sub/results/tiny/tables/digits.md").read_text()
    assert not (repository / "results/tiny").exists()
    assert "Nothing to be done" in snakemake(repository, "-s", "module.smk", "-n", "--cores", "1", "bench_all")


@pytest.mark.slow
def test_the_reporting_code_is_an_input_from_elsewhere_too(repository, tmp_path):
    path = write_suite(repository, methods=METHODS, data=str(repository / "data"))
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    words = ["-n", "--cores", "1", "all", "--configfile", str(path)]
    output = snakemake(repository, *words, "--directory", str(folder))
    assert output.count("mola/reporting/write.py") == 3
    assert not files(folder) and planned(repository)["train"] == 2
