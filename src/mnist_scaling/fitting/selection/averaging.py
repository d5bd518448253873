"""One estimate over several laws: their bootstrap draws mixed by the laws' weights (`choice.not_rejected`).

The interval is that of the mixture, each law's arms widened for its own degrees of freedom: it holds what any one law
leaves open and what the laws differ by. Source: model averaging, Burnham & Anderson 2002, chapter 4; the mixture of
draws instead of a variance formula, because the draws are skewed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mnist_scaling.fitting.laws.base import Array, Law
from mnist_scaling.fitting.uncertainty.bootstrap import FEWEST_VALID
from mnist_scaling.fitting.uncertainty.interval import Interval

if TYPE_CHECKING:
    from mnist_scaling.fitting.selection.fitted import Fitted


FEWEST_DRAWS = 20
"""Draws of one law below which it has no interval to add."""

MAJORITY = 0.5
"""A quantity is given when laws that have it hold more than this share of the weight."""


@dataclass(frozen=True)
class LawQuantity:
    """What one law says of a quantity."""

    weight: float
    """The law's share; the shares of all parts of an average need not sum to 1."""
    value: float
    """NaN where the law does not have the quantity."""
    draws: Array
    """The quantity in every draw of the bootstrap, shape (draws,); NaN where a draw lacks it."""
    t_factor: float = 1.0
    """Factor on the distance of the draws from the value (`bootstrap.student_factor`)."""


def average(parts: Sequence[LawQuantity], level: float, bounds: tuple[float, float] | None = None) -> Interval:
    """Weighted mean of the laws' values, with the quantiles of their mixed draws.

    Parameters
    ----------
    parts : sequence of LawQuantity
    level : float
        Such as 0.95.
    bounds : pair of float, optional
        What the quantity can't pass.

    Returns
    -------
    Interval
        Without a value where laws that have the quantity hold no more than half of the weight, and without ends
        where their draws do not hold it.
    """
    total = sum(p.weight for p in parts)
    having = [p for p in parts if np.isfinite(p.value)]
    share = sum(p.weight for p in having)
    if not having or share <= MAJORITY * total:
        return Interval()
    value = float(sum(p.weight * p.value for p in having) / share)
    draws, weights = [], []
    for part in having:
        valid = part.draws[np.isfinite(part.draws)]
        enough = len(valid) >= max(FEWEST_DRAWS, FEWEST_VALID * len(part.draws))
        if not enough or not np.isfinite(part.t_factor):
            return Interval(value)
        draws.append(part.value + (valid - part.value) * part.t_factor)
        weights.append(np.full(len(valid), part.weight / len(valid)))
    tails = (0.5 - level / 2, 0.5 + level / 2)
    low, high = weighted_quantiles(np.concatenate(draws), np.concatenate(weights), tails)
    if bounds is not None:
        low, high = np.clip([low, high], *bounds)
    return Interval(value, float(min(low, value)), float(max(high, value)))


def weighted_quantiles(values: Array, weights: Array, shares: Sequence[float]) -> Array:
    """Quantiles of values that count by their weights, linear between the middles of their steps.

    Equal weights give Hazen's quantiles, (k - 1/2) / n.

    Parameters
    ----------
    values, weights : array, shape (n,)
    shares : sequence of float
        Such as (0.025, 0.975).
    """
    order = np.argsort(values)
    v, w = values[order], weights[order]
    middle = (np.cumsum(w) - w / 2) / w.sum()
    return np.asarray(np.interp(shares, middle, v), float)


Quantity = Callable[[Law, Array], Array]
"""A number of a law for every set of parameters: (law, theta of shape (batch, p)) -> shape (batch,)."""


@dataclass(frozen=True)
class WeightedLaw:
    """One law that the data do not reject."""

    fitted: Fitted
    weight: float
    """Weights of all kept laws sum to 1."""


def weighted_laws(fitted: Mapping[str, Fitted], weights: Mapping[str, float]) -> tuple[WeightedLaw, ...]:
    """The fitted laws that have a weight, the largest first."""
    return tuple(WeightedLaw(fitted[name], weight) for name, weight in weights.items())


def averaged(
    kept: Sequence[WeightedLaw], quantity: Quantity, level: float, bounds: tuple[float, float] | None = None
) -> Interval:
    """A quantity over all kept laws (`average`)."""
    parts = []
    for one in kept:
        f = one.fitted
        value = float(quantity(f.law, f.fit.theta[None])[0])
        parts.append(LawQuantity(one.weight, value, quantity(f.law, f.thetas), f.t_factor))
    return average(parts, level, bounds)
