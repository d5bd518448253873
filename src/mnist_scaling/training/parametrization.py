"""How a model's initial weights, learning rates and output change with width: standard, or µP.

µP (maximal update parametrization, Yang et al. 2022, "Tensor Programs V", arXiv 2203.03466) is here the
form of its table 8, relative to a base width as in its section 4 and appendix B. With n = width / base
width, a parameter whose layer has fan-in and fan-out grown by f_in and f_out (each 1 or n) gets

    role      initial weights       multiplier   Adam, AdamW lr   SGD lr   example
    input     as drawn              1            1                f_out    first convolution
    vector    as drawn * f_in^.5    1            1                f_out    biases, gains
    hidden    as drawn              1            1 / f_in         1        every layer between
    output    as drawn * f_in^.5    1 / f_in     1                f_in     the layer that makes the logits

"As drawn" is torch's default, standard deviation (3 fan_in)^-.5, so that the factor f_in^.5 leaves a
deviation that does not depend on width. Tables 3 and 9 describe the same training in other units.

Standard is the same table with n = 1 at every width: each width is its own base. So at the base width
both are the same computation bit by bit; µP's usual zero output layer at initialisation is left out for
that reason, and logits start at f_in^-.5 of the standard ones instead.

Weight decay. Decoupled (adamw): lr * decay is held fixed, the decay is divided by the factor on lr. As an
L2 penalty (adam, sgd): g + decay * w keeps its proportions, which divides the decay by SGD's factor,
whatever the optimiser: a gradient is as much smaller as SGD's rate is larger.

Adam's epsilon (1e-8) stays: gradients shrink as 1 / n, so it must be negligible next to them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from math import sqrt
from typing import Any

import torch
from torch import Tensor, nn

from mnist_scaling.config import ModelConfig, OptimConfig
from mnist_scaling.errors import InputError


class Role(Enum):
    """What happens to a parameter's dimensions as the model widens."""

    INPUT = "input"
    """A weight whose fan-out alone grows."""
    VECTOR = "vector"
    """A bias or a gain: one number a unit."""
    HIDDEN = "hidden"
    """A weight whose fan-in and fan-out grow."""
    OUTPUT = "output"
    """A weight whose fan-in alone grows, in a `Readout`."""


@dataclass(frozen=True)
class Label:
    """A parameter's role and how much wider than the base model it is; a family states one for each."""

    role: Role
    fan_in: float = 1.0
    """Growth of the fan-in that its initial values were drawn by; 1 if they don't depend on width."""
    fan_out: float = 1.0
    """Growth of the number of units it makes."""


@dataclass(frozen=True)
class Factors:
    """What a parametrization multiplies, relative to the standard one; all 1 at the base width."""

    init: float
    multiplier: float
    lr: float
    weight_decay: float


class Readout(nn.Linear):
    """A linear layer whose weights act through a multiplier: y = (multiplier * x) W' + b.

    The bias is a vector of fixed length and needs no multiplier.
    """

    multiplier = 1.0

    def forward(self, features: Tensor) -> Tensor:
        """Outputs (batch, out_features) of features (batch, in_features)."""
        return super().forward(features if self.multiplier == 1 else features * self.multiplier)


def growth(config: ModelConfig) -> float:
    """Width over base width, n; 1 under the standard parametrization, where each width is its own base."""
    return config.width / config.base_width if config.parametrization == "mup" else 1.0


def factors(label: Label, optimizer: str) -> Factors:
    """One row of the table above, for adam, adamw or sgd.

    Source: Yang et al. 2022, table 8; mup 1.0 `optim.py` for decoupled decay and SGD.
    """
    adam = 1 / label.fan_in if label.role is Role.HIDDEN else 1.0
    sgd = {Role.HIDDEN: 1.0, Role.OUTPUT: label.fan_in}.get(label.role, label.fan_out)
    drawn_fixed = label.role in (Role.VECTOR, Role.OUTPUT)
    return Factors(
        init=sqrt(label.fan_in) if drawn_fixed else 1.0,
        multiplier=1 / label.fan_in if label.role is Role.OUTPUT else 1.0,
        lr=sgd if optimizer == "sgd" else adam,
        weight_decay=1 / adam if optimizer == "adamw" else 1 / sgd,
    )


def labels(model: nn.Module) -> Mapping[str, Label]:
    """What a model's family says of its parameters, by their names.

    InputError tells of a parameter of which it says nothing, as of a layer that `labels_by_layer` does not know.
    """
    stated: Mapping[str, Label] = model.labels()  # type: ignore[operator]
    if missing := {name for name, _ in model.named_parameters()} ^ set(stated):
        raise InputError(
            f"{type(model).__name__}.labels() must name every parameter and nothing else, but differs in "
            f"{', '.join(sorted(missing))}: give each a role and its growth, as the transformer does for its positions."
        )
    return stated


@torch.no_grad()
def scale(model: nn.Module) -> None:
    """Scale freshly drawn weights, and set the readout's multiplier, in place."""
    for name, label in labels(model).items():
        wanted = factors(label, "adam")  # the optimiser matters for rates only
        if wanted.init != 1:
            model.get_parameter(name).mul_(wanted.init)
        if label.role is Role.OUTPUT:
            readout = model.get_submodule(name.rpartition(".")[0])
            if not isinstance(readout, Readout):
                raise InputError(
                    f"The layer of an output weight must be a parametrization.Readout, but {name} is of "
                    f"{type(readout).__name__}: make it one."
                )
            readout.multiplier = wanted.multiplier


def groups(model: nn.Module, config: OptimConfig) -> list[dict[str, Any]]:
    """Parameter groups for a torch optimiser: one for each pair of factors, one in all if they are 1.

    Each has an ``lr_factor``: every step sets ``lr = rate * lr_factor``.
    """
    by_factors: dict[tuple[float, float], list[nn.Parameter]] = {}
    stated = labels(model)
    for name, parameter in model.named_parameters():
        wanted = factors(stated[name], config.rule)
        by_factors.setdefault((wanted.lr, wanted.weight_decay), []).append(parameter)
    return [
        {"params": parameters, "lr_factor": lr_factor, "weight_decay": config.weight_decay * decay_factor}
        for (lr_factor, decay_factor), parameters in by_factors.items()
    ]
