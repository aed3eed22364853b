"""A whole model on a batch that is sorted by expert, so that its layers need not group the samples, one by one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from mola.layers.gates import open_gates
from mola.types import BadInput


def sorted_pass(model: nn.Module, index: Tensor, *args: Any, **kwargs: Any) -> Any:
    """``model(*args, **kwargs)`` under the index gate (B,) int64, on the batch sorted by expert.

    The output is put back into the batch's order.

    The same result as ``with mola.gate(model, index): model(…)``, with two copies of the batch instead of two at every
    layer. For models that treat samples alike and by themselves: inside, samples come in another order, which hooks see
    and which changes what depends on it (similarities of samples, contrastive losses, lists beside the tensors).

    Every tensor among the arguments must have B rows, and every tensor of the output B rows or none. Raises
    BadInput where that is not so, and as ``mola.gate`` does.
    """
    if not isinstance(index, Tensor) or index.dim() != 1 or index.dtype != torch.int64:
        raise BadInput("sorted_pass: expected a (B,) int64 tensor of expert indices")
    order = index.argsort(stable=True)
    inverse = order.argsort()

    def in_rows(leaf: object, rows: Tensor, what: str) -> object:
        if not isinstance(leaf, Tensor):
            if leaf is None or isinstance(leaf, bool | int | float | str):
                return leaf
            raise BadInput(f"sorted_pass: expected one row per sample of every {what}, found a {type(leaf).__name__}")
        if leaf.dim() == 0:
            return leaf
        if len(leaf) != len(rows):
            raise BadInput(
                f"sorted_pass: expected one row for each of {len(rows)} samples of every {what}, found "
                f"{tuple(leaf.shape)}; use mola.gate instead"
            )
        return leaf[rows.to(leaf.device)]

    def is_list_of_samples(node: object) -> bool:
        return isinstance(node, list | tuple) and len(node) == len(index) and not _has_tensors(node)

    arguments = tree_map(lambda leaf: in_rows(leaf, order, "argument"), (args, kwargs), is_leaf=is_list_of_samples)
    with open_gates(model, index[order], order=order):
        output = model(*arguments[0], **arguments[1])
    return tree_map(lambda leaf: in_rows(leaf, inverse, "output"), output, is_leaf=is_list_of_samples)


def _has_tensors(node: object) -> bool:
    """Whether there is a tensor in nested containers."""
    return any(isinstance(leaf, Tensor) for leaf in tree_leaves(node))
