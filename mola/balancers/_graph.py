"""Which parameters an autograd graph holds, level by level from its end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor


def levels(end: Tensor, stop: Any = None) -> Iterator[list[Tensor]]:
    """The leaves that stand 1, 2, 3 … operations before ``end``; nothing behind the node ``stop``."""
    nodes: list[Any] = [end.grad_fn]
    seen = {end.grad_fn, stop}
    while nodes:
        before: list[Any] = []
        for node in nodes:
            for earlier, _ in node.next_functions:
                if earlier is not None and earlier not in seen:
                    seen.add(earlier)
                    before.append(earlier)
        yield [node.variable for node in before if hasattr(node, "variable")]
        nodes = before
