"""Several models of one shape stepped together, and how many together are the fastest."""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from mnist_scaling.config import DataConfig, ModelConfig, OptimConfig
from mnist_scaling.training import models, seeding
from mnist_scaling.training.data import splits
from mnist_scaling.training.fast import small_cnn
from mnist_scaling.training.fast.flat import Flat, FlatOptimizer
from mnist_scaling.training.fast.masks import Dropout

SIZES = (1, 2, 4, 8)
"""Stacks that are tried: models in one."""

WORTH = 0.95
"""A stack must take less than this share of the time alone, per model."""

_ROUNDS, _STEPS = 3, 5


class Stack:
    """Several models in training at once, each on its own part: an `acceleration.StackedEngine`.

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


@functools.lru_cache(maxsize=256)
def fastest(model: ModelConfig, optim: OptimConfig, source: DataConfig, count: int) -> int:
    """Models in a stack at which `count` of them train fastest, measured; 1 unless a stack is clearly faster."""
    return choose(seconds(model, optim, splits.load(source, torch.device("cpu")), [k for k in SIZES if k <= count]))


def choose(times: Mapping[int, float]) -> int:
    """The size with the least time per step and model, if that is clearly less than alone; else 1."""
    best = min(times, key=lambda size: times[size])
    return best if times[best] < WORTH * times[1] else 1


def seconds(model: ModelConfig, optim: OptimConfig, dataset: splits.Dataset, sizes: Sequence[int]) -> dict[int, float]:
    """Seconds per step and model of stacks of some sizes: the best of a few rounds in which all take turns."""
    stream = torch.Generator().manual_seed(0)
    stacks = {}
    for size in sizes:
        with seeding.global_stream(0, "init", torch.device("cpu")):
            members = [models.build(model, dataset.image_shape, dataset.classes) for _ in range(size)]
        dropout = Dropout([model.dropout] * size, [torch.Generator()] * size)
        stacks[size] = Stack(members, [dataset.train] * size, optim, dropout)
    times: dict[int, list[float]] = {size: [] for size in sizes}
    for turn in range(_ROUNDS + 1):
        for size, stack in stacks.items():
            rows = torch.randint(len(dataset.train), (_STEPS, size, optim.batch_size), generator=stream)
            start = time.perf_counter()
            for chosen in rows:
                stack.step(chosen, [optim.lr] * size)
            stack.mean_losses()
            if turn:  # the first one allocates
                times[size].append((time.perf_counter() - start) / (_STEPS * size))
    return {size: min(found) for size, found in times.items()}
