"""A mixed batch, in which every sample has its own expert: by ``mola.adapt``, by a loop over modules, and by PEFT."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

import torch
from torch import Tensor, nn

import mola
from mola.bench.compare.expert_loop import Chosen, looped
from mola.bench.compare.report import Part, first_line
from mola.bench.compare.with_peft import with_lora
from mola.bench.layers import with_random_adapters
from mola.bench.report import Entry, compare
from mola.bench.workloads import Setting, Workload
from mola.extras import needs
from mola.layers.adapter import LowRankConv2d, adapted_layers
from mola.types import Factorisation

Run = Callable[[], None]


@dataclass
class Contender:
    """A way to do the work. forward: the whole batch; backward: forward and backward into the gradients; None: as
    ``forward`` says.
    """

    model: nn.Module
    forward: Callable[[], Tensor]
    accumulate: Run | None = None

    def step(self) -> None:
        """Forward and backward, gradients anew."""
        self.model.zero_grad(set_to_none=True)
        if self.accumulate is None:
            torch.autograd.backward(self.forward().float().sum())
        else:
            self.accumulate()


def parts(workload: Workload, setting: Setting, experts: int, repeats: int) -> list[Part]:
    """Training and inference; what somebody's way refuses is found out by doing it, and said."""
    torch.manual_seed(0)
    x = setting.images(workload)
    index = torch.arange(workload.batch)[torch.randperm(workload.batch)] % experts
    contenders, missing = _contenders(workload, setting, x, index, experts)
    # before BatchNorm's averages of each have followed training batches of its own
    differences = _differences(contenders)
    results = []
    for title, training in (("training, forward and backward", True), ("inference, forward", False)):
        works, remarks = {}, list(missing)
        for name, contender in contenders.items():
            contender.model.train(training)
            work = contender.step if training else _without_gradients(contender)
            try:
                work()
            except Exception as error:
                if name == "plain" or name.startswith("mola"):
                    raise
                remarks.append(f"{name}: refused: {first_line(error)}")
            else:
                works[name] = Entry(work, workload.batch, contender.model)
        if not training:
            remarks += [line for name, line in differences.items() if name in works]
        results.append(Part(f"E = {experts} experts, {title}", compare(works, setting, repeats), remarks))
    return results


def _contenders(
    workload: Workload, setting: Setting, x: Tensor, index: Tensor, experts: int
) -> tuple[dict[str, Contender], list[str]]:
    """By name; and who is not there, in words. All start from the same shared weights, and where the factorisation is
    the same, from the same adapters.
    """

    def plain() -> nn.Module:
        torch.manual_seed(0)
        return workload.plain(10)

    def adapted(factorisation: Factorisation) -> nn.Module:
        model = plain()
        mola.adapt(model, experts=experts, factorisation=factorisation, **workload.adapters)
        return with_random_adapters(model)

    def on(model: nn.Module, call: Callable[[], Tensor]) -> Contender:
        def forward() -> Tensor:
            with setting.running():
                return call()

        return Contender(model, forward)

    def gated(model: nn.Module) -> Contender:
        def call() -> Tensor:
            with mola.gate(model, index):
                return model(x)  # type: ignore[no-any-return]

        return on(setting.place(model), call)

    reference = adapted("two_conv")
    base = setting.place(plain())
    contenders = {"plain": on(base, lambda: base(x))}
    if any(isinstance(layer, LowRankConv2d) for layer in adapted_layers(reference).values()):
        contenders["mola.adapt"] = gated(adapted("loralib"))
        contenders["mola.adapt, two_conv"] = gated(reference)
    else:
        # the factorisations differ for convolutions alone
        contenders["mola.adapt"] = gated(reference)
    remarks = []
    chosen = Chosen()
    chosen.index = index.to(setting.on)
    try:
        loop = setting.place(looped(plain(), reference, chosen))
        contenders["a loop over experts"] = on(loop, lambda: loop(x))
    except mola.types.BadInput as error:
        remarks.append(f"not measured: {error}")
    try:
        one = setting.place(with_lora(plain(), reference, 1))
        many, mixed = (setting.place(with_lora(plain(), reference, experts)) for _ in range(2))
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "mola":
            raise
        return contenders, [*remarks, f"PEFT: not measured: {needs('mola bench compare', error.name)}"]
    contenders["PEFT, one LoRA for all"] = on(one, lambda: one(x))
    contenders["PEFT, set_adapter in turn"] = _in_turn(many, x, index, experts, setting)
    names = [str(expert) for expert in index.tolist()]
    contenders["PEFT, adapter_names="] = on(mixed, lambda: mixed(x, adapter_names=names))
    return contenders, remarks


def _in_turn(model: nn.Module, x: Tensor, index: Tensor, experts: int, setting: Setting) -> Contender:
    """A pass for each adapter over its own samples: what PEFT's users are left with in training. BatchNorm then sees
    the samples of one adapter at a time.
    """
    rows = {expert: (index == expert).nonzero()[:, 0] for expert in range(experts)}
    rows = {expert: each.to(setting.on) for expert, each in rows.items() if len(each)}

    def run(expert: int) -> Tensor:
        model.set_adapter(str(expert))  # type: ignore[operator]
        with setting.running():
            return model(x[rows[expert]])  # type: ignore[no-any-return]

    def forward() -> Tensor:
        outputs = {expert: run(expert) for expert in rows}
        y = next(iter(outputs.values())).new_empty(len(x), next(iter(outputs.values())).shape[1])
        for expert, output in outputs.items():
            y[rows[expert]] = output
        return y

    def accumulate() -> None:
        for expert in rows:
            torch.autograd.backward(run(expert).float().sum())

    return Contender(model, forward, accumulate)


def _without_gradients(contender: Contender) -> Run:
    def work() -> None:
        with torch.no_grad():
            contender.forward()

    return work


@torch.no_grad()
def _differences(contenders: Mapping[str, Contender]) -> dict[str, str]:
    """How far the outputs are from those of ``mola.adapt``, where the adapters are the same, relative to what these
    adapters change; none for what can't be run.
    """

    def output(name: str) -> Tensor:
        contenders[name].model.eval()
        return contenders[name].forward().float()

    reference = "mola.adapt, two_conv" if "mola.adapt, two_conv" in contenders else "mola.adapt"
    expected = output(reference)
    change = (expected - output("plain")).abs().max()
    lines = {}
    for name in contenders:
        if name.startswith(("plain", "mola", "PEFT, one")):
            continue
        # an error is said where the work is measured
        with suppress(Exception):
            difference = float((output(name) - expected).abs().max() / change)
            lines[name] = f"{name}: outputs differ from {reference}'s by {difference:.0e} of what adapters change"
    return lines
