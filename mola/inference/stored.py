"""A run's weights in a file: safetensors, with the description of the model in its head."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from mola import files
from mola.inference.description import VERSION, Description
from mola.registry import explain
from mola.types import BadInput

if TYPE_CHECKING:
    from torch import Tensor

NAME = "weights.safetensors"  # of the file beside a record
HEAD = 8  # bytes that tell the length of the head of a safetensors file
LONGEST = 100_000_000  # bytes of a head, as safetensors itself has it


def write(path: Path, state: Mapping[str, Tensor], description: Description, sha256: str) -> None:
    """Write a state; the file appears whole or not at all. sha256: of the weights, as the record has it."""
    from safetensors.torch import save

    about = {"weights_sha256": sha256, "order": list(state), "description": asdict(description)}
    # cloned, as the format refuses tensors that share their memory
    tensors = {name: value.detach().cpu().clone().contiguous() for name, value in state.items()}
    content = save(tensors, {"mola": json.dumps(about)})
    files.write(path, lambda temporary: temporary.write_bytes(content))


def checksum(path: Path) -> str | None:
    """``weights_sha256`` as the head of a file tells it, read without torch; None where there is no such file."""
    try:
        return str(_about(path)["weights_sha256"])
    except (BadInput, KeyError, TypeError):
        return None


def read(path: Path) -> tuple[Description, dict[str, Tensor]]:
    """The description and the state, in its order. Raises BadInput for a file that is missing or damaged."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    from mola.training.checksum import weights_sha256

    about = _about(path)
    try:
        tensors = load(path.read_bytes())
        state = {name: tensors[name] for name in about["order"]}
        expected = about["weights_sha256"]
    except (SafetensorError, OSError, KeyError, TypeError) as error:
        raise BadInput(f"{path}: expected the weights of a run, found a damaged file: {error}") from None
    if (actual := weights_sha256(state)) != expected:
        raise BadInput(f"{path}: expected weights with sha256 {expected}, found {actual}")
    return parsed(about.get("description"), path), state


def parsed(content: object, path: Path) -> Description:
    """A description as JSON gives it. Raises BadInput, which names the file, for another version or a wrong value."""
    version = content.get("version") if isinstance(content, dict) else None
    if version != VERSION:
        raise BadInput(f"{path}: expected a model of version {VERSION}, found version {version}")
    try:
        return TypeAdapter(Description).validate_python(content)
    except ValidationError as error:
        raise BadInput(f"{path}: {explain(error, 'description')}") from None


def _about(path: Path) -> dict[str, Any]:
    """What the head of a safetensors file says besides its tensors. Raises BadInput where there is no such head."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(HEAD), "little")
            head = json.loads(file.read(length)) if 0 < length < LONGEST else {}
        about = json.loads(head["__metadata__"]["mola"])
    except FileNotFoundError:
        raise BadInput(f"{path}: expected the weights of a run, found none") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{path}: expected the weights of a run, found none that can be read: {error}") from None
    if not isinstance(about, dict):
        raise BadInput(f"{path}: expected the weights of a run, found other metadata")
    return about
