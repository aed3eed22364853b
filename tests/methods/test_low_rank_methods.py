"""Low-rank methods: what each is equal to, and which parameters each loss reaches."""

import pytest
import torch
from building import build
from fake_dense import FakeDense

from mola import registry
from mola.losses import task_decorrelation, task_losses
from mola.methods._routed import load_balance
from mola.training.loading import load


@pytest.fixture
def batch(digits):
    return next(iter(load(digits, "train", torch.device("cpu"), size=16)))


@pytest.fixture
def dense_batch():
    return next(iter(load(FakeDense(), "train", torch.device("cpu"), size=2)))


def filled(method):
    torch.manual_seed(7)
    for key, parameter in method.named_parameters():
        if key.endswith(".B"):
            torch.nn.init.normal_(parameter, std=0.05)
    return method.eval()


def same(one, other, batch):
    expected = other(batch).predictions
    for name, actual in one(batch).predictions.items():
        torch.testing.assert_close(actual, expected[name], rtol=1e-4, atol=1e-4)


def with_state(method, state):
    lacking, unexpected = method.load_state_dict(state, strict=False)
    assert not unexpected
    return method.eval(), lacking


class Fixed(torch.nn.Module):
    """A router of fixed scores."""

    def __init__(self, scores):
        super().__init__()
        self.scores = scores

    def forward(self, x):
        return self.scores


def test_a_hard_router_scales_the_one_it_chose(digits, batch):
    """With one expert alone and weight p, the model is that of an adapter p times as large."""
    hard, one = filled(build("lora_hard_router", digits.tasks)), build("shared_lora", digits.tasks)
    scores = torch.tensor([0.1, 0.9, -0.3, 0.2]).repeat(len(batch.x), 1)
    hard.router = Fixed(scores)
    state = {k: v[1:2] if k.endswith((".A", ".B")) else v for k, v in hard.state_dict().items()}
    one, _ = with_state(one, state)
    with torch.no_grad():
        for key, parameter in one.named_parameters():
            if key.endswith(".B"):
                parameter *= scores[0].softmax(0)[1]
    same(one, hard, batch)
    assert torch.equal(hard(batch).routing, torch.tensor([0.0, 1, 0, 0]).repeat(len(batch.x), 1))


def test_a_hard_router_learns_through_its_probability(digits, batch):
    method = build("lora_hard_router", digits.tasks, load_balance=0.0)
    filled(method).train()
    output = method(batch)
    assert output.aux_loss is None
    sum(p.sum() for p in output.predictions.values()).backward()
    assert method.router.head.weight.grad.abs().sum() > 0


def test_balanced_load_by_hand():
    probabilities = torch.tensor([[0.5, 0.3, 0.2], [0.6, 0.2, 0.2], [0.1, 0.8, 0.1], [0.4, 0.4, 0.2]])
    chosen = torch.tensor([[0], [0], [1], [0]])
    # f = (3/4, 1/4, 0), P = (0.4, 0.425, 0.175): 3 · (0.3 + 0.10625)
    torch.testing.assert_close(load_balance(probabilities, chosen), torch.tensor(1.21875))
    even = torch.full((6, 3), 1 / 3)
    torch.testing.assert_close(load_balance(even, torch.tensor([[0, 1], [1, 2], [2, 0]] * 2)), torch.tensor(1.0))


@pytest.mark.parametrize(("name", "weight"), [("lora_moe", 0.3), ("lora_hard_router", 0.3)])
def test_the_aux_loss_is_the_weighted_load(name, weight, digits, batch):
    method = build(name, digits.tasks, load_balance=weight)
    probabilities = method.router(batch.x).softmax(1)
    chosen = probabilities.topk(2 if name == "lora_moe" else 1, dim=1).indices
    torch.testing.assert_close(method(batch).aux_loss, weight * load_balance(probabilities, chosen))
    assert method.eval()(batch).aux_loss is None


@pytest.mark.parametrize("kind", ["classes", "dense"])
def test_shared_and_private_without_private_is_shared_lora(kind, digits, batch, dense_batch):
    tasks, batch = (digits.tasks, batch) if kind == "classes" else (FakeDense().tasks, dense_batch)
    both, one = filled(build("lora_shared_private", tasks)), build("shared_lora", tasks)
    with torch.no_grad():
        for key, parameter in both.named_parameters():
            if key.endswith(".B"):
                parameter[1:] = 0
    state = {k: v[:1] if k.endswith((".A", ".B")) else v for k, v in both.state_dict().items()}
    same(with_state(one, state)[0], both, batch)


@pytest.mark.parametrize("kind", ["classes", "dense"])
def test_shared_and_private_without_shared_is_mola_grad(kind, digits, batch, dense_batch):
    tasks, batch = (digits.tasks, batch) if kind == "classes" else (FakeDense().tasks, dense_batch)
    both, grad = filled(build("lora_shared_private", tasks)), build("mola_grad", tasks)
    with torch.no_grad():
        for key, parameter in both.named_parameters():
            if key.endswith(".B"):
                parameter[:1] = 0
    state = {k: v[1:] if k.endswith((".A", ".B")) else v for k, v in both.state_dict().items()}
    same(with_state(grad, state)[0], both, batch)


@pytest.mark.parametrize("kind", ["classes", "dense"])
def test_a_certain_task_gate_is_mola_grad(kind, digits, batch, dense_batch):
    tasks, batch = (digits.tasks, batch) if kind == "classes" else (FakeDense().tasks, dense_batch)
    mixed = filled(build("lora_task_gate", tasks, start=1e4))
    state = {k: v for k, v in mixed.state_dict().items() if k != "scores"}
    same(with_state(build("mola_grad", tasks), state)[0], mixed, batch)


