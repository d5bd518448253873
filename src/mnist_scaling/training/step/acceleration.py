"""The one place where training meets training/fast/, which may be deleted: then all runs are the same to rounding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from mnist_scaling.config import OptimConfig, RunConfig
from mnist_scaling.training import models
from mnist_scaling.training.data import splits
from mnist_scaling.training.models import Pace
from mnist_scaling.training.step.engine import AutogradEngine, Engine

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


class Lane(Protocol):
    """A stack with places, which models of one shape enter and leave while it goes on (training/fast/lane.py)."""

    places: int
    batch: int
    steps: int

    def here(self) -> AbstractContextManager[object]:
        """Whatever a GPU is told inside this block comes after the steps that were launched before it."""
        ...

    def enter(self, place: int, model: nn.Module) -> None:
        """Give a place to a model: its weights are copied there, and its parameters become views of them."""
        ...

    def launch(self, work: Sequence[tuple[int, Any, int, int]]) -> None:
        """Take steps: of each (place, plan, first, last) those from `first` to before `last`; waits for nothing."""
        ...

    def is_done(self) -> bool:
        """Whether the steps that were launched last have been taken."""
        ...

    def wait(self) -> None:
        """Until they have been taken."""
        ...

    def losses(self) -> list[float]:
        """Sum over the steps that were launched last of each place's mean training loss."""
        ...


class Accelerator(Protocol):
    """What a faster implementation offers; None where it has nothing better than torch's own."""

    def engine(self, model: nn.Module, part: splits.Part, config: OptimConfig) -> Engine | None:
        """An engine for one model."""
        ...

    def forward(self, model: nn.Module, part: splits.Part) -> Forward | None:
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
        self, models: Sequence[nn.Module], parts: Sequence[splits.Part], config: OptimConfig,
        dropout: Sequence[float], streams: Sequence[torch.Generator],
    ) -> StackedEngine:  # fmt: skip
        """Models of one shape, each on its part, with its rate of dropout and its stream of masks."""
        ...

    def places(self, run: RunConfig, batch: int, flops: int, device: torch.device) -> int:
        """Places of a lane for runs like this one, from their shape alone; 0 for none.

        `batch` is the room for examples per step, and `flops` are those of training on an example.
        """
        ...

    def lane(
        self,
        model: nn.Module,
        places: int,
        part: splits.Part,
        config: OptimConfig,
        batch: int,
        steps: int,
        dropout: bool,
    ) -> Lane:
        """A lane with so many places for models of this one's shape."""
        ...

    def plan(
        self, rows: Tensor, labels: Tensor, sizes: Tensor, rates: Tensor, keys: Tensor, dropout: float,
        config: OptimConfig,
    ) -> Any:  # fmt: skip
        """A run's steps as a lane takes them: see training/fast/lane.py."""
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


def build_engine(model: nn.Module, part: splits.Part, config: OptimConfig) -> Engine:
    """The fastest engine that there is for a model on a part."""
    fast = ACCELERATOR.engine(model, part, config) if ACCELERATOR else None
    return fast or AutogradEngine(model, part, config)


def pace(run: RunConfig, image_shape: tuple[int, ...], flops: int) -> Pace:
    """Predicted seconds of the fastest engine that there is for a run; `flops` are those of training on an example."""
    fast = ACCELERATOR.pace(run, image_shape, flops) if ACCELERATOR else None
    return fast or models.family(run.model.name).pace(run.model, image_shape, flops)


def forward(model: nn.Module, part: splits.Part) -> Forward:
    """The fastest way to the logits of a model on a part; the model is in eval mode."""
    fast = ACCELERATOR.forward(model, part) if ACCELERATOR else None
    return fast or (lambda rows: model(part.pictures(rows)))
