"""Edits of a copy of the package, committed there: which records are certified, and which are trained again."""

import hashlib
import json
import os
import shutil
import subprocess
import sys

import pytest
import yaml

from mola.experiment import record as records
from mola.source import ROOT

STEP, ADAPTER = "mola/training/step.py", "mola/layers/adapter.py"
# kills the process at its n-th record, as it is put in its place
KILLER = """
import os, pathlib, signal
replace, written = pathlib.Path.replace, []
def replaced(self, target):
    if pathlib.Path(target).name == "record.json" and "mola-certify" not in str(target):
        written.append(target)
        if len(written) == int(os.environ["KILL_AT"]):
            os.kill(os.getpid(), signal.SIGKILL)
    return replace(self, target)
pathlib.Path.replace = replaced
"""

pytestmark = pytest.mark.slow


class Copy:
    """A git repository with the package, prepared digits and a suite of two methods and three seeds."""

    def __init__(self, folder, data_root):
        self.folder, self.results = folder, folder / "results/tiny/digits"
        listed = self.git("ls-files", "-co", "--exclude-standard", "mola", "data/splits", where=ROOT)
        for name in listed.splitlines():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
        shutil.copytree(data_root / "digits", folder / "data/digits")
        (folder / ".gitignore").write_text("/data/digits\n/results\n__pycache__\n")
        suite = {
            "suite": "tiny",
            "seeds": 3,
            "reference": None,
            "device": "cpu",
            "benchmarks": {"digits": {"limit": 16}},
            "training": {"epochs": 1, "batch_size": 16, "lr": 0.002},
            "backbone": {"name": "test_resnet"},
            "probes": {"gradients": 1},
            "methods": {"shared": None, "mola_grad": {"rank": 2, "where": r"layer[1-4]\..*conv\d"}},
        }
        (folder / "suite.yaml").write_text(yaml.safe_dump(suite, sort_keys=False))
        self.git("init", "-q")
        self.commit()
        self.mola("train")

    def git(self, *words, where=None):
        name = ["-c", "user.name=a", "-c", "user.email=a@b"]
        return subprocess.run(
            ["git", *name, *words], cwd=where or self.folder, check=True, capture_output=True, text=True
        ).stdout

    def commit(self):
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "an edit")
        return self.git("rev-parse", "HEAD").strip()

    def edit(self, name, before, after):
        path = self.folder / name
        text = path.read_text()
        assert before in text
        path.write_text(text.replace(before, after))

    def mola(self, *words, code=0, **variables):
        places = f"{variables.pop('first', '')}{os.pathsep}{self.folder}".strip(os.pathsep)
        environment = os.environ | {"PYTHONPATH": places, "OMP_NUM_THREADS": "1"} | variables
        command = [sys.executable, "-m", "mola.cli", *words, "-c", "suite.yaml"]
        done = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == code and "Traceback" not in done.stderr, done.stdout + done.stderr
        return done.stdout + done.stderr

    def path(self, label, seed):
        return self.results / label / f"seed{seed}/record.json"

    def records(self, label):
        return [records.read(self.path(label, seed)) for seed in range(3)]

    def counts(self):
        """The last line of ``mola status``."""
        return self.mola("status").splitlines()[-1]


@pytest.fixture
def copy(tmp_path, data_root):
    return Copy(tmp_path, data_root)


def computed(record):
    return (record.weights_sha256, record.test, record.valid, record.selected, record.commit, record.seconds)


