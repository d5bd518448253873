"""The step: what happens to one model between a batch's row numbers and its next weights, by autograd or by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from mnist_scaling.config import RunConfig
from mnist_scaling.training import models, small_cnn
from mnist_scaling.training.data import splits
from mnist_scaling.training.models import Pace
from mnist_scaling.training.models.cnn import CNN
from mnist_scaling.training.optimizers import FlatOptimizer, Optimizer

Gradients = Callable[[Tensor, Tensor], Tensor]
"""From rows of the pixels (batch,) and their labels to losses; leaves the gradients where the optimiser reads them."""

Forward = Callable[[Tensor], Tensor]
"""From rows of a part's pixels, (batch,), to logits (batch, classes), dropout off; the next call may overwrite them."""


class Engine:
    """One model in training, in place, on the examples of one part, to which a batch's row numbers point.

    `gradients` computes them; None stands for torch's autograd, the definition of a step, for any family on any device.
    """

    def __init__(
        self, model: nn.Module, optimizer: Optimizer, part: splits.Examples, gradients: Gradients | None = None
    ) -> None:
        self.model, self.optimizer, self.part = model, optimizer, part
        self._gradients = gradients or self._by_autograd
        self._losses_since: list[Tensor] = []

    def step(self, rows: Tensor, rate: float) -> None:
        """One optimiser step on the examples at `rows` (batch,), int64, at a learning rate; waits for nothing."""
        rows = rows.to(self.part.rows.device, non_blocking=True)
        self._losses_since.append(self._gradients(self.part.rows[rows], self.part.labels[rows]))
        self.optimizer.step(rate)

    def _by_autograd(self, rows: Tensor, labels: Tensor) -> Tensor:
        self.optimizer.zero_grad()
        loss = cross_entropy(self.model(self.part.pictures(rows)), labels)
        loss.backward()
        return loss.detach()

    def mean_loss(self) -> float:
        """Mean training loss of the steps since the last call; waits for the device."""
        mean = torch.stack([losses.mean() for losses in self._losses_since]).mean().item()
        self._losses_since.clear()
        return mean

    def state_dict(self) -> dict[str, Any]:
        """All that steps to come depend on, copied: weights, moments, and the global stream of dropout masks."""
        device = self.part.rows.device
        return {
            "weights": [parameter.detach().clone() for parameter in self.model.parameters()],
            "optimizer": self.optimizer.state_dict(),
            "random": torch.get_rng_state(),
            "device_random": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        }

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to what `state_dict` gave, bit for bit; `state` stays as it is."""
        for parameter, weights in zip(self.model.parameters(), state["weights"], strict=True):
            parameter.copy_(weights)
        self.optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["random"])
        if state["device_random"] is not None:
            torch.cuda.set_rng_state(state["device_random"], self.part.rows.device)


def build_engine(model: nn.Module, optimizer: Optimizer, part: splits.Examples) -> Engine:
    """Autograd, or gradients by hand where `small_cnn` has them; they agree to rounding.

    The choice depends on the model and the device alone, so a seed gives the same bits again.
    """
    if isinstance(optimizer, FlatOptimizer) and small_cnn.supports(model, part):
        by_hand = small_cnn.Gradients(model, part, optimizer.weights, optimizer.gradients)  # type: ignore[arg-type]
        return Engine(model, optimizer, part, by_hand)
    return Engine(model, optimizer, part)


def forward(model: nn.Module, part: splits.Examples) -> Forward:
    """The fastest way to the logits of a model, with its weights as they are now, on a part; it is in eval mode."""
    if small_cnn.supports(model, part):
        return small_cnn.forward(model, part).logits  # type: ignore[arg-type]
    return lambda rows: model(part.pictures(rows))


def pace(run: RunConfig, image_shape: tuple[int, ...], flops: int) -> Pace:
    """Predicted seconds of a run's steps and evaluations on a core; `flops` are those of training on an example.

    By hand: 80 us per step and, per example, 0.5 us, 0.7 us for each unit of width (memory traffic) and FLOPs at
    220 GFLOP/s; fitted to steps timed alone (LOG.md). By autograd it is what the family says.
    """
    config, family = run.model, models.family(run.model.name)
    if family is CNN and run.optim._target_ is None and small_cnn.fits(config.depth, config.width, image_shape):
        example = 5e-7 + 7e-7 * config.width + flops / 220e9
        return Pace(8e-5, example, 1e-6 + example / 3)
    return family.pace(config, image_shape, flops)
