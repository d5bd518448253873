"""Losses along one run: what early stopping looks at, and what the Pareto method reads."""

from __future__ import annotations

from math import ceil

from torch import nn

from mnist_scaling.config import RunConfig
from mnist_scaling.training.data import splits
from mnist_scaling.training.run import scoring

FIRST = 1 / 64
"""Share of the run at the first of its log-spaced points."""

MOST_POINTS = 400
"""Points that are kept of a curve, log-spaced: about 25 kB in a record."""

Point = tuple[int, float, float, str]
"""Examples so far, validation loss, training loss, what the learning rate was doing."""


class CurveRecorder:
    """Collects points of one run's learning curve.

    Both losses are taken with dropout off: the validation loss on a fixed stratified slice or on what the
    regime evaluates anyway, the training loss on the first `curve.images` of the run's own images, which are
    stratified too.
    """

    def __init__(self, model: nn.Module, part: splits.Examples, validation: splits.Examples, config: RunConfig) -> None:
        self.model, self.config = model, config
        self.points: list[Point] = []
        self._train = part.head(config.curve.images)
        images = min(config.curve.images, config.data.max_eval or len(validation))
        self._slice = validation.take(splits.validation_order(validation)[:images]) if config.curve.points else None

    def is_due(self, seen: int, total: int) -> bool:
        """Whether a point is due at `seen` of `total` examples: `curve.points` of them, evenly in log, the last one
        at the end.
        """
        points, number = self.config.curve.points, len(self.points)
        if number >= points:
            return False
        share = FIRST ** (1 - number / (points - 1)) if points > 1 else 1.0
        return seen >= ceil(total * share)

    def add(self, seen: int, phase: str, val_loss: float | None = None) -> None:
        """Add a point; the validation loss is evaluated on the slice unless it is known."""
        if val_loss is None:
            assert self._slice is not None
            val_loss, _ = scoring.evaluate(self.model, self._slice)
        train_loss, _ = scoring.evaluate(self.model, self._train)
        self.model.train()
        self.points.append((seen, _short(val_loss), _short(train_loss), phase))

    def thinned(self) -> tuple[Point, ...]:
        """The points, at most `MOST_POINTS`: of more, those at log-spaced places and the last."""
        n = len(self.points)
        if n <= MOST_POINTS:
            return tuple(self.points)
        places = sorted({round(n ** (i / (MOST_POINTS - 1))) - 1 for i in range(MOST_POINTS)})
        return tuple(self.points[i] for i in places)


def _short(loss: float) -> float:
    """Six digits: a curve is to be drawn and smoothed, not compared bit by bit."""
    return float(f"{loss:.6g}")
