"""An engine on flat parameters: one kernel steps all weights, and small CNNs get their gradients by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from mnist_scaling.config import OptimConfig
from mnist_scaling.training.data import splits
from mnist_scaling.training.step import small_cnn
from mnist_scaling.training.step.engine import Engine
from mnist_scaling.training.step.flat import Flat, FlatOptimizer
from mnist_scaling.training.step.masks import Dropout

Losses = Callable[[Tensor, Tensor], Tensor]
"""From rows of the shared pixels (1, batch) and their labels to losses; leaves gradients in the flat ones."""


class FlatEngine(Engine):
    """The steps of `AutogradEngine` in less time, on a CPU or a CUDA device.

    Parameters
    ----------
    model : nn.Module
        Its parameters become views of one tensor.
    part : data.Part
    config : OptimConfig
    """

    def __init__(self, model: nn.Module, part: splits.Part, config: OptimConfig) -> None:
        super().__init__(model, part)
        self._flat = Flat([model])
        self._optimizer = FlatOptimizer(self._flat, config)
        self._losses: Losses = self._by_autograd
        if small_cnn.supports(model, part):
            dropout = Dropout([model.dropout.p], [None])  # type: ignore[union-attr, list-item]
            self._losses = small_cnn.Gradients([model], part, self._flat.weights, self._flat.gradients, dropout)

    def _update(self, rows: Tensor, rate: float) -> Tensor:
        rows = rows.unsqueeze(0)
        losses = self._losses(self.part.rows[rows], self.part.labels[rows])
        self._optimizer.step((rate,))
        return losses

    def _by_autograd(self, rows: Tensor, labels: Tensor) -> Tensor:
        self._flat.gradients.zero_()
        loss = cross_entropy(self.model(self.part.pictures(rows[0])), labels[0])
        loss.backward()
        return loss.detach()

    def _copy_state(self) -> dict[str, Any]:
        return {"weights": self._flat.weights.clone(), "optimizer": self._optimizer.state_dict()}

    def _load_state(self, state: dict[str, Any]) -> None:
        self._flat.weights.copy_(state["weights"])
        self._optimizer.load_state_dict(state["optimizer"])
