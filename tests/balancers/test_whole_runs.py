"""Balancers in the training loop: resumed from a real checkpoint, and stopped in one line where they can't run."""

import json

import pytest
import torch

from mola.config import load
from mola.experiment import run as runs
from mola.experiment.spec import experiment
from mola.types import BadInput


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.mark.parametrize("balancer", ["uw", {"name": "db_mtl", "beta": 0.5}])
def test_resuming_equals_an_uninterrupted_run(suite_file, tmp_path, balancer):
    records = []
    for turn in ("whole", "cut"):
        suite = load(
            suite_file(
                results=str(tmp_path / turn),
                balancer=balancer,
                methods={"mola_grad": None},
                training={
                    "epochs": 2,
                    "batch_size": 16,
                    "lr": 0.002,
                    "sampling": "proportional",
                    "checkpoint": {"epochs": 1},
                },
            )
        )

        def stop(done, total):
            if done == total - 1:
                raise KeyboardInterrupt

        if turn == "cut":
            with pytest.raises(KeyboardInterrupt):
                runs.train(experiment(suite, "digits", "mola_grad"), 0, stop)
            torch.rand(5)  # whatever the new process drew before
        folder = experiment(suite, "digits", "mola_grad").folder / "seed0"
        assert runs.train(experiment(suite, "digits", "mola_grad"), 0).status == "done", (
            folder / "log.txt"
        ).read_text()
        records.append(json.loads((folder / "record.json").read_text()))
    whole, cut = records
    assert whole["weights_sha256"] == cut["weights_sha256"]
    statistics = "one for each task: backbone.conv1.1 takes statistics over samples of all tasks"
    assert whole["backward_passes"] == (None if balancer == "uw" else statistics)
    assert [e["train"] for e in whole["curve"]] == [e["train"] for e in cut["curve"]]
    assert whole["settings"]["balancer_options"] == cut["settings"]["balancer_options"]


def test_what_a_balancer_refuses_is_bad_input_and_writes_nothing(suite_file):
    suite = load(suite_file(balancer={"name": "static", "weights": {"mnits": 2.0}}))
    with pytest.raises(BadInput, match=r"balancer\.weights: expected names of .*, found 'mnits', did you mean 'mnist'"):
        runs.train(experiment(suite, "digits", "shared"), 0)
    assert not experiment(suite, "digits", "shared").folder.exists()
