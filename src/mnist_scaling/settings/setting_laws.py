"""Laws of the best settings: lines against the sizes of the cells, how one is fitted, and what it predicts.

    v = a + b . (ln x - centre) +- t sqrt(x' Cov x + spread^2)        t: Student's, of the cells beyond the coefficients

What is predicted is an interval for a new cell, not for the line: it holds the covariance of the line, with the bias of
the vertices in it (`vertex_bias`), and the scatter of single cells about the line. `python
benchmarks/optimal_settings.py` says how often it holds.

A line goes through numbers of known error, of which some are only known to lie beyond a limit:

    v_i = b . x_i + spread * e_i + error_i * e'_i;      seen as a limit where it lies beyond

The likelihood is that of Tobin (1958) with errors of their own; b is found by expectation and maximisation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.special import log_ndtr, stdtrit

from mnist_scaling.fitting.laws.base import Array
from mnist_scaling.fitting.uncertainty.interval import Interval


@dataclass(frozen=True)
class TunedKey:
    """A key that was tuned."""

    name: str
    log: bool
    """Whether it was searched on a log scale."""


@dataclass(frozen=True)
class SettingLaw:
    """One line: the best setting against one or two sizes."""

    against: tuple[str, ...]
    coefficients: Mapping[str, Interval]
    """By size: the exponent of a key on a log scale, else the change per unit of ln size."""
    centre: Array
    """Means of the ln sizes, (p,): the constant is the best setting there."""
    constant: float
    covariance: Array
    """Of the constant and the coefficients over the draws, (1 + p, 1 + p)."""
    spread: float
    """Standard deviation of the cells' true best settings about the line."""
    bias: float
    """What was added to all vertices, because the loss is steeper on one side of its minimum (`vertex_bias`)."""
    n: int


@dataclass(frozen=True)
class KeyLaws:
    """What is known of the best values of one key."""

    key: TunedKey
    status: str
    """ok, or why there is no law, as a sentence."""
    curvature: Interval
    """d^2 ln L / d v^2 at the minimum, v being the key or its log; a minimum needs it above 0."""
    best: list[Interval]
    """Of each cell, in the key's own units; without a value where the cell has too few trials."""
    side: Array
    """(cells,): -1 or 1 where the vertex lies below or above the range that was searched, 0 inside; NaN if unknown."""
    low: float
    """Ends of the range that was searched, over all cells, in the key's own units."""
    high: float
    laws: list[SettingLaw] = field(default_factory=list)


def prior(laws: Sequence[KeyLaws], level: float = 0.95, **sizes: float) -> dict[str, Interval]:
    """The best value of each key for a new cell: ``prior(laws, N=1e5, D=5e4)["lr"].value``, ``.low`` and ``.high``.

    Parameters
    ----------
    laws : sequence of KeyLaws
        Of `SettingsLaws.keys`, or of `tuning_records.known_settings_laws`.
    level : float
    **sizes : float
        N and D of the new cell; for a key without a law against these, steps or loss are used where they are given.

    Returns
    -------
    dict
        Key to value, low and high, in the key's own units. A key without a law against what is given is left out.
        A key on a linear scale, such as dropout, stays within the range that was searched; a learning rate may not.
        A start for a tuner belongs into its own range, and an interval as wide as the range says nothing
        (`share_of_range`).
    """
    found = {}
    for one in laws:
        law = next((law for law in one.laws if set(law.against) <= set(sizes)), None)
        if law is not None:
            found[one.key.name] = predict(law, one, sizes, level)
    return found


def predict(law: SettingLaw, of: KeyLaws, sizes: Mapping[str, float], level: float = 0.95) -> Interval:
    """The best value of a new cell of these sizes by one of a key's laws, with the interval that it should lie in."""
    x = np.array([1.0, *(np.log(sizes[name]) - middle for name, middle in zip(law.against, law.centre, strict=True))])
    slopes = np.array([law.constant, *(law.coefficients[name].value for name in law.against)])
    deviation = float(np.sqrt(x @ law.covariance @ x + law.spread**2))
    reach = float(stdtrit(law.n - len(x), 0.5 + level / 2)) * deviation
    ends = [float(x @ slopes) + step * reach for step in (0, -1, 1)]
    return Interval(*ends).exp() if of.key.log else Interval(*(float(np.clip(end, of.low, of.high)) for end in ends))


def share_of_range(found: Interval, of: KeyLaws) -> float:
    """Width of an interval over that of the range that was searched, in logs for a key on a log scale."""
    ends = np.array([found.low, found.high, of.low, of.high])
    low, high, least, most = np.log(ends) if of.key.log else ends
    return float((high - low) / (most - least))


_ROUNDS = 60
_SPREADS = 40
"""Spreads that are tried, log-spaced."""


@dataclass(frozen=True)
class Observed:
    """Numbers to put a line through."""

    x: Array
    """(n, p), with the constant."""
    v: Array
    """(n,), within [low, high]."""
    error: Array
    """Standard errors, (n,)."""
    side: Array
    """(n,): 0 for a number, -1 for "at most v", 1 for "at least v"."""


def line(seen: Observed, spread: float, times: Array | None = None) -> Array:
    """Coefficients, (…, p), at a given spread about the line; NaN where the inputs of a draw move together.

    `times`, shape (…, n), is how often each number counts, one row per draw of a bootstrap.
    """
    times = np.ones(len(seen.v)) if times is None else times
    deviation = np.sqrt(spread**2 + seen.error**2)
    weight = times / deviation**2
    normal = np.einsum("...n,np,nq->...pq", weight, seen.x, seen.x)
    bad = np.linalg.cond(normal) > 1e12
    normal = np.where(bad[..., None, None], np.eye(seen.x.shape[1]), normal)
    beyond = seen.side != 0
    b = np.linalg.solve(normal, np.einsum("...n,np->...p", weight * seen.v, seen.x)[..., None])[..., 0]
    for _ in range(_ROUNDS if beyond.any() else 0):
        mean = b @ seen.x.T
        # A normal number beyond a limit has the mean mu + side sigma phi(t) / Phi(t), t = side (mu - limit) / sigma.
        t = seen.side * (mean - seen.v) / deviation
        with np.errstate(over="ignore", invalid="ignore"):  # of a singular fit, which is NaN below
            ratio = np.exp(-0.5 * t**2 - 0.5 * np.log(2 * np.pi) - log_ndtr(t))
        expected = np.where(beyond, mean + seen.side * deviation * ratio, seen.v)
        b = np.linalg.solve(normal, np.einsum("...n,np->...p", weight * expected, seen.x)[..., None])[..., 0]
    return np.where(bad[..., None], np.nan, b)


def spread_of(seen: Observed) -> float:
    """The spread with the highest restricted likelihood (that of the residuals), 0 included."""
    scale = max(float(np.std(seen.v)), float(np.median(seen.error)), 1e-9)
    tried = [0.0, *scale * np.geomspace(1e-3, 3, _SPREADS)]
    return max(tried, key=lambda spread: _likelihood(seen, spread))


def _likelihood(seen: Observed, spread: float) -> float:
    deviation = np.sqrt(spread**2 + seen.error**2)
    t = (seen.v - seen.x @ line(seen, spread)) / deviation
    exact = seen.side == 0
    total = -0.5 * (t[exact] ** 2).sum() - np.log(deviation[exact]).sum() + log_ndtr(-seen.side * t)[~exact].sum()
    x = seen.x[exact] / deviation[exact, None]
    known = exact.sum() > x.shape[1]
    return float(total - 0.5 * np.linalg.slogdet(x.T @ x)[1] if known else total)
