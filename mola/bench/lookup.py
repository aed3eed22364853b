"""The workload that a command names: one of those with names of their own, or any timm model."""

from __future__ import annotations

from dataclasses import replace

from mola.bench.timm_models import timm_workload
from mola.bench.workloads import WORKLOADS, Workload
from mola.types import BadInput


def workload(
    name: str, batch: int | None, size: int | None, where: str | None = None, rank: int | None = None
) -> Workload:
    """A workload by its name, or of any timm model; with another batch, image size, layers or rank where these are
    given. Raises BadInput.
    """
    if name not in WORKLOADS:
        return timm_workload(name, WORKLOADS, batch, size, where, rank)
    known = WORKLOADS[name]
    if size is not None and "vit" in name:
        known = replace(known, options=(*known.options, ("img_size", size)))
    known = replace(known, batch=batch or known.batch, size=size or known.size)
    known = replace(known, where=where or known.where, rank=known.rank if rank is None else rank)
    if known.batch == 1 and known.size <= 32 and "resnet" in name:
        raise BadInput("--batch: expected at least 2 for images of 32 pixels: BatchNorm has one position left, found 1")
    return known
