"""The optimiser of a run: one of torch's, by its own fused kernel where there is one, or anyone's class."""

from __future__ import annotations

import copy
from importlib import import_module
from typing import Any

import torch
from torch import nn

from mnist_scaling.config import OptimConfig, require
from mnist_scaling.errors import InputError
from mnist_scaling.training.models import parametrization
from mnist_scaling.training.step.flat import FlatOptimizer


class TorchOptimizer:
    """An optimiser of torch's kind: what any faster one must agree with to rounding."""

    def __init__(self, model: nn.Module, config: OptimConfig) -> None:
        self._optimizer = of_torch(model, config)
        self._parameters, self._clip = list(model.parameters()), config.clip

    def zero_grad(self) -> None:
        """Forget the gradients."""
        self._optimizer.zero_grad()

    def step(self, rate: float) -> None:
        """Clip, then one step: each group at the rate times its factor."""
        for group in self._optimizer.param_groups:
            group["lr"] = rate * group["lr_factor"]
        if self._clip is not None:
            nn.utils.clip_grad_norm_(self._parameters, self._clip)
        self._optimizer.step()

    def state_dict(self) -> dict[str, Any]:
        """Its state, copied."""
        return copy.deepcopy(self._optimizer.state_dict())

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        self._optimizer.load_state_dict(copy.deepcopy(state))


Optimizer = FlatOptimizer | TorchOptimizer
"""What an engine takes."""


def build(model: nn.Module, config: OptimConfig) -> Optimizer:
    """The fastest optimiser that there is for a model on its device.

    Raises
    ------
    InputError
        See `of_torch`.
    """
    fused = config._target_ is None and next(model.parameters()).device.type in ("cpu", "cuda")
    return FlatOptimizer(model, config) if fused else TorchOptimizer(model, config)


def of_torch(model: nn.Module, config: OptimConfig) -> torch.optim.Optimizer:
    """Torch's optimiser over all parameters of a model, in the groups its parametrization makes.

    Raises
    ------
    InputError
        When `optim._target_` can't be imported or refuses its arguments.
    """
    groups = parametrization.groups(model, config)
    if config._target_ is not None:
        return _imported(groups, config)
    if config.name == "sgd":
        return torch.optim.SGD(groups, config.lr, momentum=config.momentum, nesterov=config.nesterov)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[config.name]
    return kind(groups, config.lr, betas=(config.momentum, config.beta2))


def check(config: OptimConfig) -> None:
    """Refuse an optimiser from elsewhere before anything is trained: it must take one step on one number.

    Raises
    ------
    InputError
        When it can't be imported, refuses its arguments, or can't take a step.
    """
    if config._target_ is None:
        return
    parameter = nn.Parameter(torch.ones(2, 2))
    parameter.grad = torch.ones(2, 2)
    optimizer = _imported([{"params": [parameter], "lr": config.lr, "weight_decay": config.weight_decay}], config)
    require(
        config.weight_decay == 0 or "weight_decay" in optimizer.defaults,
        f"`optim.weight_decay` must be 0 for an optimiser without weight decay, but got {config.weight_decay:g} with "
        f"optim._target_={config._target_}: set it to 0.",
    )
    try:
        optimizer.step()
    except Exception as error:
        raise InputError(
            f"`optim._target_` must be an optimiser whose `step()` needs nothing but gradients, but "
            f"{config._target_} says: {_one_line(error)}; give another class."
        ) from error


def _imported(groups: list[dict[str, Any]], config: OptimConfig) -> torch.optim.Optimizer:
    """An optimiser of the class at `optim._target_`, which gets `optim.lr`, `weight_decay` by group, and `kwargs`."""
    target = str(config._target_)
    module, _, name = target.rpartition(".")
    try:
        kind = getattr(import_module(module), name)
    except Exception as error:  # whatever the module does when it is imported
        raise InputError(
            f"`optim._target_` must be a class that can be imported, but {target} can't be: {_one_line(error)}; "
            "install its package, or mend the name (package.module.Class)."
        ) from error
    require(
        isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer),
        f"`optim._target_` must be a subclass of torch.optim.Optimizer, but {target} is none: name the class itself.",
    )
    try:
        return kind(groups, lr=config.lr, **config.kwargs)  # type: ignore[no-any-return]
    except (TypeError, ValueError) as error:
        raise InputError(
            f"`optim.kwargs` must be arguments that {target} takes, but got {dict(config.kwargs)}: {_one_line(error)}."
        ) from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")
