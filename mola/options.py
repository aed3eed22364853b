"""Options: what a suite may say about a method, a balancer or a benchmark, as a typed class beside it.

A registered class nests its options and inherits those of its parent::

    class MoLAGrad(AdaptedMethod):
        class Options(AdaptedMethod.Options):
            rank: Rank = Field(4, description="rank of every adapter")

Every option has a default, the published one. This module imports no torch, so that planning does not either.
"""

from __future__ import annotations

from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict


class Options(BaseModel):
    """The base of all options: no unknown keys, no infinities, and no change after they were checked."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)


class Configurable:
    """A class whose last constructor argument is its ``Options``."""

    Options: ClassVar[type[Options]] = Options

    @classmethod
    def create(cls, *arguments: Any, **options: Any) -> Self:
        """The object with these options by name: ``MoLAGrad.create(tasks, backbone, rank=4)``.

        Raises pydantic's ValidationError for an unknown option or a wrong value.
        """
        return cls(*arguments, cls.Options(**options))  # type: ignore[call-arg]
