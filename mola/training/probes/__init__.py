"""Watches: what is looked at while a method trains, beside the scores. None of them changes a bit of the training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from mola.methods import Method
from mola.training.seeding import random_state, restore_random_state


class Watch(Protocol):
    """Sees the method after every epoch and at the selected one."""

    name: str

    def after(self, epoch: int, method: Method) -> None:
        """Look at the method after an epoch (counted from 1)."""

    def selected(self, method: Method) -> None:
        """Look at the method as it is reported."""

    def told(self) -> dict[str, Any]:
        """What was seen, for JSON; empty where there was nothing to see."""

    def state_dict(self) -> Mapping[str, Any]:
        """For the checkpoint."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """From the checkpoint."""


@contextmanager
def undisturbed(method: Method) -> Iterator[None]:
    """What happens inside leaves the buffers, the mode and the random generators as they were."""
    training, random = method.training, random_state()
    buffers = [(buffer, buffer.clone()) for buffer in method.buffers()]
    try:
        yield
    finally:
        for buffer, value in buffers:
            buffer.copy_(value)
        method.train(training)
        restore_random_state(random)
