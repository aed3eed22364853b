"""Probes: what is measured while a method trains, besides its scores. None of them changes a bit of the training.

One file each, named as the key of the suite's ``probes`` section that turns it on; only then it is imported.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

import torch

from mola.methods import Method
from mola.sections import Settings, Training
from mola.training.seeding import random_state, restore_random_state
from mola.types import Benchmark


class Probe(Protocol):
    """Looks at the method after every epoch and at the selected one."""

    name: str

    def after(self, epoch: int, method: Method) -> None:
        """Measure the method after an epoch (counted from 1)."""

    def selected(self, method: Method) -> None:
        """Measure the method as it is reported."""

    def result(self) -> dict[str, Any]:
        """What was measured, for JSON; empty where there was nothing to measure."""

    def state_dict(self) -> Mapping[str, Any]:
        """For the checkpoint."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """From the checkpoint."""


@dataclass(frozen=True)
class Subject:
    """The run that is probed. first: whether its seed is the suite's first."""

    benchmark: Benchmark
    training: Training
    seed: int
    device: torch.device
    first: bool

    @property
    def amp(self) -> bool:
        """Whether forward passes run under autocast."""
        return self.training.amp and self.device.type == "cuda"


def probes(settings: Settings, benchmark: Benchmark, seed: int, device: torch.device, first: bool) -> list[Probe]:
    """The probes that the settings turn on."""
    subject = Subject(benchmark, settings.training, seed, device, first)
    built = [import_module(f"{__name__}.{name}").probe(subject, amount) for name, amount in settings.probes if amount]
    return [probe for probe in built if probe is not None]


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
