"""The one place where training meets training/fast/, which may be deleted: then all runs are the same to rounding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from mnist_scaling.config import OptimConfig, RunConfig
from mnist_scaling.training import data, models
from mnist_scaling.training.engine import AutogradEngine, Engine
from mnist_scaling.training.models import Pace

Forward = Callable[[Tensor], Tensor]
"""From rows of a part's pixels, (batch,), to logits (batch, classes), dropout off; the next call may overwrite them."""


class StackedEngine(Protocol):
    """Several models of one shape that take their steps together: an `Engine` with a leading dimension."""

    def step(self, rows: Tensor, rates: Sequence[float]) -> None:
        """One optimiser step of every model on its own examples at `rows` (S, batch), at its own learning rate."""
        ...

    def mean_losses(self) -> list[float]:
        """Mean training loss of each model over the steps since the last look, which all take after the same step."""
        ...


class Accelerator(Protocol):
    """What a faster implementation offers; None where it has nothing better than torch's own."""

    def engine(self, model: nn.Module, part: data.Part, config: OptimConfig) -> Engine | None:
        """An engine for one model."""
        ...

    def forward(self, model: nn.Module, part: data.Part) -> Forward | None:
        """A model's weights as they are now, for evaluations on a part."""
        ...

    def pace(self, run: RunConfig, image_shape: tuple[int, ...], flops: int) -> Pace | None:
        """Predicted seconds of a step, an example and an evaluation of a run, where it is faster here."""
        ...

    def can_stack(self, run: RunConfig) -> bool:
        """Whether several runs like this one, but for rates and seeds, can train as one stack."""
        ...

    def fastest_stack(self, run: RunConfig, count: int) -> int:
        """Models in a stack at which `count` runs like this one train fastest, measured; 1 for none."""
        ...

    def stack(
        self, models: Sequence[nn.Module], parts: Sequence[data.Part], config: OptimConfig,
        dropout: Sequence[float], streams: Sequence[torch.Generator],
    ) -> StackedEngine:  # fmt: skip
        """Models of one shape, each on its part, with its rate of dropout and its stream of masks."""
        ...


def _installed() -> Accelerator | None:
    try:
        from mnist_scaling.training.fast import offers
    except ModuleNotFoundError as error:
        if error.name not in ("mnist_scaling.training.fast", "mnist_scaling.training.fast.offers"):
            raise
        return None
    return offers


ACCELERATOR = _installed()
"""training/fast/, or None without it."""


def build_engine(model: nn.Module, part: data.Part, config: OptimConfig) -> Engine:
    """The fastest engine that there is for a model on a part."""
    fast = ACCELERATOR.engine(model, part, config) if ACCELERATOR else None
    return fast or AutogradEngine(model, part, config)


def pace(run: RunConfig, image_shape: tuple[int, ...], flops: int) -> Pace:
    """Predicted seconds of the fastest engine that there is for a run; `flops` are those of training on an example."""
    fast = ACCELERATOR.pace(run, image_shape, flops) if ACCELERATOR else None
    return fast or models.family(run.model.name).pace(run.model, image_shape, flops)


def forward(model: nn.Module, part: data.Part) -> Forward:
    """The fastest way to the logits of a model on a part; the model is in eval mode."""
    fast = ACCELERATOR.forward(model, part) if ACCELERATOR else None
    return fast or (lambda rows: model(part.pictures(rows)))
