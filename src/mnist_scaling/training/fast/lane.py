"""A stack with places: runs of one shape enter it, take their own steps at their own pace, and leave it.

A narrow network leaves a GPU idle, because a step is some forty kernels that each end in microseconds. Here a
step's kernels serve S models at once, and a CUDA graph starts all kernels of several steps together. What differs
between the models (examples, batch size, learning rate, dropout, number of the step) is data that the kernels read, so
the graph stays the same while runs come and go. A place without a run computes what nobody reads.

All places have room for the same batch; a smaller one is filled up with examples that count for nothing. What a
model computes depends on the number of places, which depends on its shape alone, and not on its neighbours.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mnist_scaling.config import OptimConfig
from mnist_scaling.training.data import splits
from mnist_scaling.training.fast import row_kernels, small_cnn
from mnist_scaling.training.fast.flat import Flat, bind
from mnist_scaling.training.fast.masks import Dropout
from mnist_scaling.training.models import parametrization

_WARM_UPS = 2
"""Steps before the graph is captured: libraries allocate in their first calls."""

_CAPTURED = 5
"""Steps in a graph. It takes one launch for all of them, and capturing more makes a new lane late."""


@dataclass(frozen=True)
class Plan:
    """Every step of one run as a lane's kernels read it."""

    numbers: Tensor
    """(steps, 2 batch + 2), int64: rows of the pixels, labels, the examples that count, a key for masks."""
    factors: Tensor
    """(steps, 4), float32: learning rate, both of Adam's corrections, rate of dropout."""

    def __len__(self) -> int:
        return len(self.numbers)


class _Masks(Dropout):
    """Masks by keys that the lane's step sets, on a GPU."""

    def __init__(self, active: bool) -> None:
        super().__init__([0.5 if active else 0.0], [None])
        self.keys = self.rates = torch.empty(0)

    def fill(self, mask: Tensor) -> None:
        """Masks of the step that is being taken."""
        row_kernels.masks(mask, self.rates, self.keys)