def test_a_renamed_variable_certifies_and_a_constant_trains_again(copy):
    first = copy.git("rev-parse", "HEAD").strip()
    before = {label: copy.records(label) for label in ("shared", "mola_grad")}
    assert "nothing to certify" in copy.mola("reproduce", "--certify")

    copy.edit(STEP, "for name, loss in losses.items()}", "for name, value in losses.items()}")
    copy.edit(STEP, "loss.detach() for", "value.detach() for")
    assert copy.counts() == "6 stale"
    files = {p: p.read_bytes() for p in copy.results.rglob("*") if p.is_file()}
    refused = copy.mola("reproduce", "--certify", code=2)
    assert f"digits/shared: expected its code in a commit, found uncommitted: {STEP}" in refused
    assert {p: p.read_bytes() for p in copy.results.rglob("*") if p.is_file()} == files, "nothing is written"

    second = copy.commit()
    text = copy.mola("reproduce", "--certify")
    assert f"digits/shared: 2 records certified by seed 0 at {second[:7]} (weights " in text
    assert copy.counts() == "6 done"
    for label, old in before.items():
        again, *others = copy.records(label)
        assert (again.commit, again.certified, again.dirty) == (second, None, False)
        assert again.weights_sha256 == old[0].weights_sha256
        for record, trained in zip(others, old[1:], strict=True):
            assert computed(record) == computed(trained) and record.commit == first
            code = trained.fingerprint.code
            assert record.certified.model_dump() == {"seed": 0, "commit": second, "trained_fingerprint": code}
            assert record.fingerprint == again.fingerprint
        assert json.loads((copy.results / label / "inputs.json").read_text())["fingerprint"]["all"] == (
            again.fingerprint.all
        )
        index = copy.results / label / "runs.json"
        checksums = {k: run["sha256"] for k, run in json.loads(index.read_text())["runs"].items()}
        assert checksums == {str(s): hashlib.sha256(copy.path(label, s).read_bytes()).hexdigest() for s in range(3)}
        assert index.stat().st_mtime_ns > (copy.results / label / "inputs.json").stat().st_mtime_ns
    analysis = json.loads((copy.results / "mola_grad/seed0/analysis.json").read_text())
    assert analysis["fingerprint"] == again.fingerprint.all and analysis["gradients"]
    copy.mola("table")
    table = (copy.results.parent / "tables/digits.md").read_text()
    assert f"2 of 3 records certified by seed 0 at {second[:7]}" in table and "left out" not in table

    # the bits of one method change; a record of the other is missing
    copy.edit(ADAPTER, "a[2] ** -0.5", "a[2] ** -0.25")
    copy.edit(STEP, "value", "loss")
    copy.path("shared", 2).unlink()
    third = copy.commit()
    text = copy.mola("reproduce", "--certify")
    assert f"digits/shared: 1 record certified by seed 0 at {third[:7]}" in text
    assert "digits/shared seed 2: not certified: no record; mola train makes it" in text
    assert "digits/mola_grad: seed 0 gives other bits: test.mnist." in text
    assert "digits/mola_grad: trained again, all seeds" in text
    assert copy.counts() == "5 done, 1 to do"
    kept = records.read(copy.path("shared", 1))
    assert (kept.certified.commit, kept.certified.trained_fingerprint) == (third, before["shared"][1].fingerprint.code)
    for record, old in zip(copy.records("mola_grad"), before["mola_grad"], strict=True):
        assert record.certified is None and record.commit == third and record.weights_sha256 != old.weights_sha256


def test_a_kill_while_stamping_leaves_whole_records_and_the_same_command_goes_on(copy, tmp_path):
    old = {label: copy.records(label) for label in ("shared", "mola_grad")}
    copy.edit(STEP, "for name, loss in losses.items()}", "for name, value in losses.items()}")
    copy.edit(STEP, "loss.detach() for", "value.detach() for")
    (tmp_path / "killer").mkdir()
    (tmp_path / "killer/sitecustomize.py").write_text(KILLER)
    copy.commit()
    for at, expected in (("2", "1 done, 5 stale"), ("2", "2 done, 4 stale"), ("1", "2 done, 4 stale")):
        copy.mola("reproduce", "--certify", code=-9, first=str(tmp_path / "killer"), KILL_AT=at)
        assert copy.counts() == expected
        for label, trained in old.items():
            assert [computed(r)[:4] for r in copy.records(label)] == [computed(r)[:4] for r in trained]
    copy.mola("reproduce", "--certify")
    assert copy.counts() == "6 done"
    assert [bool(record.certified) for record in copy.records("shared")] == [False, True, True]
    assert (copy.results / "shared/runs.json").is_file()
