"""Each check can fail: a part that breaks one rule is named, with file and line where its code raises an error."""

import re
from dataclasses import replace

import pytest
import torch
import user_folder
from torch import nn

from mola import registry
from mola.balancers.uw import UW
from mola.conformance import backbones, balancers, methods
from mola.conformance.examples import TASKS, batch_of, small_backbone
from mola.conformance.fault import problems
from mola.methods.shared import Shared
from mola.types import BadInput, Output

BATCH = batch_of(TASKS)


def findings(cls, *more):
    def build(seed):
        torch.manual_seed(seed)
        return cls.create(TASKS, small_backbone())

    return " | ".join(problems((*methods.CHECKS, *more), methods.Subject(build, TASKS, BATCH)))


class ByOrder(Shared):
    def forward(self, batch):
        x = self.backbone(batch.x) * torch.arange(1.0, len(batch.x) + 1)[:, None]
        return Output(self.heads(x, batch))


class ByCompany(Shared):
    def forward(self, batch):
        return Output(self.heads(self.backbone(batch.x) * len(batch.y), batch))


class Tells(Shared):
    def forward(self, batch):
        output = super().forward(batch)
        extra = {name: torch.zeros(1, 2) for name in batch.tasks} | dict(output.predictions)
        return replace(output, predictions=extra)


class Infinite(Shared):
    def forward(self, batch):
        output = super().forward(batch)
        return replace(output, predictions={name: p / 0 for name, p in output.predictions.items()})


class Routes(Shared):
    def forward(self, batch):
        return replace(super().forward(batch), routing=torch.ones(len(batch.x), 3))


class Detached(Shared):
    def forward(self, batch):
        return Output(self.heads(self.backbone(batch.x).detach(), batch))


class SharesHeads(Shared):
    def shared_parameters(self):
        return [*self.backbone.parameters(), nn.Parameter(torch.zeros(1))]


class Draws(Shared):
    def __init__(self, tasks, backbone, options):
        super().__init__(tasks, backbone, options)
        self.hidden = torch.rand(1, generator=GENERATOR) * 100

    def forward(self, batch):
        return Output(self.heads(self.backbone(batch.x) + self.hidden, batch))


class Halves(Shared):
    def parts(self):
        return {"one": (self.backbone, ("a", "b"))}


class Late(Shared):
    """A scale that is left alone for some steps, as branches are that are learnt; with ``dead`` for ever."""

    def __init__(self, tasks, backbone, options, *, dead=False):
        super().__init__(tasks, backbone, options)
        self.scale = nn.Parameter(torch.ones(1))
        self.dead = dead
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def forward(self, batch):
        self.steps += self.training
        scale = self.scale if self.steps > 500 and not self.dead else self.scale.detach()
        return Output(self.heads(scale * self.backbone(batch.x), batch))


class Dead(Late):
    def __init__(self, tasks, backbone, options):
        super().__init__(tasks, backbone, options, dead=True)


GENERATOR = torch.Generator().manual_seed(0)


@pytest.mark.parametrize(
    ("cls", "message"),
    [
        (ByOrder, "predictions for 'a' depend on the order of the batch, in evaluation"),
        (ByCompany, "predictions for 'a' depend on the other tasks of the batch, in evaluation"),
        (Tells, "expected predictions for tasks of the batch alone, found some for"),
        (Infinite, "expected finite predictions, found others for 'a'"),
        (Routes, "expected routing weights that sum to 1 for each sample"),
        (SharesHeads, "expected all parameters there or in own_parameters, and no others"),
        (Draws, "expected the same predictions after load_state_dict, found others for 'a'"),
        (Halves, r"parts: expected every task once, found \['a', 'b'\]"),
        (Detached, "parameters: expected gradients for all, found none for backbone"),
        (Dead, "parameters: expected gradients for all, found none for scale"),
    ],
)
def test_a_method_that_breaks_a_rule_is_found_out(cls, message):
    line = findings(cls, methods.gradients_reach_every_parameter)
    assert re.search(message, line), line


def test_a_method_that_breaks_none_is_fine():
    assert findings(Shared, methods.gradients_reach_every_parameter) == ""
    assert findings(Late, methods.gradients_reach_every_parameter) == "", "it learns later"


def test_looking_at_later_steps_leaves_the_method_as_it_was():
    given = methods.Subject(lambda seed: Dead.create(TASKS, small_backbone()), TASKS, BATCH)
    before = {key: value.clone() for key, value in given.method.state_dict().items()}
    assert methods.silent_parameters(given) == {"scale"}
    assert all(torch.equal(value, before[key]) for key, value in given.method.state_dict().items())


FORWARDS = {
    "raises": ('raise KeyError("b")', r"methods/mine.py:7: KeyError: 'b'"),
    "forgets": (
        "return replace(output, predictions={k: v for k, v in output.predictions.items() if k != 'b'})",
        r"methods/mine.py:5: Mine.forward: expected predictions for every task of the batch, found none for 'b'",
    ),
    "short": (
        "return replace(output, predictions={k: v[:, :1] for k, v in output.predictions.items()})",
        r"methods/mine.py:5: Mine.forward: expected predictions of shape \(4, 2\) for 'a', found \(4, 1\)",
    ),
    "dictionary": ("return output.predictions", r"methods/mine.py:5: Mine.forward: expected an Output, found dict"),
}
METHOD = """from dataclasses import replace
from mola.methods.shared import Shared

class Mine(Shared):
    def forward(self, batch):
        output = super().forward(batch)
        {line}
"""


