"""Training steps by TorchJD's engines, beside ours: hard sharing under balancers that need the tasks' gradients."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor
from torch.nn import Parameter
from torchjd import aggregation
from torchjd.autogram import Engine
from torchjd.autojac import jac_to_grad, mtl_backward
from torchjd.linalg import PSDMatrix

from mola import registry
from mola.balancers.upgrad import NonNegative
from mola.bench.compare.report import Part, first_line
from mola.bench.report import Entry, compare
from mola.bench.step import classifications, create_method, random_batch, step_entry
from mola.bench.workloads import Setting, Workload
from mola.losses import task_losses
from mola.methods import Method
from mola.sections import Training
from mola.training.optim import make_optimizer
from mola.types import BadInput, Balancer, Batch, Task


class InDouble(NonNegative):
    """Our projector on Gramians in the gradients' precision, as TorchJD hands them over."""

    def __call__(self, U: Tensor, G: PSDMatrix) -> Tensor:
        """U (…, T), M (T, T) → (…, T)."""
        return super().__call__(U.double(), G.double()).to(U)  # type: ignore[arg-type]


# with the options that ours have by default; T tasks
AGGREGATORS: dict[str, Callable[[int], aggregation.Aggregator]] = {
    "mgda": lambda tasks: aggregation.MGDA(epsilon=1e-5, max_iters=250),
    "pcgrad": lambda tasks: aggregation.PCGrad(),
    "gradvac": lambda tasks: aggregation.GradVac(beta=0.01),
    "graddrop": lambda tasks: aggregation.GradDrop(),
    "cagrad": lambda tasks: aggregation.CAGrad(c=0.4),
    "imtl_g": lambda tasks: aggregation.IMTLG(),
    "nash_mtl": lambda tasks: aggregation.NashMTL(n_tasks=tasks),
    "aligned_mtl": lambda tasks: aggregation.AlignedMTL(),
    "fairgrad": lambda tasks: aggregation.FairGrad(alpha=1.0),
    # TorchJD's default projector asks for a package under the GPL
    "upgrad": lambda tasks: aggregation.UPGrad(projector=InDouble()),
}
Step = Callable[[], None]


def check(balancers: Sequence[str], batch: int, tasks: int) -> None:
    """Raise BadInput for a balancer that TorchJD does not have, and for tasks without images."""
    for name in balancers:
        if name not in AGGREGATORS:
            hint = registry.did_you_mean(name, AGGREGATORS)
            raise BadInput(f"--balancer: expected one of {', '.join(AGGREGATORS)}, found '{name}'{hint}")
    if not 2 <= tasks <= batch:
        raise BadInput(f"--experts: expected 2 to {batch}, the images of a batch, found {tasks}")


def part(workload: Workload, setting: Setting, balancers: Sequence[str], number: int, repeats: int) -> Part:
    """Each balancer by ours, by TorchJD's ``autojac`` and by its ``autogram``; what one refuses is found out by doing
    it.
    """
    tasks = classifications(number)
    torch.manual_seed(0)
    batch = random_batch(setting.images(workload), tasks)

    def method() -> Method:
        torch.manual_seed(0)
        return create_method("shared", tasks, workload, {})

    def ours(name: str) -> Entry:
        balancer: Balancer = registry.create("balancers", name, tasks, setting.on, options={})
        return step_entry(method(), tasks, batch, setting, balancer)

    # said once for each operation that vmap does one by one: the rows say what it costs
    warnings.filterwarnings("ignore", "There is a performance drop")
    works, remarks = {"plain step": ours("sum")}, []
    works["plain step"].step()
    for name in balancers:
        mine = ours(name)
        mine.step()
        works[f"{name}, ours"] = mine
        assert isinstance(mine.model, Method)
        others: dict[str, Callable[..., Step]] = {
            "autojac": autojac,
            "autogram": autogram,
            "autogram by sample": partial(autogram, by_sample=True),
        }
        for engine, make in others.items():
            row = f"{name}, TorchJD {engine}"
            try:
                model = setting.place(method())
                step = make(model, tasks, batch, setting, AGGREGATORS[name](number))
                entry = Entry(step, len(batch.x), model, optimizer_states=1)
                entry.step()
            except Exception as error:
                remarks.append(f"{row}: refused: {first_line(error)}")
                continue
            works[row] = entry
            remarks.append(f"{row}: {agreement(model, mine.model)}")
    return Part(f"T = {number} tasks, training steps", compare(works, setting, repeats), remarks)


