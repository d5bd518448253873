"""The step: what happens to one model between a batch's row numbers and its next weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from mnist_scaling.config import OptimConfig
from mnist_scaling.training import data, parametrization


class Engine:
    """One model in training on one part, fast; what to train on and for how long is the regime's.

    Parameters
    ----------
    model : nn.Module
        Trained in place; its device is that of `part`.
    part : data.Part
        The examples that a batch's row numbers point to.
    config : OptimConfig
        Optimiser; the schedule is the caller's.
    """

    def __init__(self, model: nn.Module, part: data.Part, config: OptimConfig) -> None:
        self.model, self.part = model, part
        self.optimizer = build_optimizer(model, config)
        self._window: list[Tensor] = []

    def step(self, rows: Tensor, rate: float) -> None:
        """One optimiser step on the examples at `rows` (batch,), int64, at a learning rate; waits for nothing."""
        batch = self.part.take(rows.to(self.part.labels.device))
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["lr_factor"]
        loss = cross_entropy(self.model(batch.images), batch.labels)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self._window.append(loss.detach())

    def mean_loss(self) -> float:
        """Mean training loss of the steps since the last call; waits for the device."""
        mean = torch.stack(self._window).mean().item()
        self._window.clear()
        return mean


def build_optimizer(model: nn.Module, config: OptimConfig) -> torch.optim.Optimizer:
    """The optimiser of `config` over all parameters of a model, in the groups its parametrization makes."""
    # One kernel a step instead of one a tensor, where torch has it.
    fused = next(model.parameters()).device.type in ("cpu", "cuda")
    groups = parametrization.groups(model, config)
    if config.name == "sgd":
        return torch.optim.SGD(groups, config.lr, momentum=config.momentum, fused=fused)
    betas = (config.momentum, config.beta2)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[config.name]
    return kind(groups, config.lr, betas=betas, fused=fused)