def test_hydra_with_one_head_is_shared_lora(digits, batch):
    hydra, one = filled(build("hydra_lora", digits.tasks, experts=1)), build("shared_lora", digits.tasks)
    state = {
        k.replace("parametrizations.A.original", "A"): v
        for k, v in hydra.state_dict().items()
        if not k.startswith("router")
    }
    same(with_state(one, state)[0], hydra, batch)


def test_hydras_heads_share_one_a(digits, batch):
    hydra, router = filled(build("hydra_lora", digits.tasks)), build("mola_router", digits.tasks)
    layers = [(k, m) for k, m in hydra.backbone.named_modules() if hasattr(m, "parametrizations")]
    assert layers and all(len(m.parametrizations.A.original) == 1 and len(m.A) == 4 for _, m in layers)
    state = {
        k.replace("parametrizations.A.original", "A"): v.repeat(4, 1, 1) if k.endswith("A.original") else v
        for k, v in hydra.state_dict().items()
    }
    soft, lacking = with_state(router, state)
    assert all(k.startswith("projection") for k in lacking)
    same(soft, hydra, batch)


def test_a_random_gate_is_the_images_and_never_learns(digits, batch):
    method = build("lora_random_gate", digits.tasks)
    weights = method(batch).routing
    assert torch.equal(weights[3:5], method(batch.__class__(batch.x[3:5], batch.task[3:5], {}, batch.tasks)).routing)
    assert float(weights.std(0).mean()) > 0.02  # samples differ
    assert "noise" in method.state_dict() and "noise" not in dict(method.named_parameters())


@pytest.mark.parametrize(
    "name", [n for n in registry.names("methods") if "freeze" in registry.option_names("methods", n)]
)
def test_a_frozen_backbone_rests(name, digits, batch):
    method = filled(build(name, digits.tasks, freeze=True)).train()
    before = {k: v.clone() for k, v in method.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in method.parameters() if p.requires_grad], 0.1)
    sum(p.square().sum() for p in method(batch).predictions.values()).backward()
    optimizer.step()
    changed = {k for k, v in method.state_dict().items() if not torch.equal(v, before[k])}
    of_adapters = {k for k in before if k.endswith((".A", ".B", ".A.original"))}
    assert {k for k in changed if k.startswith("backbone")} == of_adapters
    learning = {k for k in before if k.startswith(("heads", "router.head", "scores"))}
    assert of_adapters and learning and learning <= changed
    assert all(p.requires_grad for p in method.shared_parameters())


@pytest.mark.parametrize(("where", "inputs"), [("scores", lambda s: s), ("weights", lambda s: s.softmax(1))])
def test_what_decorrelation_sees(where, inputs, digits, batch):
    method = build("mola_router", digits.tasks, twd=0.3, twd_on=where)
    expected = 0.3 * task_decorrelation(inputs(method.router(batch.x)), batch.task)
    torch.testing.assert_close(method(batch).aux_loss, expected)
    assert not any("projection" in key for key in method.state_dict())


def experts_reached(method, loss):
    """The experts that a loss gives a gradient anywhere."""
    method.zero_grad(set_to_none=True)
    loss.backward(retain_graph=True)
    stacked = [p.grad for k, p in method.named_parameters() if k.endswith((".A", ".B"))]
    return {e for gradient in stacked for e in range(len(gradient)) if gradient[e].abs().sum() > 0}


@pytest.mark.parametrize("kind", ["classes", "dense"])
def test_a_private_adapter_learns_from_its_own_task(kind, digits, batch, dense_batch):
    tasks, batch = (digits.tasks, batch) if kind == "classes" else (FakeDense().tasks, dense_batch)
    method = filled(build("lora_shared_private", tasks))  # BatchNorm in training would pass gradients between samples
    losses = task_losses(tasks, method(batch), batch)
    for number, task in enumerate(tasks):
        assert experts_reached(method, losses[task.name]) == {0, 1 + number}


def test_a_hard_router_teaches_the_chosen_alone(digits, batch):
    method = filled(build("lora_hard_router", digits.tasks))
    chosen = torch.tensor([0, 2] * (len(batch.x) // 2))
    method.router = Fixed(torch.nn.functional.one_hot(chosen, 4).float())
    losses = task_losses(digits.tasks, method(batch), batch)
    assert experts_reached(method, sum(losses.values())) == {0, 2}


def test_a_tasks_scores_learn_from_it_alone(digits, batch):
    method = filled(build("lora_task_gate", digits.tasks))
    losses = task_losses(digits.tasks, method(batch), batch)
    for number, task in enumerate(digits.tasks):
        (gradient,) = torch.autograd.grad(losses[task.name], method.scores, retain_graph=True)
        assert gradient.abs().sum(1).nonzero().tolist() == [[number]]


def test_hydras_a_learns_from_every_head(digits, batch):
    """Its gradient is the sum of those that every head's own A would have."""
    hydra, router = filled(build("hydra_lora", digits.tasks)), build("mola_router", digits.tasks)
    state = {
        k.replace("parametrizations.A.original", "A"): v.repeat(4, 1, 1) if k.endswith("A.original") else v
        for k, v in hydra.state_dict().items()
    }
    soft, _ = with_state(router, state)
    for method in (hydra, soft):
        sum(task_losses(digits.tasks, method(batch), batch).values()).backward()
    expected = {k: p.grad.sum(0, keepdim=True) for k, p in soft.named_parameters() if k.endswith(".A")}
    actual = {k: p.grad for k, p in hydra.named_parameters() if k.endswith("A.original")}
    assert len(expected) == len(actual) > 0
    for key, gradient in actual.items():
        reference = expected[key.replace("parametrizations.A.original", "A")]
        torch.testing.assert_close(gradient, reference, rtol=1e-3, atol=1e-5)