def agreement(method: Method, ours: Method) -> str:
    """How far the update of the shared parameters is from ours, apart from its length."""
    mine, other = (
        torch.cat([p.grad.flatten().double() for p in each.shared_parameters() if p.grad is not None])
        for each in (ours, method)
    )
    times = float(other.norm() / mine.norm())
    difference = float((other / other.norm() - mine / mine.norm()).norm())
    return f"the update is {times:.3g} times as long as ours, and its direction differs by {difference:.0e}"


def autojac(
    method: Method, tasks: Sequence[Task], batch: Batch, setting: Setting, aggregator: aggregation.Aggregator
) -> Step:
    """The Jacobian of the losses by TorchJD, in its default of all rows at once, then its aggregator."""
    optimizer, shared = _optimizer(method), method.shared_parameters()

    def step() -> None:
        torch.manual_seed(0)
        losses, features = _forward(method, tasks, batch, setting)
        optimizer.zero_grad(set_to_none=True)
        heads = [_reached(method, task) for task in tasks]
        mtl_backward(losses, features=features, tasks_params=heads, shared_params=shared)
        jac_to_grad(shared, aggregator)
        optimizer.step()

    return step


def autogram(
    method: Method,
    tasks: Sequence[Task],
    batch: Batch,
    setting: Setting,
    aggregator: aggregation.Aggregator,
    by_sample: bool = False,
) -> Step:
    """The Gramian of the losses by TorchJD's engine, without the Jacobian, then one pass with its weights.

    by_sample: the engine's fast path, which takes a loss for each sample; sums over the samples of each two tasks give
               their inner product.
    """
    weighting = getattr(aggregator, "gramian_weighting", None)
    if weighting is None:
        raise BadInput(f"expected an aggregator that weighs by the Gramian, found {type(aggregator).__name__}")
    engine = Engine(method.backbone, batch_dim=0 if by_sample else None)  # type: ignore[arg-type]
    optimizer, heads = _optimizer(method), method.own_parameters()
    assert batch.task is not None
    place = torch.nn.functional.one_hot(batch.task, len(tasks)).to(setting.on, torch.float32)  # (B, T)
    shares = place / place.sum(0)

    def step() -> None:
        torch.manual_seed(0)
        losses, features = _forward(method, tasks, batch, setting)
        optimizer.zero_grad(set_to_none=True)
        if by_sample:
            gramian = shares.T @ engine.compute_gramian(_per_sample(method, tasks, batch, features)) @ shares
        else:
            gramian = engine.compute_gramian(torch.stack(losses))
        alpha = weighting(gramian)
        # heads get plain gradients, as ours do
        *plain, of_features = torch.autograd.grad(torch.stack(losses).sum(), [*heads, features], retain_graph=True)
        for parameter, gradient in zip(heads, plain, strict=True):
            parameter.grad = gradient
        torch.autograd.backward(features, of_features * (place @ alpha.to(place))[:, None])
        optimizer.step()

    return step


def _forward(method: Method, tasks: Sequence[Task], batch: Batch, setting: Setting) -> tuple[list[Tensor], Tensor]:
    """The losses () of all tasks, and the features (B, F) at which they part."""
    with setting.running():
        output = method(batch)
    assert output.features is not None
    return list(task_losses(tasks, output, batch).values()), output.features


def _per_sample(method: Method, tasks: Sequence[Task], batch: Batch, features: Tensor) -> Tensor:
    """The loss of every sample (B,); the batch is ordered by task."""
    predictions = method.heads(features, batch)  # type: ignore[operator]
    losses = [
        torch.nn.functional.cross_entropy(predictions[t.name].float(), batch.y[t.name], reduction="none") for t in tasks
    ]
    return torch.cat(losses)


def _reached(method: Method, task: Task) -> list[Parameter]:
    return [p for name, p in method.heads.named_parameters() if task.name in name.split(".")]  # type: ignore[union-attr]


def _optimizer(method: Method) -> torch.optim.Optimizer:
    return make_optimizer(Training(optimizer="sgd", lr=1e-3), list(method.parameters()))
