"""The step: what happens to one model between a batch's row numbers and its next weights."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from mnist_scaling.config import OptimConfig
from mnist_scaling.training.data import splits
from mnist_scaling.training.step import optimizers


class Learner(Protocol):
    """A model in training as its run sees it, whoever takes the steps."""

    @property
    def model(self) -> nn.Module:
        """Trained in place."""
        ...

    @property
    def part(self) -> splits.Part:
        """The examples that it is trained on."""
        ...

    def mean_loss(self) -> float:
        """Mean training loss of the steps since the last call; waits for the device."""
        ...


class Engine(ABC):
    """One model in training on one part; what to train on and for how long is the regime's.

    `AutogradEngine` says what a step is; any other engine (`fastest.build_engine`) takes the same steps to rounding,
    whatever its speed. Which one `fastest.build_engine` chooses depends on the model and the device
    alone, so a seed gives the same bits again.

    Parameters
    ----------
    model : nn.Module
        Trained in place; its device is that of `part`.
    part : data.Part
        The examples that a batch's row numbers point to.
    """

    def __init__(self, model: nn.Module, part: splits.Part) -> None:
        self.model, self.part = model, part
        self._losses_since: list[Tensor] = []

    def step(self, rows: Tensor, rate: float) -> None:
        """One optimiser step on the examples at `rows` (batch,), int64, at a learning rate; waits for nothing."""
        self._losses_since.append(self._update(rows.to(self.part.rows.device, non_blocking=True), rate))

    def mean_loss(self) -> float:
        """Mean training loss of the steps since the last call; waits for the device."""
        mean = torch.stack([losses.mean() for losses in self._losses_since]).mean().item()
        self._losses_since.clear()
        return mean

    def state_dict(self) -> dict[str, Any]:
        """All that steps to come depend on, copied: weights, moments, and the global stream of dropout masks."""
        device = self.part.rows.device
        return {
            **self._copy_state(),
            "random": torch.get_rng_state(),
            "device_random": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to what `state_dict` gave, bit for bit; `state` stays as it is."""
        self._load_state(state)
        torch.set_rng_state(state["random"])
        if state["device_random"] is not None:
            torch.cuda.set_rng_state(state["device_random"], self.part.rows.device)

    @abstractmethod
    def _update(self, rows: Tensor, rate: float) -> Tensor:
        """Take the step; losses of its examples, or their mean, on the device."""

    @abstractmethod
    def _copy_state(self) -> dict[str, Any]:
        """Weights and moments, copied."""

    @abstractmethod
    def _load_state(self, state: dict[str, Any]) -> None:
        """Take over what `_copy_state` gave."""


class AutogradEngine(Engine):
    """Torch's autograd and optimisers: the definition of a step, for any family on any device.

    Parameters
    ----------
    model : nn.Module
    part : data.Part
    config : OptimConfig
        Optimiser and clipping; the schedule is the caller's.
    """

    def __init__(self, model: nn.Module, part: splits.Part, config: OptimConfig) -> None:
        super().__init__(model, part)
        self._optimizer = optimizers.build(model, config)
        self._clip = config.clip

    def _update(self, rows: Tensor, rate: float) -> Tensor:
        for group in self._optimizer.param_groups:
            group["lr"] = rate * group["lr_factor"]
        loss = cross_entropy(self.model(self.part.pictures(self.part.rows[rows])), self.part.labels[rows])
        self._optimizer.zero_grad()
        loss.backward()
        optimizers.clip(self.model.parameters(), self._clip)
        self._optimizer.step()
        return loss.detach()

    def _copy_state(self) -> dict[str, Any]:
        weights = [parameter.detach().clone() for parameter in self.model.parameters()]
        return {"weights": weights, "optimizer": copy.deepcopy(self._optimizer.state_dict())}

    @torch.no_grad()
    def _load_state(self, state: dict[str, Any]) -> None:
        for parameter, weights in zip(self.model.parameters(), state["weights"], strict=True):
            parameter.copy_(weights)
        self._optimizer.load_state_dict(copy.deepcopy(state["optimizer"]))
