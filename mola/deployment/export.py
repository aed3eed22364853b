"""``mola export``: a run's model in a folder that needs nothing else of the run."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from mola.deployment.card import card
from mola.deployment.graphs import check_onnx, file_names, write_graphs
from mola.deployment.run import KeptRun
from mola.files import write_json, write_text
from mola.inference.load import CONFIG, whole_of_run
from mola.inference.merged import depends_on_task, merged
from mola.inference.model import Model, Separate, Whole
from mola.types import BadInput

CARD = "README.md"
# of the record, for whoever compares models
RECORDED = {"suite", "benchmark", "method", "seed", "commit", "dirty", "time", "selected", "test", "weights_sha256"}


def export(run: KeptRun, folder: Path, *, onnx: bool = False, torch_export: bool = False) -> list[str]:
    """Write the model of a run into a new folder, which appears whole or not at all; returns the names of its files.

    Where every task of the method is a plain network, adapters and norms are merged into a timm model for each task;
    else the method is stored as it was trained. What is written gives the predictions of the run to 1e-5.
    Raises BadInput where the folder is there and not empty, and for graphs as :func:`write_graphs`.
    """
    if onnx:
        check_onnx()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadInput(f"{folder}: expected a new or empty folder, found one with files; choose another with -o")
    whole = whole_of_run(run.folder)
    # "." has no name to put something beside
    folder = folder.resolve()
    scratch = folder.with_name(f"{folder.name}.tmp")
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        scratch.mkdir(parents=True)
        _write(run, whole, scratch, onnx=onnx, torch_export=torch_export)
        if folder.exists():
            folder.rmdir()
        scratch.rename(folder)
    except OSError as error:
        raise BadInput(f"{folder}: expected a folder that can be written, found: {error.strerror}") from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return sorted(path.name for path in folder.iterdir())


def _write(run: KeptRun, whole: Whole, folder: Path, *, onnx: bool, torch_export: bool) -> None:
    networks = {name: network for name in whole.description.names if (network := merged(whole, name))}
    needs_task, plain = depends_on_task(whole), len(networks) == len(whole.description.tasks)
    core = Separate(networks) if plain else whole
    model = Model(core, whole.description, needs_task).eval()
    states = {name: network.state_dict() for name, network in networks.items()} if plain else {}
    titles = file_names(whole.description.names)
    files = {name: _store(folder, titles[name], state) for name, state in states.items()}
    if not plain:
        files = {"model": _store(folder, "model", whole.method.state_dict())}
    graphs = write_graphs(model, folder, onnx=onnx, torch_export=torch_export)
    config: dict[str, Any] = {
        "form": "merged" if plain else "whole",
        "needs_task": model.needs_task,
        "files": files,
        "graphs": graphs,
        "description": asdict(whole.description.with_all_weights()),
        "run": run.record.model_dump(include=RECORDED),
    }
    write_text(folder / CARD, card(run, whole.description, config, graphs))
    write_json(folder / CONFIG, config)


def _store(folder: Path, title: str, state: dict[str, Tensor]) -> dict[str, str]:
    """Write weights as safetensors; returns the file's name and checksum."""
    # cloned, as the format refuses tensors that share their memory
    content = save({name: value.detach().clone().contiguous() for name, value in state.items()})
    (folder / f"{title}.safetensors").write_bytes(content)
    return {"file": f"{title}.safetensors", "sha256": hashlib.sha256(content).hexdigest()}
