"""The same model with PEFT's LoRA. PEFT is no dependency: ``pip install 'mola-bench[compare]'``."""

from __future__ import annotations

import re
import warnings
from typing import Any

import torch
from torch import nn

from mola.bench.compare.expert_loop import factors
from mola.layers.adapter import LowRankConv2d, LowRankLinear, adapted_layers


def with_lora(model: nn.Module, adapted_model: nn.Module, experts: int) -> Any:
    """PEFT's model with so many adapters, named 0, 1, …, in the layers that ``adapted_model`` has adapted, with its
    ranks and factors. Its shared weights are trained, too, as in a mixture. Raises ModuleNotFoundError without PEFT.
    """
    # PEFT's layers for other libraries warn of what is not installed
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from peft import LoraConfig, get_peft_model

        layers = adapted_layers(adapted_model)

        def configuration() -> Any:
            # one object a call: PEFT changes those that it is given
            ranks = {f"^{re.escape(name)}": layer.rank for name, layer in layers.items()}
            first = next(iter(layers.values()))
            names = "|".join(re.escape(name) for name in layers)
            return LoraConfig(
                r=first.rank, lora_alpha=first.alpha, lora_dropout=0.0, target_modules=names, rank_pattern=ranks
            )

        peft_model = get_peft_model(model, configuration(), adapter_name="0")
        for expert in range(1, experts):
            peft_model.add_adapter(str(expert), configuration())
    _copy_factors(peft_model, adapted_model, experts)
    for name, parameter in peft_model.named_parameters():
        # the adapters' own flags say which of them is active
        if "lora_" not in name:
            parameter.requires_grad_(True)
    return peft_model


@torch.no_grad()
def _copy_factors(peft_model: Any, adapted_model: nn.Module, experts: int) -> None:
    inner = peft_model.get_base_model()
    for name, adapted in adapted_layers(adapted_model).items():
        assert isinstance(adapted, LowRankConv2d | LowRankLinear)
        layer = inner.get_submodule(name)
        for expert in range(experts):
            a, b = factors(adapted, expert)
            layer.lora_A[str(expert)].weight.copy_(a)
            layer.lora_B[str(expert)].weight.copy_(b)
