"""Which numbers to quote, decided once: the terminal, fits.json and the report say the same.

Each is an average over the laws that the data do not reject (`kept`): local slopes -d log L / d log x at the largest
cell and in the middle of the grid, the floor, the exponents of the compute-efficient frontier, and the loss at a
point that was asked for. Its interval holds what the laws differ by, so that it does not hang on which of them is
right. Straight lines in logs and the other frontier methods stand in tables beside them, for comparison.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mnist_scaling.fitting.frontier.fronts import EXPONENTS
from mnist_scaling.fitting.laws.base import Array, Law, largest, local_slope, middle
from mnist_scaling.fitting.selection.averaging import WeightedLaw, averaged
from mnist_scaling.fitting.uncertainty.interval import Interval

if TYPE_CHECKING:
    from mnist_scaling.fitting.analysis import Result

SLOPES = {"slope_N": "N", "slope_D": "D", "slope_C": "C"}
"""Keys of the local slopes at the largest cell, and their variables."""

MIDDLE_SLOPES = {f"middle_{key}": variable for key, variable in SLOPES.items()}
"""The same in the middle of the grid."""

QUANTITIES = (*SLOPES, *MIDDLE_SLOPES, *EXPONENTS, "floor", "loss")


def headline(result: Result) -> dict[str, Any]:
    """The key "headline" of fits.json: each of `QUANTITIES` as an interval, or null with a "why"."""
    kept = result.kept
    if not kept:
        return nothing_to_quote(f"No law is fitted well enough to quote: {result.choice.reason}.")
    return {
        **_slopes(kept, result.draws.level),
        **_frontier(result),
        "floor": _floor(kept, result.draws.level),
        "loss": _loss(result),
        "laws": [k.fitted.law.name for k in kept],
        "weights": {k.fitted.law.name: k.weight for k in kept},
        "settled": result.choice.selected is not None,
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
                return local_slope(law, theta, {k: at[k] for k in law.inputs}, variable)

            out[key] = averaged(kept, slope, level).record()
    return out


def _frontier(result: Result) -> dict[str, Any]:
    """Exponents of the frontier of the kept laws themselves."""
    found = result.frontier.get("parametric")
    joint = len(result.kept[0].fitted.law.inputs) > 1
    if found is None or not joint:
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


def _loss(result: Result) -> dict[str, Any]:
    """The mean loss at the point that was asked for (`options.predict`)."""
    point = {k: float(np.log(v)) for k, v in result.options.predict.items()}
    laws = [k for k in result.kept if not k.fitted.law.empirical]
    if not point or not laws or any(k not in point for k in laws[0].fitted.law.inputs):
        return _absent("No loss was asked for: give predict.N=… and predict.D=….")

    def log_loss(law: Law, theta: Array) -> Array:
        out = np.full(len(theta), np.nan)
        valid = np.isfinite(theta).all(axis=1)
        if valid.any() and all(k in point for k in law.inputs):
            out[valid] = law.evaluate(theta[valid], {k: np.array([point[k]]) for k in law.inputs})[0][:, 0]
        return out

    found = averaged(laws, log_loss, result.draws.level)
    return Interval(*(float(np.exp(v)) for v in (found.value, found.low, found.high))).record()
