"""The workflow of hosted CI, which runs elsewhere: its steps name targets, variables and files that are here."""

import re
import subprocess
import tomllib
from pathlib import Path

import commands
import pytest
import yaml
from blocks import Block

ROOT = Path(__file__).parents[2]
CI = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
STEPS = [(job, step) for job, content in CI["jobs"].items() for step in content["steps"]]
SHELL = [(job, step["run"]) for job, step in STEPS if "run" in step]


def pythons() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    matches = (re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", line) for line in project["classifiers"])
    return [match[1] for match in matches if match]


def test_every_python_that_is_promised_is_tested_and_let_in_by_make():
    assert CI["jobs"]["test"]["strategy"]["matrix"]["python"] == pythons()
    (accepted,) = re.findall(r'v in \(("3.*?")\)', (ROOT / "Makefile").read_text())
    assert re.findall(r'"(.*?)"', accepted) == pythons()


def test_jobs_end_by_themselves_and_may_read_alone():
    # YAML takes `on` for true
    assert set(CI[True]) == {"push", "pull_request"} and CI["permissions"] == {"contents": "read"}
    for job in CI["jobs"].values():
        assert job["timeout-minutes"] <= 120 and re.fullmatch(r"ubuntu-\d\d\.04", job["runs-on"])
    for _, step in STEPS:
        assert ("run" in step) != ("uses" in step)
        assert re.fullmatch(r"actions/[\w-]+@v\d+", step.get("uses", "actions/x@v1"))


@pytest.mark.parametrize(("job", "script"), [*SHELL, ("here", (ROOT / ".ci/run").read_text())])
def test_what_the_steps_call_is_there(job, script):
    done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for line in script.splitlines():
        if re.match(r"make |\S*pytest ", line):
            (words,) = commands.commands(Block(job, 0, "sh", line.removeprefix(".venv/bin/")))
            assert [*commands.problems(words, set())] == []


def test_files_that_caches_depend_on_are_there_and_every_target_is_called():
    for _, step in STEPS:
        for name in step.get("with", {}).get("cache-dependency-path", "").split():
            assert (ROOT / name).is_file()
    called = " ".join(script for _, script in SHELL)
    assert "make test" in called and "make long" in called and "make docs" in called and "tests/docs" in called
