"""Which parameters of an adapted model learn."""

from __future__ import annotations

from typing import Literal, get_args

from torch import nn
from torch.nn import Parameter

from mola.layers.adapter import adapter_parameters
from mola.layers.merging import required_layers
from mola.types import BadInput

Part = Literal["all", "adapters", "shared"]


def trainable(model: nn.Module, part: Part) -> list[Parameter]:
    """Let a part of an adapted model learn and freeze the rest; returns the parameters that learn, for the optimiser.

    part: "adapters", the matrices A and B of all experts; "shared", all else; "all", everything (the paper's way).

    Only ``requires_grad`` is set: BatchNorm in training mode goes on to take statistics of its batches. Raises BadInput
    for a model without adapters.
    """
    required_layers(model, "trainable")
    if part not in get_args(Part):
        raise BadInput(f"trainable: expected {', '.join(get_args(Part))}, found {part!r}")
    adapters = set(adapter_parameters(model))
    for parameter in model.parameters():
        parameter.requires_grad_(part == "all" or (parameter in adapters) == (part == "adapters"))
    return [parameter for parameter in model.parameters() if parameter.requires_grad]
