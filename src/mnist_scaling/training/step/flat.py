"""Parameters of several models of one shape as rows of one tensor, and the optimisers that step them in one kernel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mnist_scaling.config import OptimConfig
from mnist_scaling.training.models import parametrization

_ALIGN = 16
"""Rows start at multiples of this many floats, so that vector instructions cut every row alike, alone or in a stack."""


class Flat:
    """Weights and gradients of S models as rows, (S, P); the models' parameters become views of them.

    Parameters
    ----------
    models : sequence of nn.Module
        Of one shape, on one device, float32.
    """

    def __init__(self, models: Sequence[nn.Module]) -> None:
        self.models = models
        parameters = list(models[0].parameters())
        self.sizes = [p.numel() for p in parameters]
        length = -(-sum(self.sizes) // _ALIGN) * _ALIGN
        self.weights, self.gradients = (torch.zeros(len(models), length, device=parameters[0].device) for _ in range(2))
        for model, weights, gradients in zip(models, self.weights, self.gradients, strict=True):
            bind(model, weights, gradients)

    def rows_of(self, parameters: Sequence[nn.Parameter]) -> list[slice]:
        """Columns of some of the first model's parameters, neighbours joined."""
        wanted = {id(p) for p in parameters}
        found: list[slice] = []
        start = 0
        for p in self.models[0].parameters():
            stop = start + p.numel()
            if id(p) in wanted:
                joined = found.pop().start if found and found[-1].stop == start else start
                found.append(slice(joined, stop))
            start = stop
        return found


def bind(model: nn.Module, weights: Tensor, gradients: Tensor) -> None:
    """Copy a model's parameters into a row of weights (P,), and make them, and their gradients, views of rows."""
    start = 0
    for p in model.parameters():
        here = slice(start, start + p.numel())
        weights[here].view_as(p).copy_(p.detach())
        p.data, p.grad = weights[here].view_as(p), gradients[here].view_as(p)
        start = here.stop


class FlatOptimizer:
    """SGD, Adam or AdamW on the rows of a `Flat`: torch's own fused kernels, without the 40 us of Python
    that torch's optimisers spend per step.

    Parameters
    ----------
    flat : Flat
        On a CPU or a CUDA device.
    config : OptimConfig
        The kind and its constants; groups are those of the parametrization.
    """

    def __init__(self, flat: Flat, config: OptimConfig) -> None:
        self.config, self._flat = config, flat
        self._first, self._second = torch.zeros_like(flat.weights), torch.zeros_like(flat.weights)
        self._step = torch.zeros((), device=flat.weights.device)
        groups = parametrization.groups(flat.models[0], config)
        whole = [slice(0, flat.weights.shape[1])]
        self._groups = [
            (whole if len(groups) == 1 else flat.rows_of(g["params"]), g["lr_factor"], g["weight_decay"])
            for g in groups
        ]
        self._together = [self._lists(columns, slice(None)) for columns, _, _ in self._groups]
        self._alone = [
            [self._lists(columns, slice(s, s + 1)) for columns, _, _ in self._groups] for s in range(len(flat.models))
        ]

    def _lists(self, columns: list[slice], rows: slice) -> tuple[list[Tensor], ...]:
        """Contiguous views of weights, gradients and moments: what one kernel takes."""
        tensors = (self._flat.weights, self._flat.gradients, self._first, self._second)
        whole = columns[0].stop - columns[0].start == tensors[0].shape[1]
        if whole:
            return tuple([t[rows]] for t in tensors)
        return tuple([row[c] for row in t[rows] for c in columns] for t in tensors)

    def step(self, rates: Sequence[float]) -> None:
        """One step of each model at its own rate, from the gradients as they are, or as clipping leaves them."""
        self._step += 1
        if self.config.clip is not None:
            for gradients in self._flat.gradients:  # one by one: alone and in a stack a row has the same bits
                gradients *= (self.config.clip / (torch.linalg.vector_norm(gradients) + 1e-6)).clamp(max=1.0)
        if len(set(rates)) == 1:
            self._update(self._together, rates[0])
            return
        for views, rate in zip(self._alone, rates, strict=True):
            self._update(views, rate)

    def _update(self, views: list[tuple[list[Tensor], ...]], rate: float) -> None:
        c = self.config
        for (weights, gradients, first, second), (_, factor, decay) in zip(views, self._groups, strict=True):
            if c.name == "sgd":
                momenta = first if c.momentum else []
                torch._fused_sgd_(  # type: ignore[attr-defined]
                    weights, gradients, momenta, weight_decay=decay, momentum=c.momentum, lr=rate * factor,
                    dampening=0.0, nesterov=c.nesterov, maximize=False, is_first_step=False,
                )  # fmt: skip
                continue
            kernel = torch._fused_adam_ if c.name == "adam" else torch._fused_adamw_  # type: ignore[attr-defined]
            kernel(
                weights, gradients, first, second, [], [self._step] * len(weights), lr=rate * factor,
                beta1=c.momentum, beta2=c.beta2, weight_decay=decay, eps=1e-8, amsgrad=False, maximize=False,
            )  # fmt: skip

    def state_dict(self) -> dict[str, Any]:
        """Moments and the number of steps, copied."""
        return {"first": self._first.clone(), "second": self._second.clone(), "step": self._step.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        self._first.copy_(state["first"])
        self._second.copy_(state["second"])
        self._step.copy_(state["step"])
