"""What every backbone of the user's own has to do with images."""

from __future__ import annotations

import torch
from torch import Tensor

from mola.conformance.fault import require
from mola.models.backbones import Builder, width


def gives_features_in_both_modes(build: Builder, images: Tensor) -> None:
    """(B, F), or maps (B, F, h, w), in training and in evaluation, finite, for a batch of any size."""
    model = build()
    for mode in (True, False):
        model.train(mode)
        for number in (len(images), len(images) - 1 or 1):
            output = model(images[:number])
            what = "training" if mode else "evaluation"
            shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            fine = isinstance(output, Tensor) and output.dim() in (2, 4) and output.shape[:2] == (number, width(model))
            require(fine, f"expected features ({number}, {width(model)}) in {what}, found {shape}")
            require(output.isfinite().all(), f"expected finite features in {what}")


def an_image_does_not_depend_on_its_company(build: Builder, images: Tensor) -> None:
    """In evaluation the features of an image are the same whatever else is in the batch."""
    model = build().eval()
    with torch.no_grad():
        same = torch.allclose(model(images)[:1], model(images[:1]), rtol=1e-3, atol=1e-3)
    require(same, "expected features of an image that do not depend on the others of the batch, in evaluation")


def same_seed_same_weights(build: Builder, images: Tensor) -> None:
    """The weights depend on torch's generator alone, and the state of one makes another the same."""

    def built(seed: int) -> torch.nn.Module:
        torch.manual_seed(seed)
        return build()

    one, two, other = built(0), built(0), built(1)
    differing = [key for key, value in one.state_dict().items() if not torch.equal(value, two.state_dict()[key])]
    require(not differing, f"expected the same weights from the same seed, found others in {', '.join(differing[:3])}")
    other.load_state_dict(one.state_dict())
    with torch.no_grad():
        same = torch.allclose(one.eval()(images), other.eval()(images), rtol=1e-3, atol=1e-3)
    require(same, "expected the same features after load_state_dict; what they depend on is a parameter or a buffer")


def gradients_reach_it(build: Builder, images: Tensor) -> None:
    """Some parameters learn."""
    model = build().train()
    model(images).square().mean().backward()
    reached = [p for p in model.parameters() if p.grad is not None and p.grad.abs().sum() > 0]
    learning = [p for p in model.parameters() if p.requires_grad]
    require(reached or not learning, "expected gradients for its parameters, found none")


CHECKS = (
    gives_features_in_both_modes,
    an_image_does_not_depend_on_its_company,
    same_seed_same_weights,
    gradients_reach_it,
)
