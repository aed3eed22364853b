"""Options are classes: read from the source as they are in Python, inherited, and torch-free to plan with."""

import importlib
import re
import subprocess
import sys

import pytest
import torch

from mola import registry
from mola.balancers.sum import Sum
from mola.losses import task_losses
from mola.methods import Method
from mola.models.backbones import builder
from mola.options_source import options_class
from mola.types import Batch, Task

KINDS = ("methods", "balancers", "benchmarks")
TASKS = tuple(Task(name, "classes", 3, ("accuracy",)) for name in ("a", "b"))
SUBCLASS = """
from __future__ import annotations
from dataclasses import replace
from pydantic import Field, PositiveFloat
from mola.methods.mola_grad import MoLAGrad as Parent
from mola.types import Rank as Number
SCALE = 0.5
Numbers = Number | None

class Scaled(Parent):
    class Options(Parent.Options):
        scale: PositiveFloat = Field(SCALE, description="factor of the predictions")
        other: Numbers = None

    def __init__(self, tasks, backbone, options: Options) -> None:
        super().__init__(tasks, backbone, options)
        self.scale = options.scale

    def forward(self, batch):
        output = super().forward(batch)
        return replace(output, predictions={name: self.scale * y for name, y in output.predictions.items()})
"""
DOCUMENTED = (registry.PACKAGE.parent / "docs/add-a-method.md").read_text()
EXAMPLES = {
    "scaled.Scaled": (SUBCLASS, {"scale": 0.5, "other": None}),
    "task_bias.TaskBias": (re.findall(r"```python\n(.*?)```", DOCUMENTED, re.DOTALL)[0], {"scale": 1.0}),
    "lora_colour.LoRAColour": (re.findall(r"```python\n(.*?)```", DOCUMENTED, re.DOTALL)[1], {"sharpness": 1.0}),
}
ADAPTED = {
    "norm": "shared",
    "rank": 4,
    "alpha": 16.0,
    "where": ".*(layer|stages|blocks).*",
    "factorisation": "loralib",
    "freeze": False,
}


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in KINDS for name in registry.names(kind)])
def test_options_read_from_the_source_are_those_of_the_class(kind, name):
    options = registry.load(kind, name).Options
    assert registry.options_of(kind, name).model_json_schema() == options.model_json_schema()
    assert registry.check_options(kind, name, {}, name) == dict(options())  # every option has a default
    for field in options.model_fields.values():
        assert field.description is None or re.fullmatch(r"\S.*[^.\s]", field.description)


@pytest.mark.parametrize("path", EXAMPLES)
def test_an_example_inherits_the_options_of_its_parent_and_learns(path, tmp_path, monkeypatch):
    module, name = path.split(".")
    source, added = EXAMPLES[path]
    (tmp_path / f"{module}.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    example = getattr(importlib.import_module(module), name)
    assert options_class(module, name).model_json_schema() == example.Options.model_json_schema()
    expected = {"norm": "shared"} | added if example.__base__ is Method else ADAPTED | added
    assert dict(example.Options()) == expected
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from mola.options_source import options_class\n"
        f"assert dict(options_class({module!r}, {name!r})()) == {expected}\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=registry.PACKAGE.parent)

    method = example.create(TASKS, builder("test_resnet", {"zero_init_last": False}), **{next(iter(added)): 2.0})
    y = {task.name: torch.zeros(2, dtype=torch.int64) for task in TASKS}
    batch = Batch(torch.randn(4, 3, 32, 32), torch.tensor([0, 0, 1, 1]), y, tuple(y))
    before = {key: value.clone() for key, value in method.named_parameters()}
    output = method(batch)
    losses = task_losses(TASKS, output, batch)
    Sum.create().backward(losses, output.aux_loss, method.shared_parameters(), method.own_parameters())
    torch.optim.SGD(method.parameters(), 0.1).step()
    changed = {key for key, value in method.named_parameters() if not torch.equal(value, before[key])}
    assert changed == {key for key in before if not key.endswith(".A")}  # B = 0 hides the gradient of A


HEAD = """
from pydantic import field_validator
from mola.options import Configurable, Options as BaseOptions
"""
ODD_FORMS = {
    "a tuple of constants": "LOW, HIGH = 1, 16\nclass X(Configurable):\n class Options(BaseOptions):\n  n: int = HIGH",
    "a constant that grows": "N = 3\nN += 4\nclass X(Configurable):\n class Options(BaseOptions):\n  n: int = N",
    "a constant under a condition": (
        "N = 3\nif N:\n N = 5\nclass X(Configurable):\n class Options(BaseOptions):\n  n: int = N"
    ),
    "a builtin's name": "max = 7\nclass X(Configurable):\n class Options(BaseOptions):\n  n: int = max",
    "names that swap": (
        "from mola.types import Plan as Rank, Rank as Plan\n"
        "class X(Configurable):\n class Options(BaseOptions):\n  n: Plan = 3"
    ),
    "a parent behind a module": "import mola.methods._adapted as adapted\nclass X(adapted.MixedMethod): pass",
    "options that are assigned": (
        "class A(Configurable):\n class Options(BaseOptions):\n  n: int = 2\n"
        "class X(Configurable):\n Options = A.Options"
    ),
    "a diamond": (
        "class A(Configurable):\n class Options(BaseOptions):\n  n: int = 1\n"
        "class B(A): pass\n"
        "class C(A):\n class Options(A.Options):\n  m: int = 2\n"
        "class X(B, C): pass"
    ),
    "the first of two parents": (
        "class A(Configurable):\n class Options(BaseOptions):\n  n: int = 1\n"
        "class B(A):\n class Options(A.Options):\n  m: int = 2\n"
        "class C(B): pass\n"
        "class D(A):\n class Options(A.Options):\n  k: int = 3\n"
        "class X(D, C): pass"
    ),
    "functions that call each other": (
        "def even(n): return n == 0 or odd(n - 1)\ndef odd(n): return n != 0 and even(n - 1)\n"
        "class X(Configurable):\n class Options(BaseOptions):\n  n: bool = even(4)"
    ),
    "a validator": (
        "SCALE = 2\nclass X(Configurable):\n class Options(BaseOptions):\n  n: int = 1\n"
        "  @field_validator('n')\n  def _positive(cls, value):\n   assert value * SCALE > 0\n   return value"
    ),
}


@pytest.mark.parametrize("form", ODD_FORMS)
def test_odd_forms_are_read_as_python_does(form, tmp_path, monkeypatch):
    module = f"odd_{abs(hash(form))}"
    (tmp_path / f"{module}.py").write_text(HEAD + ODD_FORMS[form])
    monkeypatch.syspath_prepend(tmp_path)
    read = options_class(module, "X")
    options = importlib.import_module(module).X.Options
    assert list(read.model_fields) == list(options.model_fields)
    assert dict(read()) == dict(options())
