"""An estimate with its interval: the form in which every number leaves this library."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

OMITTED = {"omitted": True}
"""Metadata of a field that a file leaves out where it holds its default."""

INLINE = {"inline": True}
"""Metadata of a mapping whose keys a file has beside the other fields."""

MAJORITY = 0.5
"""Share of the surfaces that must have a quantity for it to be given."""


@dataclass(frozen=True)
class Interval:
    """A value with its interval; each is NaN where the data do not hold it."""

    value: float = math.nan
    low: float = math.nan
    high: float = math.nan
    why: str = field(default="", metadata=OMITTED, kw_only=True)
    """Why there is no number that a reader looks for."""

    @property
    def known(self) -> bool:
        """Whether there is a value."""
        return math.isfinite(self.value)

    @property
    def bounded(self) -> bool:
        """Whether there are both ends."""
        return math.isfinite(self.low) and math.isfinite(self.high)

    def __neg__(self) -> Interval:
        return Interval(-self.value, -self.high, -self.low, why=self.why)

    def exp(self) -> Interval:
        """Of a number whose logarithm has this interval; inf where that is beyond the largest number."""
        with np.errstate(over="ignore"):
            return Interval(*(float(np.exp(end)) for end in (self.value, self.low, self.high)))

    def of_one(self, scatter: float, level: float) -> Interval:
        """Of one value about the positive number whose interval this is: normal errors of its ln, of sd `scatter`."""
        half = NormalDist().inv_cdf((1 + level) / 2) * scatter
        down, up = (math.exp(math.hypot(math.log(end / self.value), half)) for end in (self.low, self.high))
        return Interval(self.value, self.value / down, self.value * up)

    def holds(self, number: float) -> bool:
        """Whether the interval is known and `number` lies inside it."""
        return self.bounded and self.low <= number <= self.high

    def excludes(self, number: float) -> bool:
        """Whether the interval is known and `number` lies outside it."""
        return self.bounded and not self.low <= number <= self.high

    def record(self) -> dict[str, float]:
        """As fits.json has it."""
        return {"value": self.value, "low": self.low, "high": self.high}


UNKNOWN = Interval()
"""A number of which nothing is known."""


def median_of(draws: NDArray[np.float64], level: float) -> Interval:
    """A quantity of the model: median and quantiles of its draws; unknown where no more than `MAJORITY` have it."""
    known = draws[np.isfinite(draws)]
    if len(known) <= MAJORITY * len(draws):
        return UNKNOWN
    return Interval(*map(float, np.quantile(known, [0.5, 0.5 - level / 2, 0.5 + level / 2])))
