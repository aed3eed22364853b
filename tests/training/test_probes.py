"""Watches see what there is, change no bit of the training, and go on after a kill."""

import json

import pytest
import torch
from torch import nn

from mola.config import load
from mola.experiment import run as runs
from mola.experiment.spec import experiment
from mola.files import with_checksum
from mola.losses import task_losses
from mola.training.checkpoint import Checkpoint
from mola.training.probes.gradients import GradientConflict, shared_by_stage
from mola.training.probes.oracle_selection import OracleSelection

ALL = {"oracle_selection": True, "gradients": 2, "routing": 8}


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def trained(path, label):
    suite = load(path)
    assert runs.train(experiment(suite, "digits", label), 0).status == "done"
    folder = experiment(suite, "digits", label).folder / "seed0"
    analysis = folder / "analysis.json"
    record = json.loads((folder / "record.json").read_text())
    return record, json.loads(analysis.read_text()) if analysis.is_file() else {}


@pytest.mark.parametrize("label", ["shared", "mola_grad", "mola_router", "single_task"])
def test_probes_change_nothing_but_what_they_measure(suite_file, tmp_path, label):
    plain, nothing = trained(suite_file(methods={label: None}, results=str(tmp_path / "plain")), label)
    watched, analysis = trained(suite_file(methods={label: None}, probes=ALL), label)
    for key in ("weights_sha256", "test", "valid", "selected"):
        assert plain[key] == watched[key]
    assert nothing == {} and plain["oracle_selection"] is None
    expected = {"single_task": set(), "mola_router": {"gradients", "routing"}}.get(label, {"gradients"})
    assert set(analysis) - {"fingerprint", "sha256"} == expected
    assert not analysis or with_checksum(analysis) == analysis


def test_oracle_selection_is_the_lowest_test_loss(suite_file):
    record, _ = trained(suite_file(training={"epochs": 3, "batch_size": 16, "lr": 0.01}, probes=ALL), "shared")
    oracle = record["oracle_selection"]
    if oracle["selected"] == record["selected"]:
        assert oracle["test"] == record["test"]
    assert sum(v["loss"] for v in oracle["test"].values()) <= sum(v["loss"] for v in record["test"].values())


def test_each_part_has_its_own_epoch():
    class Parts(nn.Module):
        def parts(self):
            return {"one": (self, ("a",)), "two": (self, ("b", "c"))}

    losses = iter([{"a": 3, "b": 1, "c": 1}, {"a": 2, "b": 2, "c": 1}, {"a": 2, "b": 1, "c": 1}])
    rule = OracleSelection(lambda method: {name: {"loss": loss} for name, loss in next(losses).items()})
    for epoch in (1, 2, 3):
        rule.after(epoch, Parts())
    assert rule.result()["selected"] == {"one": 2, "two": 1}
    assert rule.result()["test"] == {"a": {"loss": 2}, "b": {"loss": 1}, "c": {"loss": 1}}


def test_routing_is_of_every_task(suite_file):
    _, analysis = trained(suite_file(methods={"mola_router": None}, probes=ALL), "mola_router")
    weights, sizes = analysis["routing"]["weights"], analysis["routing"]["sizes"]
    assert {name: len(rows) for name, rows in weights.items()} == dict.fromkeys(
        ("mnist", "optdigits", "mnistm", "printed"), 8
    )
    assert all(abs(sum(row) - 1) < 1e-3 and len(row) == 4 for rows in weights.values() for row in rows)
    assert sizes and all(name.startswith("backbone.layer") and len(size) == 4 for name, size in sizes.items())


def test_gradients_are_those_of_each_loss_alone(digits):
    from mola.methods.shared import Shared
    from mola.models.backbones import builder

    method = Shared.create(digits.tasks, builder("test_resnet"))
    (batch, *_) = [
        b.__class__(digits.normalised(b.x), b.task, b.y, b.tasks)
        for b in digits.batches("train", size=16, seed=0, epoch=0)
    ]
    watch = GradientConflict(
        [t.name for t in digits.tasks], lambda: [batch], lambda m, b: task_losses(digits.tasks, m(b), b)
    )
    buffers = {name: value.clone() for name, value in method.named_buffers()}
    method.eval()
    watch.after(1, method)
    assert not method.training and all(torch.equal(value, buffers[name]) for name, value in method.named_buffers())
    (gram,) = watch.result()["epochs"][0]["grams"]
    places = shared_by_stage(method)
    assert list(gram) == list(places) == ["stem", "layer1", "layer2", "layer3", "layer4"]
    assert {p for part in places.values() for p in part} == set(method.backbone.parameters())
    method.train()
    rows = []
    for task in digits.tasks:
        method.zero_grad()
        task_losses(digits.tasks, method(batch), batch)[task.name].backward()
        rows.append(torch.cat([p.grad.flatten() for p in places["layer3"]]))
    rows = torch.stack(rows)
    torch.testing.assert_close(torch.tensor(gram["layer3"]), rows @ rows.T, rtol=1e-3, atol=1e-6)


def test_adapters_and_routers_are_not_compared(digits):
    from mola.methods.mola_router import MoLARouter
    from mola.models.backbones import builder

    method = MoLARouter.create(digits.tasks, builder("test_resnet"), where=r"layer[1-4]\..*conv\d", router_width=4)
    names = {id(p): name for name, p in method.named_parameters()}
    analysis = [names[id(p)] for part in shared_by_stage(method).values() for p in part]
    assert len(analysis) == len(set(analysis)) and all(name.startswith("backbone.") for name in analysis)
    assert not any(name.endswith((".A", ".B")) for name in analysis)


def test_what_was_seen_survives_an_interruption(suite_file, tmp_path, monkeypatch):
    training = {"epochs": 2, "batch_size": 16, "lr": 0.002, "checkpoint": {"epochs": 1}}
    path = suite_file(methods={"mola_router": None}, probes=ALL, training=training, results=str(tmp_path / "whole"))
    whole = trained(path, "mola_router")
    real, epochs = Checkpoint.save, []

    def stop_after_the_first(self, position, curve):
        real(self, position, curve)
        epochs.append(position.epoch)
        if position.epoch:
            raise KeyboardInterrupt

    path = suite_file(methods={"mola_router": None}, probes=ALL, training=training)
    monkeypatch.setattr(Checkpoint, "save", stop_after_the_first)
    with pytest.raises(KeyboardInterrupt):
        trained(path, "mola_router")
    monkeypatch.setattr(Checkpoint, "save", real)
    record, analysis = trained(path, "mola_router")
    assert epochs == [0, 1]
    assert analysis["gradients"] == whole[1]["gradients"] and analysis["routing"] == whole[1]["routing"]
    assert record["oracle_selection"] == whole[0]["oracle_selection"]
