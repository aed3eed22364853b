"""A model as a graph for other runtimes: ONNX, and torch.export; each is compared with the model before it counts."""

from __future__ import annotations

import importlib.util
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from mola.inference.merged import TOLERANCE, are_equal, backbone_and_head, dense_gate, example
from mola.inference.model import Model, Separate, Whole
from mola.layers.adapter import adapted_layers
from mola.methods._adapted import AdaptedMethod, Gates
from mola.types import BadInput, Batch, one_line

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
Answer = Callable[[Tensor], list[Tensor]]
SIZES = (1, 3)  # batches that a graph is compared on, beside the one that it was traced with


class Graph(nn.Module):
    """What a graph computes: (B, 3, H, W) float, normalised → the predictions of some tasks, in this order."""

    def __init__(self, model: Model, tasks: tuple[str, ...], network: nn.Module | None) -> None:
        super().__init__()
        self.model, self.tasks, self.network = model, tasks, network

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Each task's predictions, in the unit of its targets."""
        answers = self._together(x) if self.network is None else [self.network(x)]
        return tuple(self.model.in_unit(name, answer) for name, answer in zip(self.tasks, answers, strict=True))

    def _together(self, x: Tensor) -> list[Tensor]:
        """All tasks in one pass, as where every image has every task: no row is chosen by its task."""
        assert isinstance(self.model.core, Whole)
        predictions = self.model.core.method(self.model.core.batch(x, self.tasks, apart=False)).predictions
        return [predictions[name] for name in self.tasks]


Write = Callable[[Graph, Tensor, Path], Answer]


def write_graphs(model: Model, folder: Path, *, onnx: bool, torch_export: bool) -> list[str]:
    """Write the graphs asked for: one for each task that has a network of its own, else one with an output for each
    task. Returns the names of the files.

    Raises BadInput where a package is missing, a method can't be traced, and where a graph gives other numbers.
    """
    if onnx:
        check_onnx()
    files = []
    for name, graph in _graphs(model).items():
        for option, ending, write, requested in (
            ("--onnx", "onnx", _onnx, onnx),
            ("--torch-export", "pt2", _torch_export, torch_export),
        ):
            if requested:
                file = f"{name}.{ending}"
                with _quiet(), _traceable(model):
                    _check(option, model, graph, _traced(option, model, graph, write, folder / file))
                files.append(file)
    return files


def check_onnx() -> None:
    """Raise BadInput where a package that ONNX needs is not installed."""
    if missing := [name for name in PACKAGES if importlib.util.find_spec(name) is None]:
        raise BadInput(
            f"--onnx: expected {', '.join(PACKAGES)} to be installed, found no {missing[0]}; "
            "pip install 'mola-bench[onnx]'"
        )


def file_names(tasks: tuple[str, ...]) -> dict[str, str]:
    """Task → the name of its files, without an ending: its own; of all tasks their numbers, where one's is none."""
    if all(name and all(c.isalnum() or c in "-_" for c in name) for name in tasks):
        return {name: name for name in tasks}
    return {name: f"task{number}" for number, name in enumerate(tasks)}


def _graphs(model: Model) -> dict[str, Graph]:
    networks = {name: _network(model, name) for name in model.tasks}
    if all(networks.values()):
        titles = file_names(model.tasks)
        return {titles[name]: Graph(model, (name,), network).eval() for name, network in networks.items()}
    if model.needs_task:
        name = model.description.method
        raise BadInput(f"{name}: expected a method whose tasks have networks, for a graph each; found one that mixes")
    return {"model": Graph(model, model.tasks, None).eval()}


def _network(model: Model, task: str) -> nn.Module | None:
    core = model.core
    if isinstance(core, Separate):
        return core.networks[core.places[task]]
    assert isinstance(core, Whole)
    parts = backbone_and_head(core, task)
    return nn.Sequential(*parts) if parts else None


def _traced(
    option: str, model: Model, graph: Graph, write: Callable[[Graph, Tensor, Path], Answer], path: Path
) -> Answer:
    try:
        return write(graph, example(model.description), path)
    # whatever a tracer does with what it does not expect
    except Exception as error:
        reason = one_line(f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}", 160)
        raise BadInput(
            f"{option}: expected a method that can be traced, found {model.description.method}: {reason}"
        ) from None


@torch.no_grad()
def _check(option: str, model: Model, graph: Graph, answer: Answer) -> None:
    """Raise BadInput where a written graph and the model differ, on batches of several sizes."""
    for size in SIZES:
        x = example(model.description, size)
        for name, actual in zip(graph.tasks, answer(x), strict=True):
            expected = model(x, name)
            if not isinstance(expected, Tensor) or not are_equal(actual, expected):
                raise BadInput(f"{option}: expected predictions of {name} equal to {TOLERANCE:g}, found others")


def _onnx(graph: Graph, x: Tensor, path: Path) -> Answer:
    import onnxruntime

    torch.onnx.export(
        graph, (x,), path, dynamo=True, dynamic_shapes=_any_batch(), verbose=False,
        input_names=["images"], output_names=list(graph.tasks), external_data=False,
    )  # fmt: skip
    session = onnxruntime.InferenceSession(path)
    return lambda images: [torch.from_numpy(each) for each in session.run(None, {"images": images.numpy()})]


def _torch_export(graph: Graph, x: Tensor, path: Path) -> Answer:
    program = torch.export.export(graph, (x,), dynamic_shapes=_any_batch(), strict=False)
    torch.export.save(program, path)
    loaded = torch.export.load(path).module()
    return lambda images: list(loaded(images))


def _any_batch() -> tuple[dict[int, object]]:
    return ({0: torch.export.Dim("batch", min=1, max=1024)},)


@contextmanager
def _traceable(model: Model) -> Iterator[None]:
    """Inside, adapters are mixed by the weights of all experts: which of them an image has is no shape of a graph."""
    method = model.core.method if isinstance(model.core, Whole) else None
    if not isinstance(method, AdaptedMethod):
        yield
        return
    decide = method.gates
    experts = next(iter(adapted_layers(method.backbone).values())).experts

    def gates(batch: Batch) -> Gates:
        decided = decide(batch)
        return replace(decided, gate=dense_gate(decided.gate, experts))

    method.__dict__["gates"] = gates
    try:
        yield
    finally:
        del method.__dict__["gates"]


@contextmanager
def _quiet() -> Iterator[None]:
    """Tracers tell of their own affairs."""
    before = logging.root.manager.disable
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(before)
