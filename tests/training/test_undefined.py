"""A task that the test split says nothing of ends no run."""

import math

import pytest
import torch
from fake_labels import FakeMixed

from mola.methods.shared import Shared
from mola.metrics import of, overall, undefined
from mola.models.backbones import builder
from mola.registry import create
from mola.sections import Training
from mola.training.fit import fit


class Lacking(FakeMixed):
    """A benchmark whose test split lacks the samples of one task, or has its first class alone."""

    lacks = ""

    def batches(self, split, **how):
        for batch in super().batches(split, **how):
            if split == "test" and "species" in batch.y and self.lacks == "samples":
                continue
            if split == "test" and "species" in batch.y:
                batch.y["species"].clamp_(max=0)
            yield batch


@pytest.mark.parametrize("lacks", ["samples", "classes"])
def test_what_test_does_not_define_is_marked_and_the_rest_counts(tmp_path, lacks):
    torch.manual_seed(0)
    data = Lacking()
    data.lacks, cpu = lacks, torch.device("cpu")
    method = Shared.create(data.tasks, builder("test_resnet"))
    balancer, training = create("balancers", "sum", data.tasks, cpu, options={}), Training(epochs=1, batch_size=12)
    outcome = fit(method, balancer, data, training, seed=0, device=cpu, path=tmp_path / "run.pt", fingerprint="f")
    species = data.tasks[0]
    metrics = [metric.name for metric in undefined(species, outcome.test["species"])]
    assert metrics == ([metric.name for metric in of(species)] if lacks == "samples" else ["auc"])
    assert math.isfinite(overall(outcome.test, data.tasks))
    assert not any(undefined(task, outcome.test[task.name]) for task in data.tasks[1:])
