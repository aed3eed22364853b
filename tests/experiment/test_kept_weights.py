"""``keep: best``: the weights beside the record, which they leave as it is."""

import subprocess
import sys

import pytest
import torch

from mola.config import load
from mola.deployment.run import kept_run
from mola.experiment import kept
from mola.experiment import record as records
from mola.experiment import run as runs
from mola.experiment.spec import experiment
from mola.experiment.weights import NAME
from mola.inference import stored
from mola.source import ROOT
from mola.training.checksum import weights_sha256
from mola.types import BadInput


def mola(*words):
    done = subprocess.run(
        [sys.executable, "-m", "mola.cli", *map(str, words)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


@pytest.mark.slow
def test_weights_are_made_for_a_run_that_finished_without(suite_file):
    torch.set_num_threads(1)
    without = experiment(load(suite_file()), "digits", "shared")
    record = runs.train(without, 0)
    folder = without.run_folder(0)
    with pytest.raises(BadInput, match=f"found no {NAME}; `keep: best` in the suite keeps them, and mola train --keep"):
        kept_run(folder)
    # the key is no part of what a run is
    path = suite_file(keep="best")
    one = experiment(load(path), "digits", "shared")
    assert runs.finished(one, 0) == record and kept.lacking(one, 0)
    assert "without kept weights: seeds 0; mola train --keep makes them" in mola("status", "-c", path).stdout
    done = mola("train", "-c", path)
    assert done.returncode == 0 and "1 run was done before weights were kept; mola train --keep" in done.stderr
    before = (folder / "record.json").read_bytes()
    done = mola("train", "-c", path, "--keep")
    assert (done.returncode, done.stdout) == (0, "digits/shared seed 0: weights kept\n")
    assert (folder / "record.json").read_bytes() == before and not kept.lacking(one, 0)
    _, state = stored.read(folder / NAME)
    assert weights_sha256(state) == record.weights_sha256 == kept_run(folder).record.weights_sha256
    # of another record they are none
    records.write(folder / "record.json", record.model_copy(update={"weights_sha256": "0" * 64}))
    with pytest.raises(BadInput, match=f"found a {NAME} of another run"):
        kept_run(folder)
    assert kept.make(one, 0) == f"weights 00000000…, here {str(record.weights_sha256)[:8]}…"
    # and where a run is made anew, those of the old one go
    (folder / "record.json").unlink()
    runs.train(without, 0)
    assert not (folder / NAME).exists()
