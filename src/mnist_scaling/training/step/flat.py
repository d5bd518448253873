"""All parameters of a model in one tensor, so that an optimiser's step is one kernel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mnist_scaling.config import OptimConfig
from mnist_scaling.training.models import parametrization

_ALIGN = 16
"""Tensors are filled up to a multiple of this many floats, so that vector instructions reach every weight."""


class FlatOptimizer:
    """SGD, Adam or AdamW on one tensor of weights: torch's own fused kernels, without the 40 us of Python
    that torch's optimisers spend per step.

    Parameters
    ----------
    model : nn.Module
        On a CPU or a CUDA device, float32. Its parameters, and their gradients, become views of `weights` and
        `gradients` (P,), in the order and layout of ``model.parameters()``.
    config : OptimConfig
        The kind and its constants; groups are those of the parametrization.
    """

    def __init__(self, model: nn.Module, config: OptimConfig) -> None:
        self.config = config
        parameters = list(model.parameters())
        length = -(-sum(p.numel() for p in parameters) // _ALIGN) * _ALIGN
        device = parameters[0].device
        self.weights, self.gradients, self._first, self._second = (torch.zeros(length, device=device) for _ in range(4))
        self._step = torch.zeros((), device=device)
        groups = parametrization.groups(model, config)
        places = _bind(parameters, self.weights, self.gradients)
        self._groups = [
            (
                self._views([slice(0, length)] if len(groups) == 1 else _joined([places[p] for p in group["params"]])),
                group["lr_factor"],
                group["weight_decay"],
            )
            for group in groups
        ]

    def _views(self, places: Sequence[slice]) -> tuple[list[Tensor], ...]:
        """Contiguous views of weights, gradients and moments: what one kernel takes."""
        tensors = (self.weights, self.gradients, self._first, self._second)
        return tuple([tensor[place] for place in places] for tensor in tensors)

    def zero_grad(self) -> None:
        """Set the gradients to zero."""
        self.gradients.zero_()

    def step(self, rate: float) -> None:
        """One step at a learning rate, from the gradients as they are, or as clipping leaves them."""
        c = self.config
        self._step += 1
        if c.clip is not None:
            self.gradients *= (c.clip / (torch.linalg.vector_norm(self.gradients) + 1e-6)).clamp(max=1.0)
        for (weights, gradients, first, second), factor, decay in self._groups:
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


def _bind(parameters: Sequence[nn.Parameter], weights: Tensor, gradients: Tensor) -> dict[nn.Parameter, slice]:
    """Copy parameters into `weights` and make them, and their gradients, views; where each lies."""
    places: dict[nn.Parameter, slice] = {}
    start = 0
    for p in parameters:
        place = places[p] = slice(start, start + p.numel())
        weights[place].view_as(p).copy_(p.detach())
        p.data, p.grad = weights[place].view_as(p), gradients[place].view_as(p)
        start = place.stop
    return places


def _joined(places: Sequence[slice]) -> list[slice]:
    """Ascending slices, neighbours as one."""
    found: list[slice] = []
    for place in places:
        start = found.pop().start if found and found[-1].stop == place.start else place.start
        found.append(slice(start, place.stop))
    return found
