"""Several models of one shape stepped together by hand: what stacking seeds would gain over our own engine."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mnist_scaling.config import OptimConfig
from mnist_scaling.training.data import splits
from mnist_scaling.training.step import small_cnn
from mnist_scaling.training.step.flat import Flat, FlatOptimizer
from mnist_scaling.training.step.masks import Dropout


class Stack:
    """Several models in training at once, each on its own part.

    Parameters
    ----------
    members : sequence of nn.Module
        Of one shape; their parameters become views of one tensor.
    parts : sequence of data.Part
        Of one length and of one data set.
    config : OptimConfig
        Optimiser of all.
    dropout : Dropout
    """

    def __init__(
        self, members: Sequence[nn.Module], parts: Sequence[splits.Part], config: OptimConfig, dropout: Dropout
    ) -> None:
        flat = Flat(members)
        self._optimizer = FlatOptimizer(flat, config)
        self._losses = small_cnn.Gradients(members, parts[0], flat.weights, flat.gradients, dropout)
        self._rows = torch.stack([part.rows for part in parts])
        self._labels = torch.stack([part.labels for part in parts])
        self._window: list[Tensor] = []
        self._means: list[float] = []

    def step(self, rows: Tensor, rates: Sequence[float]) -> None:
        """One optimiser step of every model on its own examples at `rows` (S, batch), at its own learning rate."""
        losses = self._losses(self._rows.gather(1, rows), self._labels.gather(1, rows))
        self._window.append(losses.mean((1, 2)))
        self._optimizer.step(rates)

    def mean_losses(self) -> list[float]:
        """Mean training loss of each model over the steps since the last look, which all take after the same step."""
        if self._window:
            self._means = torch.stack(self._window).mean(0).tolist()
            self._window.clear()
        return self._means
