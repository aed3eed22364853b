"""A copy of the package in a git repository, to edit: what the tests of certified records share."""

import os
import shutil
import subprocess
import sys

import yaml

from mola.experiment import record as records
from mola.source import ROOT


class Copy:
    """A git repository with the package, prepared digits and the records of a suite of two methods and three seeds;
    keyword arguments replace top-level keys of the configuration.
    """

    def __init__(self, folder, data_root, **changes):
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
        (folder / "suite.yaml").write_text(yaml.safe_dump({**suite, **changes}, sort_keys=False))
        self.git("init", "-q")
        self.commit()
        if "tune" in changes:
            self.mola("tune")
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
        """The last line of ``mola status``, without times."""
        return self.mola("status").splitlines()[-1].partition(";")[0]
