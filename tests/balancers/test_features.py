"""Feature-gradient balancers against the definition: α from gradients on the features, one pass through the rest."""

import pytest
import torch
from linear import make, tasks
from torch import nn

from mola.balancers._features import summed_where_apart

UB = pytest.mark.parametrize(("name", "plain"), [("mgda_ub", "mgda"), ("aligned_mtl_ub", "aligned_mtl")])


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.heads = nn.Linear(5, 4).double(), nn.ModuleList(nn.Linear(4, 3) for _ in range(3)).double()

    def losses(self, x, rows):
        z = self.body(x).tanh()
        named = zip(tasks(3), self.heads, rows, strict=True)
        return {task.name: head(z[row]).square().mean() for task, head, row in named}, z


ALL = (slice(None),) * 3
APART = (slice(0, 2), slice(2, 4), slice(4, 6))


@UB
@pytest.mark.parametrize("rows", [ALL, APART], ids=["every sample has every task", "one task a sample"])
def test_weights_come_from_the_features(name, plain, rows):
    net, x = Net(), torch.randn(6, 5).double()
    losses, z = net.losses(x, rows)
    on_z = [torch.autograd.grad(loss, z, retain_graph=True)[0] for loss in losses.values()]
    matrix = torch.stack([g.flatten() if rows is ALL else g.sum(0) for g in on_z])
    # α from the plain balancer, on a matrix whose gradient it is handed
    alpha = make(plain, 3).alpha(matrix, losses)
    expected = torch.autograd.grad(
        sum(a * loss for a, loss in zip(alpha, losses.values(), strict=True)), net.body.weight, retain_graph=True
    )[0]
    heads = [
        torch.autograd.grad(loss, head.weight, retain_graph=True)[0]
        for loss, head in zip(losses.values(), net.heads, strict=True)
    ]

    make(name, 3).backward(losses, None, list(net.body.parameters()), list(net.heads.parameters()), z)
    torch.testing.assert_close(net.body.weight.grad, expected)
    for head, private in zip(net.heads, heads, strict=True):
        torch.testing.assert_close(head.weight.grad, private)


@UB
def test_without_features_it_is_the_plain_balancer(name, plain):
    updates = []
    for each in (name, plain):
        torch.manual_seed(0)
        net = Net()
        losses, _ = net.losses(torch.randn(6, 5).double(), ALL)
        make(each, 3).backward(losses, None, list(net.body.parameters()), list(net.heads.parameters()))
        updates.append(net.body.weight.grad)
    torch.testing.assert_close(*updates)


@UB
def test_the_aux_loss_is_added_as_it_is(name, plain):
    updates = []
    for factor in (0.0, 1.0):
        torch.manual_seed(0)
        net = Net()
        losses, z = net.losses(torch.randn(6, 5).double(), ALL)
        make(name, 3).backward(
            losses, factor * (z**3).sum(), list(net.body.parameters()), list(net.heads.parameters()), z
        )
        updates.append(net.body.weight.grad)
    torch.manual_seed(0)
    net = Net()
    _, z = net.losses(torch.randn(6, 5).double(), ALL)
    torch.testing.assert_close(updates[1] - updates[0], torch.autograd.grad((z**3).sum(), net.body.weight)[0])


def test_a_shared_parameter_between_features_and_losses_is_combined():
    net, between, x = Net(), nn.Linear(4, 4).double(), torch.randn(6, 5).double()
    z = net.body(x)
    losses = {task.name: head(between(z)).square().mean() for task, head in zip(tasks(3), net.heads, strict=True)}
    on_z = torch.stack([torch.autograd.grad(loss, z, retain_graph=True)[0].flatten() for loss in losses.values()])
    alpha = make("mgda", 3).alpha(on_z, losses)
    expected = torch.autograd.grad(
        sum(a * loss for a, loss in zip(alpha, losses.values(), strict=True)), between.weight, retain_graph=True
    )[0]
    make("mgda_ub", 3).backward(
        losses, None, [*net.body.parameters(), *between.parameters()], list(net.heads.parameters()), z
    )
    torch.testing.assert_close(between.weight.grad, expected)


def test_features_that_no_loss_depends_on_are_a_methods_mistake():
    net = Net()
    losses, z = net.losses(torch.randn(6, 5).double(), ALL)
    with pytest.raises(RuntimeError, match="no loss depends on them"):
        make("mgda_ub", 3).backward(losses, None, list(net.body.parameters()), list(net.heads.parameters()), z * 1)


def test_rows_are_summed_only_where_no_sample_has_two_tasks():
    apart = torch.zeros(2, 4, 3)
    apart[0, :2], apart[1, 2:] = 1.0, 2.0
    torch.testing.assert_close(summed_where_apart(apart), torch.tensor([[2.0] * 3, [4.0] * 3]))
    apart[1, 0] = 1.0
    assert summed_where_apart(apart).shape == (2, 12)
    assert summed_where_apart(torch.ones(2, 4, 3, 5, 5)).shape == (2, 4 * 75)


def test_features_under_autocast():
    """The head's pass hands a bf16 gradient back; weights and combination are worked in fp32."""
    body, heads = nn.Linear(5, 4), nn.ModuleList(nn.Linear(4, 3) for _ in range(3))
    with torch.autocast("cpu", torch.bfloat16):
        z = body(torch.randn(6, 5))
        losses = {task.name: head(z).float().square().mean() for task, head in zip(tasks(3), heads, strict=True)}
    assert z.dtype == torch.bfloat16
    make("aligned_mtl_ub", 3).backward(losses, None, list(body.parameters()), list(heads.parameters()), z)
    assert body.weight.grad.dtype == torch.float32
    assert body.weight.grad.isfinite().all()
