"""The step: what happens to one model between a batch's row numbers and its next weights."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from mnist_scaling.config import OptimConfig
from mnist_scaling.training import data, parametrization
from mnist_scaling.training.fast import small_cnn
from mnist_scaling.training.fast.flat import Flat, FlatOptimizer
from mnist_scaling.training.fast.masks import Dropout

Losses = Callable[[Tensor, Tensor], Tensor]
"""From rows of the shared pixels (S, batch) and their labels to losses; leaves gradients in the models."""


class Engine:
    """One model in training on one part, fast; what to train on and for how long is the regime's.

    A model that `small_cnn` supports trains by hand-written gradients, any other by autograd; which of the
    two depends on the model and the device alone, so a seed gives the same bits again.

    Parameters
    ----------
    model : nn.Module
        Trained in place; its device is that of `part`. Its parameters become views of one tensor.
    part : data.Part
        The examples that a batch's row numbers point to.
    config : OptimConfig
        Optimiser; the schedule is the caller's.
    """

    def __init__(self, model: nn.Module, part: data.Part, config: OptimConfig) -> None:
        self.model, self.part = model, part
        self._flat = Flat([model])
        self.optimizer = stepper(self._flat, config)
        self._losses: Losses
        if small_cnn.supports(model, part):
            dropout = Dropout([model.dropout.p], [None])  # type: ignore[union-attr, list-item]
            self._losses = small_cnn.Gradients([model], part, self._flat.weights, self._flat.gradients, dropout)
        else:
            self._losses = self._by_autograd
        self._window: list[Tensor] = []

    def step(self, rows: Tensor, rate: float) -> None:
        """One optimiser step on the examples at `rows` (batch,), int64, at a learning rate; waits for nothing."""
        rows = rows.to(self.part.rows.device, non_blocking=True).unsqueeze(0)
        self._window.append(self._losses(self.part.rows[rows], self.part.labels[rows]))
        self.optimizer.step((rate,))

    def _by_autograd(self, rows: Tensor, labels: Tensor) -> Tensor:
        self._flat.gradients.zero_()
        loss = cross_entropy(self.model(self.part.pictures(rows[0])), labels[0])
        loss.backward()
        return loss.detach()

    def mean_loss(self) -> float:
        """Mean training loss of the steps since the last call; waits for the device."""
        mean = torch.stack([losses.mean() for losses in self._window]).mean().item()
        self._window.clear()
        return mean

    def state_dict(self) -> dict[str, Any]:
        """All that steps to come depend on, copied: weights, moments, and the global stream of dropout masks."""
        device = self.part.rows.device
        return {
            "weights": self._flat.weights.clone(),
            "optimizer": self.optimizer.state_dict(),
            "random": torch.get_rng_state(),
            "device_random": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to what `state_dict` gave, bit for bit; `state` stays as it is."""
        self._flat.weights.copy_(state["weights"])
        self.optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["random"])
        if state["device_random"] is not None:
            torch.cuda.set_rng_state(state["device_random"], self.part.rows.device)


def stepper(flat: Flat, config: OptimConfig) -> FlatOptimizer | TorchOptimizer:
    """The fastest optimiser there is: one kernel for all weights, or torch's own where that kernel is missing."""
    if flat.weights.device.type in ("cpu", "cuda") and config.name in FlatOptimizer.KINDS:
        return FlatOptimizer(flat, config)
    return TorchOptimizer(build_optimizer(flat.models[0], config))


class TorchOptimizer:
    """A torch optimiser behind the interface of `FlatOptimizer`, for one model."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self._optimizer = optimizer

    def step(self, rates: Sequence[float]) -> None:
        """One step at the only rate, from the gradients as they are."""
        for group in self._optimizer.param_groups:
            group["lr"] = rates[0] * group["lr_factor"]
        self._optimizer.step()

    def state_dict(self) -> dict[str, Any]:
        """The optimiser's own state, copied."""
        return copy.deepcopy(self._optimizer.state_dict())

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        self._optimizer.load_state_dict(copy.deepcopy(state))


def build_optimizer(model: nn.Module, config: OptimConfig) -> torch.optim.Optimizer:
    """Torch's optimiser of `config` over all parameters of a model, in the groups its parametrization makes.

    What defines an optimiser here; `FlatOptimizer` must agree with it.
    """
    groups = parametrization.groups(model, config)
    if config.name == "sgd":
        return torch.optim.SGD(groups, config.lr, momentum=config.momentum)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[config.name]
    return kind(groups, config.lr, betas=(config.momentum, config.beta2))
