"""Balancers: from the losses of the tasks to one gradient. One file each; the file's name is the balancer's name.

::

    balancer = mola.balancers.create("pcgrad", tasks=["a", "b"])
    balancer.backward({"a": loss_a, "b": loss_b}, shared=trunk.parameters())
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import device as Device

    from mola.balancers._standalone import Standalone
    from mola.types import Kind


def names() -> tuple[str, ...]:
    """The names of all balancers, sorted."""
    from mola import registry

    return registry.names("balancers")


def create(
    name: str, tasks: Sequence[str] | Mapping[str, Kind], device: Device | str | None = None, **options: Any
) -> Standalone:
    """A balancer for a training loop of one's own.

    tasks:   the names of all tasks; a batch may lack some. Or name → kind (``classes``, ``regression``, …), which
             ``uw`` alone looks at: it takes half of the losses of measurements.
    device:  where the losses will be; the CPU by default.
    options: of the balancer, as in a suite; ``mola list`` shows them.

    Raises BadInput for an unknown name, a wrong option, and tasks without or with equal names.
    """
    # on first use: planning reads this package without torch
    from mola.balancers._standalone import standalone

    return standalone(name, tasks, device, options)