@pytest.fixture
def folder(tmp_path):
    yield tmp_path / "mine"
    registry.look_in(None)


@pytest.mark.parametrize("kind", list(FORWARDS))
def test_a_forward_pass_that_goes_wrong_names_file_and_line(folder, kind):
    line, message = FORWARDS[kind]
    registry.look_in(user_folder.fill(folder, methods__mine=METHOD.format(line=line)))
    method = registry.create("methods", "mine", TASKS, small_backbone(), options={})
    with pytest.raises(BadInput, match=f"^{message}"):
        method(BATCH)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = [1, 2]\ny = x[3]\nclass Mine: pass\n", r"^methods/mine.py:2: IndexError: list index out of range"),
        ("from torch import nothing\nclass Mine: pass\n", r"^methods/mine.py:1: ImportError: cannot import name"),
        ("class Other: pass\n", "^methods/mine.py: expected a class named like the file"),
        (
            "class Mine: pass\n",
            "^methods/mine.py: expected Mine to be a class of mola.methods.Method, found one of obj",
        ),
        ("def f(:\n", "mine.py: expected Python, found SyntaxError: invalid syntax"),
        (
            "from mola.methods import Method\nclass Mine(Method): pass\n",
            "^methods/mine.py:2: TypeError: Can't instantiate",
        ),
    ],
)
def test_a_file_that_cannot_be_used_is_named(folder, text, message):
    registry.look_in(user_folder.fill(folder, methods__mine=text))

    def used():
        registry.options_of("methods", "mine")
        registry.create("methods", "mine", TASKS, small_backbone(), options={})

    with pytest.raises(BadInput, match=message):
        used()


BENCHMARK = """from mola.benchmarks import Benchmark
from mola.types import Task

class Mine(Benchmark):
    name, sources = "mine", ()
    heterogeneity = "domain"
    tasks = (Task("one", "classes", 2, ("accuracy",)), Task("{task}", "classes", 2, ("accuracy",)))
    fetch = prepare = arrays = identity = lengths = augmented = None
"""


@pytest.mark.parametrize("task", ["values", "v1.0", "train", ""])
def test_a_task_whose_name_no_model_can_hold_is_one_line(folder, task):
    registry.look_in(user_folder.fill(folder, benchmarks__mine=BENCHMARK.format(task=task)))
    message = rf"^benchmarks/mine.py:4: tasks: expected letters, digits, _ and -, .*; found '{re.escape(task)}'$"
    with pytest.raises(BadInput, match=message):
        registry.create("benchmarks", "mine", folder, options={})


def balancer_findings(cls):
    return " | ".join(problems(balancers.CHECKS, lambda tasks: cls.create(tasks)))


class Forgetful(UW):
    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass

    def parameters(self):
        return []

    def end_epoch(self):
        with torch.no_grad():
            for s in self.s.values():
                s += 0.1


class NoAux(UW):
    def backward(self, losses, aux_loss, shared, rest, features=None):
        super().backward(losses, None, shared, rest, features)


class Replaces(UW):
    def backward(self, losses, aux_loss, shared, rest, features=None):
        for p in (*shared, *rest):
            p.grad = None
        super().backward(losses, aux_loss, shared, rest, features)


class NeedsAll(UW):
    def total(self, losses):
        return super().total({name: losses[name] for name in self.names})


class Twice(UW):
    def backward(self, losses, aux_loss, shared, rest, features=None):
        super().backward({name: 2 * loss for name, loss in losses.items()}, aux_loss, shared, rest, features)


@pytest.mark.parametrize(
    ("cls", "message"),
    [
        (Forgetful, "state_dict: expected all that a resumed run needs"),
        (NoAux, "backward: expected aux_loss to be added with its gradient"),
        (Replaces, "backward: expected gradients to be added to .grad"),
        (NeedsAll, "KeyError: 'a'"),
        (Twice, "backward: expected the gradient of the loss where there is one task"),
    ],
)
def test_a_balancer_that_breaks_a_rule_is_found_out(cls, message):
    line = balancer_findings(cls)
    assert message in line, line
    assert balancer_findings(UW) == ""


class Norming(nn.Module):
    """Statistics of the batch, in evaluation too."""

    num_features = 4

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        y = self.layer(x).mean((2, 3))
        return y - y.mean(0)


class Grows(Norming):
    def forward(self, x):
        y = self.layer(x).mean((2, 3))
        return torch.cat([y, y], 1) if self.training else y


@pytest.mark.parametrize(
    ("cls", "message"),
    [
        (Norming, "do not depend on the others of the batch"),
        (Grows, r"expected features (4, 4) in training, found (4, 8)"),
    ],
)
def test_a_backbone_that_breaks_a_rule_is_found_out(cls, message):
    assert message in " | ".join(problems(backbones.CHECKS, cls, BATCH.x[:4]))
