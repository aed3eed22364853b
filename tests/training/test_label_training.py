"""Runs on classes, labels and numbers of whole images with missing targets: every method, selection, undefined scores,
probes.
"""

import math

import pytest
import torch
from building import build
from fake_labels import NAMES, TASKS, FakeLabels, FakeMixed

from mola import registry
from mola.balancers.sum import Sum
from mola.metrics import overall, undefined
from mola.sections import Training
from mola.training.evaluate import evaluate
from mola.training.fit import fit
from mola.training.loading import load
from mola.training.probes import Subject
from mola.training.probes.gradients import probe as gradients
from mola.training.probes.oracle_selection import probe as oracle_selection
from mola.training.probes.routing import probe as routing
from mola.training.step import TrainingStep
from mola.types import Output

CPU = torch.device("cpu")
WAYS = pytest.mark.parametrize("benchmark", [FakeLabels(), FakeMixed()], ids=lambda benchmark: benchmark.name)


def run(method, benchmark, folder, epochs=1, probes=(), balancer=None, **changes):
    training = Training(epochs=epochs, batch_size=6, lr=0.003, schedule="constant", **changes)
    return fit(
        method, balancer or Sum.create(), benchmark, training, seed=0, device=CPU, path=folder / "checkpoint.pt",
        fingerprint="f", probes=probes,
    )  # fmt: skip


@WAYS
@pytest.mark.parametrize("name", registry.names("methods"))
def test_every_method_trains_selects_and_is_scored(name, benchmark, tmp_path):
    outcome = run(build(name, TASKS), benchmark, tmp_path)
    assert set(outcome.curve[0]["train"]) - {"aux_loss"} == set(NAMES)
    for task in TASKS:
        assert list(outcome.test[task.name]) == [*task.metrics, "loss"]
        assert all(math.isfinite(value) for value in outcome.test[task.name].values())


@WAYS
@pytest.mark.parametrize("name", registry.names("balancers"))
def test_every_balancer_steps(name, benchmark):
    if name == "cagrad":
        pytest.importorskip("cvxpy")
    method = build("mola_grad", TASKS)
    balancer = registry.load("balancers", name).create(TASKS)
    optimizer = torch.optim.SGD([*method.parameters(), *balancer.parameters()], 0.01)
    step = TrainingStep(method, balancer, optimizer, TASKS)
    for batch in load(benchmark, "train", CPU, size=6):
        before = [p.detach().clone() for p in method.parameters()]
        assert all(loss.isfinite() for loss in step(batch).values())
        assert all(p.isfinite().all() for p in method.parameters())
        assert any(not torch.equal(p, old) for p, old in zip(method.parameters(), before, strict=True))


@WAYS
def test_scores_and_losses_do_not_depend_on_the_batches(benchmark):
    method = build("shared", TASKS)
    one, two = (evaluate(method, benchmark, "valid", size=size, device=CPU, amp=False) for size in (1, 7))
    for task in TASKS:
        assert one[task.name] == pytest.approx(two[task.name], rel=1e-5)


@WAYS
def test_all_kinds_are_learnt_together(benchmark, tmp_path):
    outcome = run(build("shared", TASKS), benchmark, tmp_path, epochs=25)
    assert outcome.test["height"]["r2"] > 0.5
    assert outcome.test["height"]["mean_absolute_error"] < 12, "in the unit of the targets"
    assert outcome.test["species"]["accuracy"] > 0.6
    assert outcome.test["defects"]["auc"] > 0.7
    best = max(outcome.curve, key=lambda epoch: overall(epoch["valid"], TASKS))
    assert outcome.selected == {"model": best["epoch"]}


class Rare(FakeLabels):
    """The test split has no defects, and all are of one height."""

    flat = ("test",)

    def item(self, split, index):
        x, species, height, defects = super().item(split, index)
        if split in self.flat:
            height = torch.where(height.isnan(), height, 170.0)
            defects = torch.where(defects > 0, 0.0, defects)
        return x, species, height, defects


@pytest.mark.parametrize("name", ["shared", "single_task"])
def test_what_test_does_not_define_is_left_open_and_the_rest_counts(name, tmp_path):
    outcome = run(build(name, TASKS), Rare(), tmp_path)
    undefined = {(task, metric) for task, row in outcome.test.items() for metric, v in row.items() if math.isnan(v)}
    assert undefined == {("height", "r2"), ("defects", "mean_average_precision"), ("defects", "auc")}
    assert math.isfinite(overall(outcome.test, TASKS))
    rest = overall(outcome.test, TASKS[:2])
    assert overall(outcome.test, TASKS) == rest != overall(outcome.valid, TASKS)


