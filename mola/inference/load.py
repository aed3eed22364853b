"""``mola.load_model``: a folder of ``mola export``, or of a run with kept weights, as a module."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as tensors_of
from torch import Tensor

from mola import registry
from mola.inference import stored
from mola.inference.build import build
from mola.inference.merged import depends_on_task, plain_network
from mola.inference.model import Model, Separate, Whole
from mola.types import BadInput

CONFIG = "config.json"
HOW_TO_KEEP = "`keep: best` in the suite keeps them, and mola train --keep makes those of finished runs"


def load_model(path: Path | str, *, plugins: Path | str | None = None) -> Model:
    """A trained model in evaluation mode, on the CPU: ``model(x, task="photo")``.

    path:    a folder that ``mola export`` wrote, or a run's folder, ``…/seed0``, where its weights were kept.
    plugins: where methods of the user's own lie, as a suite says it.
    Raises BadInput for a folder that is neither, and for files that are missing or damaged.
    """
    folder = Path(path)
    if plugins is not None:
        registry.look_in(Path(plugins))
    if (folder / CONFIG).is_file():
        return _exported(folder)
    if not (folder / stored.NAME).is_file():
        wish = "expected a folder of mola export, or a run with kept weights"
        raise BadInput(f"{folder}: {wish}, found neither {CONFIG} nor {stored.NAME}; {HOW_TO_KEEP}")
    whole = whole_of_run(folder)
    return Model(whole, whole.description, depends_on_task(whole)).eval()


def whole_of_run(folder: Path) -> Whole:
    """The method of a run's folder with its kept weights. Raises BadInput where there are none."""
    path = folder / stored.NAME
    if not path.is_file():
        raise BadInput(f"{folder}: expected a run with kept weights, found no {stored.NAME}; {HOW_TO_KEEP}")
    description, state = stored.read(path)
    return Whole(build(description, state, path), description)


def _exported(folder: Path) -> Model:
    path = folder / CONFIG
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        form, files, needs_task = content["form"], content["files"], bool(content["needs_task"])
        states = {name: _tensors(folder / entry["file"], entry["sha256"]) for name, entry in files.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(f"{path}: expected what mola export writes, found: {type(error).__name__}: {error}") from None
    description = stored.parsed(content.get("description"), path)
    if form == "whole":
        (state,) = states.values()
        return Model(Whole(build(description, state, folder), description), description, needs_task).eval()
    networks = {}
    for task, state in states.items():
        networks[task] = plain_network(description, task)
        try:
            networks[task].load_state_dict(state)
        except RuntimeError as error:
            # its message has a line for each tensor
            first = str(error).partition("\n")[2].partition("\n")[0].strip()
            raise BadInput(
                f"{path}: expected the description of these weights, found that of others: {first}"
            ) from None
    return Model(Separate(networks), description, needs_task).eval()


def _tensors(path: Path, sha256: str) -> dict[str, Tensor]:
    """Raises BadInput for a file that is missing, damaged or another one."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path}: expected weights, found: {error.strerror}") from None
    if (actual := hashlib.sha256(content).hexdigest()) != sha256:
        raise BadInput(f"{path}: expected weights with sha256 {sha256}, found {actual}")
    try:
        return tensors_of(content)
    except SafetensorError as error:
        raise BadInput(f"{path}: expected weights, found: {error}") from None
