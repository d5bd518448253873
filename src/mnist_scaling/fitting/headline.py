"""Which numbers to quote, decided once: the terminal, fits.json and the report say the same.

Each is an average over the laws that the data do not reject (`kept`): local slopes -d log L / d log x at the largest
cell and in the middle of the grid, the floor, the exponents of the compute-efficient frontier, and the loss at a
point that was asked for. Its interval holds what the laws differ by, so that it does not hang on which of them is
right. Straight lines in logs and the other frontier methods stand in tables beside them, for comparison.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mnist_scaling.fitting.frontier.fronts import EXPONENTS
from mnist_scaling.fitting.frontier_intervals import FrontierResult
from mnist_scaling.fitting.laws.base import Array, Law, largest, local_slope, log_loss_at, middle
from mnist_scaling.fitting.selection.averaging import WeightedLaw, averaged
from mnist_scaling.fitting.selection.choice import Choice

SLOPES = {"slope_N": "N", "slope_D": "D", "slope_C": "C"}
"""Keys of the local slopes at the largest cell, and their variables."""

MIDDLE_SLOPES = {f"middle_{key}": variable for key, variable in SLOPES.items()}
"""The same in the middle of the grid."""

QUANTITIES = (*SLOPES, *MIDDLE_SLOPES, *EXPONENTS, "floor", "loss")


def headline(
    kept: Sequence[WeightedLaw], choice: Choice, parametric: FrontierResult, predict: Mapping[str, float], level: float
) -> dict[str, Any]:
    """The key "headline" of fits.json: each of `QUANTITIES` as an interval, or null with a "why".

    Parameters
    ----------
    kept : sequence of WeightedLaw
        The laws that the data do not reject.
    choice : Choice
    parametric : FrontierResult
        The frontier of the kept laws themselves.
    predict : mapping
        The point at which a loss was asked for.
    level : float
        Of the intervals, such as 0.95.
    """
    if not kept:
        return nothing_to_quote(f"No law is fitted well enough to quote: {choice.reason}.")
    return {
        **_slopes(kept, level),
        **_frontier(kept, parametric),
        "floor": _floor(kept, level),
        "loss": _loss(kept, predict, level),
        "laws": [k.fitted.law.name for k in kept],
        "weights": {k.fitted.law.name: k.weight for k in kept},
        "settled": choice.selected is not None,
    }


def nothing_to_quote(why: str) -> dict[str, Any]:
    """The same where nothing was fitted."""
    return {**{key: _absent(why) for key in QUANTITIES}, "laws": [], "weights": {}, "settled": False}


def _absent(why: str) -> dict[str, Any]:
    return {"value": None, "low": None, "high": None, "why": why}


def _slopes(kept: Sequence[WeightedLaw], level: float) -> dict[str, Any]:
    out: dict[str, Any] = {}
    logs = kept[0].fitted.fit.problem.logs
    for keys, at in ((SLOPES, largest(logs)), (MIDDLE_SLOPES, middle(logs))):
        for key, variable in keys.items():
            if variable not in kept[0].fitted.law.inputs:
                out[key] = _absent(f"The laws that were compared do not hold {variable}.")
                continue

            def slope(law: Law, theta: Array, at: dict[str, float] = at, variable: str = variable) -> Array:
                return local_slope(law, theta, at, variable)

            out[key] = averaged(kept, slope, level).record()
    return out


def _frontier(kept: Sequence[WeightedLaw], found: FrontierResult) -> dict[str, Any]:
    if len(kept[0].fitted.law.inputs) == 1:
        return {key: _absent("Laws of one variable have no frontier.") for key in EXPONENTS}
    if found.frontier.status != "ok":
        sentence = found.frontier.status[0].upper() + found.frontier.status[1:]
        return {key: _absent(f"{sentence}.") for key in EXPONENTS}
    return {key: found.intervals[key].record() for key in EXPONENTS}


def _floor(kept: Sequence[WeightedLaw], level: float) -> dict[str, Any]:
    """The average floor; a law without one says 0, and an empirical surface nothing."""

    def floor(law: Law, theta: Array) -> Array:
        if law.empirical:
            return np.full(len(theta), np.nan)
        return theta[:, law.floor] if law.floor is not None else np.where(np.isfinite(theta).all(axis=1), 0.0, np.nan)

    if all(k.fitted.law.floor is None for k in kept):
        return _absent("The laws that the data do not reject have no floor.")
    return averaged(kept, floor, level, (0.0, np.inf)).record()


def _loss(kept: Sequence[WeightedLaw], predict: Mapping[str, float], level: float) -> dict[str, Any]:
    """The mean loss at the point that was asked for."""
    point = {k: float(np.log(v)) for k, v in predict.items()}
    laws = [k for k in kept if not k.fitted.law.empirical]
    if not point or not laws or any(k not in point for k in laws[0].fitted.law.inputs):
        return _absent("No loss was asked for: give predict.N=… and predict.D=….")

    return averaged(laws, lambda law, theta: log_loss_at(law, theta, point), level).exp().record()
