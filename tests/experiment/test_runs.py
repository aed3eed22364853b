"""Whole runs on a few images: determinism, failure, records. What a run survives: test_survival.py."""

import json
import math

import pytest
import torch

from mola.config import load
from mola.experiment import row
from mola.experiment import run as runs
from mola.experiment.spec import experiment
from mola.sections import Training
from mola.training import fit as fit_module
from mola.training import optim
from mola.types import BadInput


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def read_record(suite, label="shared", seed=0):
    return json.loads((experiment(suite, "digits", label).folder / f"seed{seed}" / "record.json").read_text())


def test_a_record_tells_everything(suite_file):
    suite = load(suite_file(methods={"mola_router": None}))
    assert runs.train(experiment(suite, "digits", "mola_router"), 0).status == "done"
    record = read_record(suite, "mola_router")
    assert record["status"] == "done"
    assert record["reason"] is None
    assert record["settings"]["method_options"]["twd"] == 0.1
    assert [e["epoch"] for e in record["curve"]] == [1, 2]
    assert set(record["curve"][0]["train"]) == {"mnist", "optdigits", "mnistm", "printed", "aux_loss"}
    best = max(record["curve"], key=lambda e: sum(v["accuracy"] for v in e["valid"].values()))
    assert record["selected"] == {"model": best["epoch"]}
    assert record["valid"] == best["valid"]
    for split in ("valid", "test"):
        for scores in record[split].values():
            assert set(scores) == {"accuracy", "balanced_accuracy", "auc", "loss"}
            assert 0 <= scores["accuracy"] <= 1
    assert record["parameters"]["trainable"] - record["parameters"]["inference"] == 32 * 4 + 32  # TwD's projection
    assert record["flops_per_sample"] > 1e6
    assert record["seconds_per_step"] > 0
    assert record["peak_memory_bytes"] > 1e8
    assert {"python", "torch", "timm"} <= set(record["versions"])
    assert {"commit", "dirty", "device", "threads", "fingerprint", "seconds", "weights_sha256"} <= set(record)
    folder = experiment(suite, "digits", "mola_router").folder / "seed0"
    assert sorted(p.name for p in folder.iterdir()) in (["lock", "log.txt", "record.json"], ["log.txt", "record.json"])
    assert "epoch 2/2" in (folder / "log.txt").read_text()


@pytest.mark.parametrize("label", ["single_task", "mola_router"])
def test_same_seed_same_bits_and_another_seed_others(suite_file, tmp_path, label):
    hashes = []
    for turn, seed in enumerate((0, 0, 1)):
        suite = load(suite_file(results=str(tmp_path / f"r{turn}"), methods={label: None}))
        runs.train(experiment(suite, "digits", label), seed)
        record = read_record(suite, label, seed)
        hashes.append((record["weights_sha256"], json.dumps([e["train"] for e in record["curve"]])))
    assert hashes[0] == hashes[1]
    assert hashes[0][0] != hashes[2][0]


def test_an_epoch_of_several_passes_is_as_many_epochs_of_one(suite_file, tmp_path):
    """But for the validation between them: same batches, same weights."""
    records = []
    for epochs, passes in ((4, 1), (2, 2)):
        training = {"epochs": epochs, "passes": passes, "batch_size": 16, "lr": 0.002, "schedule": "constant"}
        suite = load(suite_file(training=training, results=str(tmp_path / f"of{passes}")))
        records.append(runs.train(experiment(suite, "digits", "shared"), 0))
    one, two = records
    assert [epoch.valid for epoch in two.curve] == [epoch.valid for epoch in one.curve[1::2]]
    assert [epoch.steps for epoch in two.curve] == [2 * epoch.steps for epoch in one.curve[1::2]]
    assert one.curve[0].valid != one.curve[1].valid


def test_a_finished_run_is_kept_and_changed_settings_are_run_again(suite_file):
    suite = load(suite_file())
    runs.train(experiment(suite, "digits", "shared"), 0)
    path = experiment(suite, "digits", "shared").folder / "seed0" / "record.json"
    before = path.stat().st_mtime_ns
    assert runs.train(experiment(suite, "digits", "shared"), 0).status == "done"
    assert path.stat().st_mtime_ns == before
    changed = load(suite_file(training={"epochs": 1, "batch_size": 16, "lr": 0.002}))
    runs.train(experiment(changed, "digits", "shared"), 0)
    assert len(read_record(changed)["curve"]) == 1


