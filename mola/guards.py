"""A plugin's class as runs take it: its errors name file and line; a benchmark's names of tasks are looked at, and a
method's predictions.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from mola import faults, plugins
from mola.plugins import Plugin
from mola.task_names import check_task_names
from mola.types import BadInput, Batch, Output, Task

BASES = {
    "methods": ("mola.methods", "Method"),
    "balancers": ("mola.balancers._base", "Base"),
    "benchmarks": ("mola.benchmarks", "Benchmark"),
}
# what runs call while they train; an error before that ends the command, which names it all the same
CALLED = {"methods": ("forward",), "balancers": ("backward", "end_epoch"), "benchmarks": ("batches", "batch")}


def guarded(plugin: Plugin, name: str) -> Any:
    """The class ``name`` of a plugin, guarded. Raises BadInput, with file and line, where there is none of its kind."""
    with faults.named(plugin.file):
        cls = getattr(plugins.imported(plugin), name, None)
    module, base = BASES[plugin.kind]
    if not isinstance(cls, type) or (module, base) not in [(c.__module__, c.__qualname__) for c in cls.__mro__]:
        kind = "no class" if not isinstance(cls, type) else f"one of {', '.join(c.__name__ for c in cls.__bases__)}"
        raise BadInput(f"{plugins.shown(plugin.file)}: expected {name} to be a class of {module}.{base}, found {kind}")
    return _subclass(cls, plugin.kind)


@cache
def _subclass(cls: Any, kind: str) -> Any:
    members: dict[str, Any] = {
        "__module__": cls.__module__,
        "__qualname__": cls.__qualname__,
        "__doc__": cls.__doc__,
        **{name: faults.naming(getattr(cls, name)) for name in CALLED[kind] if hasattr(cls, name)},
    }
    if kind == "methods":
        members |= _with_looked_at_predictions(cls, members["forward"])
    if kind == "benchmarks":
        members["__init__"] = _with_looked_at_names(cls)
    return type(cls)(cls.__name__, (cls,), members)


def _with_looked_at_names(cls: Any) -> Any:
    """A constructor that refuses tasks whose names no model can hold."""

    def init(self: Any, *arguments: Any) -> None:
        cls.__init__(self, *arguments)
        file, line = faults.definition(cls)
        check_task_names([task.name for task in self.tasks], f"{plugins.shown(file) or file}:{line}: tasks")

    return init


def _with_looked_at_predictions(cls: Any, answer: Any) -> dict[str, Any]:
    """A constructor that keeps the tasks, and a forward pass whose predictions are compared with them."""

    def init(self: Any, tasks: Sequence[Task], *rest: Any) -> None:
        cls.__init__(self, tasks, *rest)
        self.__dict__["_expected"] = tuple(tasks)

    def forward(self: Any, batch: Batch) -> Output:
        output: Output = answer(self, batch)
        if problem := wrong_with(output, batch, self._expected):
            file, line = faults.definition(cls, "forward")
            raise faults.PluginError(f"{plugins.shown(file) or file}:{line}: {cls.__name__}.forward: {problem}")
        return output

    return {"__init__": init, "forward": forward}


def wrong_with(output: Any, batch: Batch, tasks: Sequence[Task]) -> str | None:
    """What is wrong with a method's answer to a batch: no ``Output``, a task without predictions, or another shape than
    (B_t, K), for targets that are maps (B_t, K, H, W). None where nothing is.
    """
    if not hasattr(output, "predictions") or not hasattr(output, "aux_loss"):
        return f"expected an Output, found {type(output).__name__}"
    for task in tasks:
        if (target := batch.y.get(task.name)) is None:
            continue
        predictions = output.predictions.get(task.name)
        if predictions is None:
            return f"expected predictions for every task of the batch, found none for '{task.name}'"
        maps = target.shape[-2:] if target.dim() > 2 else ()
        expected = (len(target), task.outputs, *maps)
        shape = getattr(predictions, "shape", None)
        if shape is None or tuple(shape) != expected:
            actual = type(predictions).__name__ if shape is None else tuple(shape)
            return f"expected predictions of shape {expected} for '{task.name}', found {actual}"
    return None
