"""Gradients reach the optimiser in the parameter's memory layout: fused steps on a CPU read memory as it lies."""

import torch
from torch import nn

from mola.balancers._base import accumulate


def test_a_permuted_gradient_steps_the_entries_that_it_is_for():
    gradient = torch.arange(24.0).reshape(4, 6).T  # (6, 4), as a backward formula may return it
    parameter = nn.Parameter(torch.zeros(6, 4))
    accumulate(parameter, gradient)
    assert parameter.grad.stride() == parameter.stride()
    torch.optim.SGD([parameter], lr=1.0, fused=True).step()
    assert torch.equal(parameter.detach(), -gradient)
    accumulate(parameter, gradient)
    assert torch.equal(parameter.grad, 2 * gradient)
