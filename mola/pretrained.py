"""Pretrained weights in files: those that come with the package, and what a file says about itself, without torch."""

from __future__ import annotations

import json
from pathlib import Path

from mola.types import BadInput

# of ``backbone.weights: tiny``; tools/pretrain_tiny.py makes it
TINY = Path(__file__).parent / "models" / "tiny.safetensors"
LONGEST_HEADER = 100_000_000  # bytes; the format's limit


def metadata(path: Path) -> dict[str, str]:
    """What stands under ``__metadata__`` in the header of a .safetensors file: a length of 8 bytes, and as many bytes
    of JSON. Empty where there is none, for files of other kinds, and for a file that is not there.

    Raises BadInput where the header is damaged.
    """
    if path.suffix != ".safetensors" or not path.is_file():
        return {}
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            content: dict[str, dict[str, str]] = json.loads(file.read(min(length, LONGEST_HEADER)))
        entries = content.get("__metadata__", {})
        return {str(key): str(value) for key, value in entries.items()}
    except (OSError, ValueError, AttributeError, RecursionError):
        raise BadInput(f"backbone.weights: expected a safetensors file, found {path} without its header") from None


def saw(path: Path) -> tuple[str, ...]:
    """The entries of the metadata key ``saw``: benchmarks, ``<benchmark>.<task>`` or sources of data whose test images
    the pretraining saw.
    """
    return tuple(filter(None, (name.strip() for name in metadata(path).get("saw", "").split(","))))