class Lane:
    """S places for models of one shape.

    Parameters
    ----------
    model : nn.Module
        Of the shape of all that will enter, on the device.
    places : int
        S.
    part : data.Part
        Whose pixels the rows of all runs point to.
    config : OptimConfig
        Optimiser of all; its learning rate and batch size play no part.
    batch : int
        Room for examples per step, a multiple of 8.
    steps : int
        Most steps that a run takes between two looks at it, a multiple of 5.
    dropout : bool
        Whether any run may have dropout.
    """

    def __init__(
        self,
        model: nn.Module,
        places: int,
        part: splits.Part,
        config: OptimConfig,
        batch: int,
        steps: int,
        dropout: bool,
    ) -> None:
        self.places, self.batch, self.steps, self._config = places, batch, steps, config
        models = [model] * places
        flat = Flat(models)
        device = flat.weights.device
        self._cuda = device.type == "cuda"
        self._masks = _Masks(dropout) if self._cuda else Dropout([0.0] * self.places, [None] * self.places)
        self._gradients = small_cnn.Gradients(models, part, flat.weights, flat.gradients, self._masks)
        first, second = torch.zeros_like(flat.weights), torch.zeros_like(flat.weights)
        factors, decay = _columns(flat, config)
        self._rows = row_kernels.Rows(flat.weights, flat.gradients, first, second, factors, decay)
        shape = (steps, self.places)
        self._numbers = torch.zeros(*shape, 2 * batch + 2, dtype=torch.int64, device=device)
        self._factors = torch.zeros(*shape, 4, device=device)
        # Those of the steps that are taken next, which a graph reads at the same place each time.
        self._next_numbers, self._next_factors = self._numbers[:_CAPTURED].clone(), self._factors[:_CAPTURED].clone()
        # What the host fills while no step is being taken, and what it reads then.
        self._host_numbers = torch.zeros(self._numbers.shape, dtype=torch.int64, pin_memory=self._cuda)
        self._host_factors = torch.zeros(self._factors.shape, pin_memory=self._cuda)
        self._losses = torch.zeros(self.places, device=device)
        self._host_losses = torch.zeros(self.places, pin_memory=self._cuda)
        self._examples = torch.arange(batch, device=device)
        self.stream = torch.cuda.Stream(device) if self._cuda else None
        """Where the steps are taken."""
        self._done = torch.cuda.Event() if self._cuda else None
        self._graph: torch.cuda.CUDAGraph | None = None
        if self._cuda:
            self._capture()

    def here(self) -> contextlib.AbstractContextManager[object]:
        """Whatever a GPU is told inside this block comes after the steps that were launched before it."""
        return contextlib.nullcontext() if self.stream is None else torch.cuda.stream(self.stream)

    def enter(self, place: int, model: nn.Module) -> None:
        """Give a place to a model: its weights are copied there, and its parameters become views of them."""
        with self.here():
            for moments in (self._rows.first, self._rows.second):
                moments[place].zero_()
            bind(model, self._rows.weights[place], self._rows.gradients[place])

    def launch(self, work: Sequence[tuple[int, Plan, int, int]]) -> None:
        """Take steps: of each (place, plan, first, last) those from `first` to before `last`; waits for nothing."""
        self._host_numbers[..., 2 * self.batch] = 0  # a place takes no step unless it is told to
        for place, plan, first, last in work:
            self._host_numbers[: last - first, place] = plan.numbers[first:last]
            self._host_factors[: last - first, place] = plan.factors[first:last]
        with self.here():
            self._numbers.copy_(self._host_numbers, non_blocking=True)
            self._factors.copy_(self._host_factors, non_blocking=True)
            self._losses.zero_()
            for start in range(0, max((last - first for _, _, first, last in work), default=0), _CAPTURED):
                self._next_numbers.copy_(self._numbers[start : start + _CAPTURED])
                self._next_factors.copy_(self._factors[start : start + _CAPTURED])
                if self._graph is not None:
                    self._graph.replay()
                else:
                    self._take_steps()
            self._host_losses.copy_(self._losses, non_blocking=True)
            if self._done is not None:
                self._done.record()

    def is_done(self) -> bool:
        """Whether the steps that were launched last have been taken."""
        return self._done is None or self._done.query()

    def wait(self) -> None:
        """Until they have been taken."""
        if self._done is not None:
            self._done.synchronize()

    def losses(self) -> list[float]:
        """Sum over the steps that were launched last of each place's mean training loss."""
        return self._host_losses.tolist()

    def _capture(self) -> None:
        assert self.stream is not None
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            self._take_steps(_WARM_UPS)
        self.stream.synchronize()
        self._graph = torch.cuda.CUDAGraph()
        # Other threads go on using the GPU.
        with torch.cuda.graph(self._graph, stream=self.stream, capture_error_mode="thread_local"):
            self._take_steps()

    @torch.no_grad()
    def _take_steps(self, count: int = _CAPTURED) -> None:
        b = self.batch
        for numbers, factors in zip(self._next_numbers[:count], self._next_factors[:count], strict=True):
            taken = numbers[:, 2 * b]
            if isinstance(self._masks, _Masks):
                self._masks.keys, self._masks.rates = numbers[:, 2 * b + 1], factors[:, 3]
            counts = self._examples < taken.unsqueeze(1)
            shares = counts / taken.clamp(min=1).unsqueeze(1)
            losses = self._gradients(numbers[:, :b], numbers[:, b : 2 * b], shares.unsqueeze(1))
            # Examples that count for nothing must not make a NaN of a sum either.
            self._losses.add_(torch.where(counts, losses.squeeze(1) * shares, 0).sum(1))
            steps = row_kernels.Steps(taken, factors[:, 0], factors[:, 1], factors[:, 2])
            row_kernels.update(self._rows, steps, self._config)


def plan(
    rows: Tensor,
    labels: Tensor,
    sizes: Tensor,
    rates: Tensor,
    keys: Tensor,
    dropout: float,
    config: OptimConfig,
) -> Plan:
    """The steps of one run.

    Parameters
    ----------
    rows, labels : Tensor of shape (steps, batch), int64
        Rows of the pixels and classes of each step's examples, padded with any valid ones.
    sizes : Tensor of shape (steps,), int64
        How many of them count.
    rates : Tensor of shape (steps,)
        Learning rates.
    keys : Tensor of shape (steps,), int64
        Of the masks.
    dropout : float
        p.
    config : OptimConfig
        For the optimiser's constants.
    """
    numbers = torch.cat([rows, labels, sizes.unsqueeze(1), keys.unsqueeze(1)], 1)
    scales, roots = row_kernels.corrections(config, torch.arange(1, len(rows) + 1))
    factors = torch.stack([rates.float(), scales, roots, torch.full_like(scales, dropout)], 1)
    return Plan(numbers, factors)


def _columns(flat: Flat, config: OptimConfig) -> tuple[Tensor, Tensor]:
    """Factor on the rate and weight decay of each column, (P,) both."""
    factors, decay = torch.ones_like(flat.weights[0]), torch.zeros_like(flat.weights[0])
    for group in parametrization.groups(flat.models[0], config):
        for columns in flat.rows_of(group["params"]):
            factors[columns], decay[columns] = group["lr_factor"], group["weight_decay"]
    return factors, decay
