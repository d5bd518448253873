"""What a plan is to make more certain: a slope, an exponent or a loss, as draws of the posterior of the surfaces.

    alpha, beta = -d ln L / d ln N, D        N_exponent = d ln N* / d ln C        loss = ln L

Slopes are those at the cell of the largest compute, which `fit` quotes, and the loss is the compute-optimal one at
`REACH` times that compute.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mnist_scaling.config.plan_schema import TARGETS
from mnist_scaling.errors import InputError, one_of
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
    if word in SLOPES:
        point, variable = largest_cell(model.rows), SLOPES[word]
        if variable not in model.inputs:
            raise _not_of(word, model, variable)
        draws = model.posterior.slope(point, variable)
        meaning = f"{word} = -d ln L / d ln {variable} at {_place(model, point)}"
    elif word == "N_exponent":
        if cost is None or len(model.inputs) != 2:
            raise _not_of(word, model, "N and D with a C that grows with both")
        draws = model.posterior.frontier(cost, budgets(model.rows, cost)).exponents["N"]
        meaning = "N_exponent = d ln N* / d ln C, over the compute of the table"
    else:
        point = _ahead(model, cost)
        draws = model.posterior.log_loss({k: np.array([point[k]]) for k in model.inputs})[:, 0]
        meaning = f"ln loss at {_place(model, point)}"
    known = np.isfinite(draws)
    if 2 * known.sum() <= len(known):
        raise InputError(
            f"`target={word}` needs surfaces with an optimum, but {100 * known.mean():.0f} % of them have one: add "
            "cells on both sides of the best size at a budget, or choose target=loss."
        )
    return Target(meaning, np.clip(draws[known], *np.quantile(draws[known], [TAIL, 1 - TAIL])), known)


def _ahead(model: Model, cost: Cost | None) -> dict[str, float]:
    """Logs of the compute-optimal place at `REACH` times the largest compute."""
    found = [place for place in losses_ahead(model, cost) if place["reach"] == REACH]
    if not found:
        slopes = [f"target={word}" for word, variable in SLOPES.items() if variable in model.inputs]
        raise InputError(
            f"`target=loss` needs a compute at which it is meant, but {' and '.join(model.inputs)} say nothing of "
            f"compute: choose {' or '.join(slopes)}, or name columns.C."
        )
    return {k: float(np.log(found[0][k])) for k in model.inputs}


def _place(model: Model, point: Mapping[str, float]) -> str:
    return ", ".join(f"{k} = {np.exp(point[k]):.3g}" for k in model.inputs)


def _not_of(word: str, model: Model, needs: str) -> InputError:
    return InputError(
        f"`target={word}` needs a model of {needs}, but this one is of {' and '.join(model.inputs)}: choose "
        "target=loss."
    )
