"""From a description and a state to the method that was trained."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from mola import registry
from mola.inference.description import Description
from mola.layers.frozen import is_frozen
from mola.methods import Method
from mola.metrics.kinds import KINDS
from mola.models.backbones import Builder, builder
from mola.types import BadInput


def build(description: Description, state: Mapping[str, Tensor], origin: object) -> Method:
    """The method in evaluation mode, on the CPU. The caller's random numbers stay as they are.

    origin: of the state, for messages. Raises BadInput where the state is that of another model, and where the frozen
    stages are not in it, as their features were kept, and their file is not there.
    """
    section = dict(description.backbone)
    # the state of a model that was trained on kept features has no frozen stages: they are those of the pretrained file
    has_prefix = not section.pop("cached_views", None)
    if has_prefix:
        section["weights"] = None
    with torch.random.fork_rng(devices=[]):
        method: Method = registry.create(
            "methods",
            description.method,
            description.tasks,
            _backbone(section, description),
            options=description.method_options,
        )
    missing, unexpected = _differences(method, state)
    if not has_prefix:
        missing -= {
            f"{name}.{key}" for name, part in method.named_modules() if is_frozen(part) for key in part.state_dict()
        }
    if wrong := sorted(missing | unexpected):
        kind = "more weights" if unexpected else "fewer weights"
        raise BadInput(f"{origin}: expected the state of {description.method}, found {kind}: {wrong[0]}")
    method.load_state_dict(dict(state), strict=False)
    return method.eval()


def _differences(method: Method, state: Mapping[str, Tensor]) -> tuple[set[str], set[str]]:
    """The names that a state lacks, and those that the method has not; other shapes count as both."""
    expected = {name: value.shape for name, value in method.state_dict().items()}
    given = {name: value.shape for name, value in state.items()}
    missing = {name for name, shape in expected.items() if given.get(name) != shape}
    return missing, {name for name, shape in given.items() if expected.get(name) != shape}


def _backbone(section: dict[str, object], description: Description) -> Builder:
    dense = any(KINDS[task.kind].dense for task in description.tasks)
    if ":" not in str(section["name"]):
        return builder(**section, dense=dense)  # type: ignore[arg-type]
    from mola.models import custom

    # they show the number of features, whatever is on them
    images = torch.zeros(2, 3, *description.images.visible_size)
    return custom.builder(**section, dense=dense, images=images)  # type: ignore[arg-type]