def test_divergence_is_a_failed_record_with_its_reason(suite_file):
    suite = load(suite_file(training={"epochs": 2, "batch_size": 16, "lr": 1e30, "optimizer": "sgd"}))
    assert row.train_seeds(experiment(suite, "digits", "shared"), [0]) == [0]
    record = read_record(suite)
    assert record["status"] == "failed"
    # the first loss is that of the initial weights
    assert record["reason"].startswith("training diverged in epoch 1, step 2: loss of ")
    assert [record["failure"][key] for key in ("kind", "phase", "step")] == ["diverged", "training", 2]
    assert "is tried again" not in (experiment(suite, "digits", "shared").folder / "seed0/log.txt").read_text()
    assert record["test"] == {}


def test_bad_input_writes_nothing(suite_file):
    suite = load(suite_file(methods={"mola_grad": {"where": "nothing_like_it"}}))
    with pytest.raises(BadInput, match="nothing_like_it"):
        runs.train(experiment(suite, "digits", "mola_grad"), 0)
    assert not suite.folder.exists()
    suite = load(suite_file(methods={"mola_grad": {"rank": 4096}}))
    with pytest.raises(BadInput, match="4096"):
        runs.train(experiment(suite, "digits", "mola_grad"), 0)
    assert not suite.folder.exists()


def test_test_is_read_once_after_selection(suite_file, monkeypatch):
    splits = []
    real = fit_module.evaluate

    def watch(method, benchmark, split, **how):
        splits.append(split)
        return real(method, benchmark, split, **how)

    monkeypatch.setattr(fit_module, "evaluate", watch)
    suite = load(suite_file())
    runs.train(experiment(suite, "digits", "shared"), 0)
    assert splits == ["valid", "valid", "valid", "test"]


@pytest.mark.parametrize(("optimizer", "kind"), [("adamw", "AdamW"), ("adam", "Adam"), ("sgd", "SGD")])
def test_one_optimiser_and_schedules(suite_file, optimizer, kind):
    training = load(suite_file(training={"optimizer": optimizer, "epochs": 4, "lr": 1.0})).training
    weight = torch.nn.Parameter(torch.ones(1))
    optimizer = optim.make_optimizer(training, [weight])
    assert type(optimizer).__name__ == kind
    assert not optimizer.defaults.get("nesterov", False)
    schedule = optim.make_schedule(training, optimizer)
    rates = []
    for _ in range(4):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx([(1 + math.cos(math.pi * t / 4)) / 2 for t in range(4)])


def test_a_backbone_of_another_image_size_is_told(suite_file):
    suite = load(suite_file(backbone={"name": "test_vit", "options": {"dynamic_img_size": False}}, shared_options={}))
    with pytest.raises(BadInput, match=r"digits's images of 32×32 pixels, found: .*; most .*img_size: \[32, 32\]"):
        runs.train(experiment(suite, "digits", "shared"), 0)
    assert not experiment(suite, "digits", "shared").folder.exists()
    fitting = {"name": "test_vit", "options": {"dynamic_img_size": False, "img_size": [32, 32]}}
    assert (
        runs.train(experiment(load(suite_file(backbone=fitting, shared_options={})), "digits", "shared"), 0).status
        == "done"
    )


def test_a_gradient_may_come_late_with_momentum():
    """A task that is missing from the first batches gives its head none."""
    early, late = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(2))
    optimizer = optim.make_optimizer(Training(optimizer="sgd", lr=0.1, weight_decay=0), [early, late])
    for step in range(3):
        early.grad, late.grad = torch.ones(2), torch.ones(2) if step == 2 else None
        optimizer.step()
    assert torch.allclose(late, torch.full((2,), 0.9)) and float(early[0]) < 0.7


def test_frozen_weights_count_for_inference(digits):
    from mola.methods.linear_probe import LinearProbe
    from mola.models.backbones import builder
    from mola.training.cost import example_batch, parameter_counts

    method = LinearProbe.create(digits.tasks, builder("test_resnet"))
    counts = parameter_counts(method, example_batch(digits, torch.device("cpu")))
    assert counts["inference"] == sum(p.numel() for p in method.parameters())
    assert counts["trainable"] == sum(p.numel() for p in method.heads.parameters())
    assert not any(p.requires_grad for p in method.backbone.parameters())
