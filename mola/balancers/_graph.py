"""Which parameters an autograd graph holds, level by level from its end, and what uses them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor


def levels(end: Tensor, stop: Any = None) -> Iterator[list[Tensor]]:
    """The leaves that stand 1, 2, 3 … operations before ``end``; nothing behind the node ``stop``."""
    nodes: list[Any] = [end.grad_fn]
    visited = {end.grad_fn, stop}
    while nodes:
        before: list[Any] = []
        for node in nodes:
            for earlier, _ in node.next_functions:
                if earlier is not None and earlier not in visited:
                    visited.add(earlier)
                    before.append(earlier)
        yield [node.variable for node in before if hasattr(node, "variable")]
        nodes = before


def leaves(ends: Sequence[Tensor]) -> list[Tensor]:
    """All leaves behind any of the ends, each once; an end may be a leaf itself."""
    waiting: list[Any] = [end.grad_fn for end in ends if end.grad_fn is not None]
    visited, result = set(waiting), {id(end): end for end in ends if end.grad_fn is None and end.requires_grad}
    while waiting:
        for earlier, _ in waiting.pop().next_functions:
            if earlier is not None and earlier not in visited:
                visited.add(earlier)
                if hasattr(earlier, "variable"):
                    result[id(earlier.variable)] = earlier.variable
                else:
                    waiting.append(earlier)
    return list(result.values())


def users(end: Tensor, leaves: Sequence[Tensor]) -> set[Any]:
    """The nodes behind ``end`` that take one of the leaves."""
    ids = {id(leaf) for leaf in leaves}
    waiting, visited, takers = [end.grad_fn], {None, end.grad_fn}, set[Any]()
    while waiting:
        node: Any = waiting.pop()
        for earlier, _ in node.next_functions if node else ():
            if id(getattr(earlier, "variable", None)) in ids:
                takers.add(node)
            elif earlier not in visited:
                visited.add(earlier)
                waiting.append(earlier)
    return takers
