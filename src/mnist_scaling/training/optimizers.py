"""The optimiser of a run: one of torch's, by its own fused kernel where there is one, or anyone's class."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from mnist_scaling.config import OptimConfig, require
from mnist_scaling.errors import InputError
from mnist_scaling.training import parametrization

_ALIGN = 16
"""Tensors are filled up to a multiple of this many floats, so that vector instructions reach every weight."""


class FlatOptimizer:
    """SGD, Adam or AdamW on one tensor of weights: torch's own fused kernels, without the 40 us of Python
    that torch's optimisers spend per step.

    The parameters of the model, float32 on a CPU or a CUDA device, and their gradients become views of `weights` and
    `gradients` (P,), in the order and layout of ``model.parameters()``. Groups are those of the parametrization.
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
        tensors = (self.weights, self.gradients, self._first, self._second)
        self._groups = []
        for group in groups:
            own = [slice(0, length)] if len(groups) == 1 else _joined([places[p] for p in group["params"]])
            views = [[tensor[place] for place in own] for tensor in tensors]  # contiguous: what one kernel takes
            self._groups.append((views, group["lr_factor"], group["weight_decay"]))

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
    joined: list[slice] = []
    for place in places:
        start = joined.pop().start if joined and joined[-1].stop == place.start else place.start
        joined.append(slice(start, place.stop))
    return joined


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
    """The fastest optimiser for a model on its device; InputError when `optim._target_` can't be made."""
    fused = config._target_ is None and next(model.parameters()).device.type in ("cpu", "cuda")
    return FlatOptimizer(model, config) if fused else TorchOptimizer(model, config)


def of_torch(model: nn.Module, config: OptimConfig) -> torch.optim.Optimizer:
    """Torch's optimiser over all parameters of a model, in the groups its parametrization makes."""
    groups = parametrization.groups(model, config)
    if config._target_ is not None:
        return _imported(groups, config)
    if config.name == "sgd":
        return torch.optim.SGD(groups, config.lr, momentum=config.momentum, nesterov=config.nesterov)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[config.name]
    return kind(groups, config.lr, betas=(config.momentum, config.beta2))


def check(config: OptimConfig) -> None:
    """Refuse, before anything is trained, an optimiser that can't be imported, refuses its arguments, or can't step."""
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
    with _refused(config):
        optimizer.step()


def _imported(groups: list[dict[str, Any]], config: OptimConfig) -> torch.optim.Optimizer:
    """An optimiser of the class at `optim._target_`, which gets `optim.lr`, `weight_decay` by group, and `kwargs`."""
    module, _, name = str(config._target_).rpartition(".")
    with _refused(config):
        kind: type[torch.optim.Optimizer] = getattr(import_module(module), name)
        if not issubclass(kind, torch.optim.Optimizer):
            raise TypeError("it is no subclass of torch.optim.Optimizer")
        return kind(groups, lr=config.lr, **config.kwargs)  # type: ignore[call-arg]


@contextlib.contextmanager
def _refused(config: OptimConfig) -> Iterator[None]:
    """One sentence for whatever a user's optimiser, or its module, raises."""
    try:
        yield
    except Exception as error:
        raise InputError(
            f"`optim._target_` must be an importable optimiser that takes lr and `optim.kwargs` and whose `step()` "
            f"needs nothing but gradients, but {config._target_} with {dict(config.kwargs)} says: "
            f"{' '.join(str(error).split()).rstrip('.')}; mend its name or its arguments."
        ) from error
