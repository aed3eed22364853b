"""A batch sorted by expert at a model's entry, and the output put back into the batch's order at its exit."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_map


def sort_rows(arguments: Any, order: Tensor) -> Any:
    """The same containers with the rows of every tensor in ``order`` (B,) int64."""
    return tree_map(lambda leaf: leaf[order] if isinstance(leaf, Tensor) and leaf.dim() else leaf, arguments)


def restore_rows(output: Any, inverse: Tensor) -> Any:
    """A model's output with the rows of its tensors in ``inverse`` (B,) int64; numbers stay as they are.

    Whether a tensor of another length than B holds samples, and in which order, can't be known: RuntimeError.
    """
    return tree_map(lambda leaf: _restored(leaf, inverse), output)


def _restored(leaf: object, inverse: Tensor) -> object:
    if isinstance(leaf, Tensor):
        if leaf.dim() and len(leaf) != len(inverse):
            raise RuntimeError(
                f"gate: can't put an output {tuple(leaf.shape)} back into the order of {len(inverse)} samples; let the "
                "model return one row per sample, or sort the batch by expert"
            )
        return leaf[inverse] if leaf.dim() else leaf
    if leaf is None or isinstance(leaf, bool | int | float | str):
        return leaf
    raise RuntimeError(
        f"gate: can't put a {type(leaf).__name__} back into the batch's order; let the model return tensors, in lists "
        "or dictionaries if need be, or sort the batch by expert"
    )
