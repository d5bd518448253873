"""What a plan is to make more certain: a slope, an exponent or a loss, as draws of the posterior of the surfaces.

    alpha, beta = -d ln L / d ln N, D        N_exponent = d ln N* / d ln C        loss = ln L

Slopes are those at the cell of the largest compute, which `fit` quotes, and the loss is the compute-optimal one at
`REACH` times that compute.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mnist_scaling.config.plan_schema import TARGETS
from mnist_scaling.errors import InputError, one_of, require
from mnist_scaling.fitting.frontier.methods import budgets
from mnist_scaling.fitting.frontier.parametric import Cost
from mnist_scaling.fitting.headline import Model, losses_ahead
from mnist_scaling.fitting.laws.base import Array
from mnist_scaling.fitting.slices import largest_cell

SLOPES = {"alpha": "N", "beta": "D"}

REACH = 4.0
"""Multiple of the largest compute at which a loss is meant; one of `headline.REACHES`."""

TAIL = 0.01
"""Share of the draws at each end that is drawn in: the variance of a ratio's few wild draws says nothing."""


@dataclass(frozen=True)
class Target:
    """A number of every draw of the surfaces."""

    meaning: str
    """What it is, and where, in words."""
    draws: Array
    """Shape (draws,)."""
    known: np.ndarray
    """Mask of the surfaces that have it, shape (all draws,): not every one has an optimum."""


def target(model: Model, cost: Cost | None, word: str) -> Target:
    """The draws of one of `TARGETS`; `cost` is the table's.

    Raises
    ------
    InputError
        When the model is not of what the target needs, or has no optimum.
    """
    one_of("target", word, TARGETS)
    needs, point = SLOPES.get(word, "N and D with a C that grows with both"), largest_cell(model.rows)
    if word == "loss":
        ahead = [place for place in losses_ahead(model, cost) if place["reach"] == REACH]
        slopes = " or ".join(f"target={k}" for k, variable in SLOPES.items() if variable in model.inputs)
        require(
            bool(ahead),
            f"`target=loss` needs a compute at which it is meant, but {' and '.join(model.inputs)} say nothing of "
            f"compute: choose {slopes}, or name columns.C.",
        )
        point = {k: float(np.log(ahead[0][k])) for k in model.inputs}
    elif needs not in model.inputs if word in SLOPES else cost is None or len(model.inputs) != 2:
        raise InputError(
            f"`target={word}` needs a model of {needs}, but this one is of {' and '.join(model.inputs)}: choose "
            "target=loss."
        )
    at = ", ".join(f"{k} = {np.exp(point[k]):.3g}" for k in model.inputs)
    if word in SLOPES:
        meaning, draws = f"{word} = -d ln L / d ln {needs} at {at}", model.posterior.slope(point, needs)
    elif word == "loss":
        meaning = f"ln loss at {at}"
        draws = model.posterior.log_loss({k: np.array([point[k]]) for k in model.inputs})[:, 0]
    else:
        assert cost is not None
        meaning = "N_exponent = d ln N* / d ln C, over the compute of the table"
        draws = model.posterior.frontier(cost, budgets(model.rows, cost)).exponents["N"]
    known = np.isfinite(draws)
    if 2 * known.sum() <= len(known):
        raise InputError(
            f"`target={word}` needs surfaces with an optimum, but {100 * known.mean():.0f} % of them have one: add "
            "cells on both sides of the best size at a budget, or choose target=loss."
        )
    return Target(meaning, np.clip(draws[known], *np.quantile(draws[known], [TAIL, 1 - TAIL])), known)
