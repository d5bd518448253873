"""The laws that the data do not reject, each with its say in an average."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mnist_scaling.fitting.laws.base import Array, Law
from mnist_scaling.fitting.selection.averaging import LawQuantity, average
from mnist_scaling.fitting.uncertainty.interval import Interval

if TYPE_CHECKING:
    from mnist_scaling.fitting.selection.fitted import Fitted

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
    """A quantity over all kept laws (`averaging.average`)."""
    parts = []
    for one in kept:
        f = one.fitted
        value = float(quantity(f.law, f.fit.theta[None])[0])
        parts.append(LawQuantity(one.weight, value, quantity(f.law, f.thetas), f.t_factor))
    return average(parts, level, bounds)