@pytest.mark.parametrize("name", ["shared", "single_task"])
def test_no_epoch_can_be_selected_where_valid_does_not_define_what_ranks(name, tmp_path):
    benchmark = Rare()
    benchmark.flat = ("valid",)
    with pytest.raises(ArithmeticError, match="valid mAP of defects is not defined: expected a label with positives"):
        run(build(name, TASKS), benchmark, tmp_path)


def test_a_model_that_diverged_fails_as_before(tmp_path):
    method = build("shared", TASKS)

    class Broken(FakeLabels):
        def normalised(self, x):
            return super().normalised(x) * (1 if torch.is_grad_enabled() or self.fine else math.nan)

    benchmark = Broken()
    benchmark.fine = True
    fine = evaluate(method, benchmark, "test", size=8, device=CPU, amp=False)
    benchmark.fine = False
    broken = evaluate(method, benchmark, "test", size=8, device=CPU, amp=False)
    assert all(math.isnan(value) for row in broken.values() for value in row.values()) and fine.keys() == broken.keys()
    with pytest.raises(ArithmeticError, match="no epoch gave finite validation metrics"):
        run(method, benchmark, tmp_path)


class Certain(torch.nn.Module):
    """Never the third class: certain of it to the last, which costs nothing where there is none."""

    def forward(self, batch):
        number = len(batch.x)
        species = torch.tensor([0.0, 0.0, -math.inf]).expand(number, -1)
        return Output({"species": species, "height": torch.zeros(number, 1), "defects": torch.zeros(number, 4)})


class OneClass(FakeLabels):
    """All images are of the first class."""

    def item(self, split, index):
        x, species, height, defects = super().item(split, index)
        return x, torch.zeros_like(species), height, defects


def test_predictions_that_are_not_finite_have_no_loss_either():
    """Or their metrics would look like such that the split does not define."""
    scores = evaluate(Certain(), OneClass(), "test", size=8, device=CPU, amp=False)
    assert all(math.isnan(value) for value in scores["species"].values())
    assert undefined(TASKS[0], scores["species"]) == () and math.isfinite(scores["height"]["loss"])


class Sparse(FakeLabels):
    """The first half of the training images has no targets at all, and no image has a species."""

    def item(self, split, index):
        x, species, height, defects = super().item(split, index)
        if split == "train":
            species = torch.full_like(species, -1)
            if index < self.sizes["train"] // 2:
                height, defects = height * math.nan, defects * math.nan
        return x, species, height, defects


def test_a_batch_without_targets_makes_no_step_and_a_task_without_any_no_loss(tmp_path):
    benchmark, method = Sparse(), build("shared", TASKS)
    optimizer = torch.optim.Adam(method.parameters(), 0.01)
    step = TrainingStep(method, Sum.create(), optimizer, TASKS)
    batches = list(load(benchmark, "train", CPU, size=2))
    nothing = next(batch for batch in batches if batch.empty == set(NAMES))
    some = next(batch for batch in batches if batch.empty == {"species"})
    before = [p.detach().clone() for p in method.parameters()]
    assert step(nothing) == {}
    assert all(torch.equal(p, old) for p, old in zip(method.parameters(), before, strict=True))
    assert set(step(some)) == {"height", "defects"}
    outcome = run(build("shared", TASKS), benchmark, tmp_path)
    assert set(outcome.curve[0]["train"]) == {"height", "defects"}


@WAYS
def test_probes_measure_such_runs(benchmark, tmp_path):
    subject = Subject(benchmark, Training(epochs=2, batch_size=6), 0, CPU, True)
    probes = [gradients(subject, 4), oracle_selection(subject, True), routing(subject, 8)]
    outcome = run(build("mola_router", TASKS), benchmark, tmp_path, epochs=2, probes=probes)
    conflict, oracle, weights = (probe.result() for probe in probes)
    assert conflict["tasks"] == list(NAMES) and any(epoch["grams"] for epoch in conflict["epochs"])
    assert set(oracle["test"]) == set(weights["weights"]) == set(NAMES)
    assert sum(oracle["test"][n]["loss"] for n in NAMES) <= sum(outcome.test[n]["loss"] for n in NAMES)
    assert ("aux_loss" in outcome.curve[0]["train"]) == (benchmark.name == "fake_mixed"), "TwD"
