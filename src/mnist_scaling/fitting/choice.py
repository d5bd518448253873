"""Which law: AICc, hold-out of the largest compute, rolling origin; and when to choose none.

AICc = -2 log likelihood + 2 k + 2 k (k + 1) / (n - k - 1), k = parameters + 1 for the scale
(Hurvich & Tsai 1989). The likelihood is that of Huber's least favourable density, exp(-rho_c(r / s)) / (s Z),
c = 1.345, maximised over s: normal for clean residuals, and one outlier does not decide between laws.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy import optimize, stats

from mnist_scaling.fitting.estimate import Fit, Settings, fit_law
from mnist_scaling.fitting.interval import Interval
from mnist_scaling.fitting.laws.base import Array, Logs
from mnist_scaling.fitting.objective import EFFICIENT, huber

NEAR_TIE = 4.0
"""Laws within this AICc of the best are not told apart by it (Burnham & Anderson 2002: weight above 12 %)."""

WORSE = 1.25
"""A law whose hold-out error is this many times the best one's is worse; less is luck on few cells."""

SAME_SLOPE = 1e-3
"""Intervals of an exponent that miss each other by less than this say the same."""

EXACT = 1e-7
"""Residuals in log loss below this are rounding, not a reason to prefer a law."""

HELD_OUT = 0.2
"""Share of the rows, those of largest compute, that the hold-out keeps back."""

_NORMALISER = float(
    np.sqrt(2 * np.pi) * (2 * stats.norm.cdf(EFFICIENT) - 1) + 2 / EFFICIENT * np.exp(-(EFFICIENT**2) / 2)
)


def aicc(residual: Array, parameters: int) -> float:
    """AICc of log residuals; NaN where n <= k + 1 leaves it undefined.

    Parameters
    ----------
    residual : array, shape (n,)
    parameters : int
        Parameters of the law; the scale is counted here.
    """
    n, k = residual.size, parameters + 1
    if n - k - 1 <= 0:
        return np.nan
    return 2 * _half_deviance(residual) + 2 * k + 2 * k * (k + 1) / (n - k - 1)


def _half_deviance(residual: Array) -> float:
    """Minus log likelihood at the best scale."""
    r = np.sqrt(residual**2 + EXACT**2)
    n = r.size

    def cost(log_s: float) -> float:
        return n * (log_s + np.log(_NORMALISER)) + float(huber(r / np.exp(log_s), EFFICIENT).sum())

    middle = float(np.log(np.sqrt(np.mean(r**2))))
    return float(optimize.minimize_scalar(cost, bounds=(middle - 8, middle + 3), method="bounded").fun)


@dataclass(frozen=True)
class HoldOut:
    """Errors of predictions of rows that the fit had not seen."""

    rmse_log: float
    n: int
    rows: np.ndarray
    """Positions of the predicted rows, shape (n,)."""
    reach: float
    """Largest predicted cost over the largest fitted one."""


def hold_out(fit: Fit, logs: Logs, y: Array, cost: Array, share: float = HELD_OUT) -> HoldOut | None:
    """Fit without the rows of largest compute, predict them.

    Parameters
    ----------
    fit : Fit
        Of all rows; its delta is kept.
    cost : array, shape (n,)
        log C, or what stands for it.
    share : float
        Of the rows; at least two, fewer where the law would run out of rows.

    Returns
    -------
    HoldOut or None
        None where fewer than one row can be spared.
    """
    n = len(y)
    held = min(max(2, round(share * n)), n - fit.law.size - 1)
    if held < 1:
        return None
    order = np.argsort(cost, kind="stable")
    return _predict(fit, logs, y, cost, [(order[: n - held], order[n - held :])])


def rolling_origin(fit: Fit, logs: Logs, y: Array, cost: Array, folds: int = 4) -> HoldOut | None:
    """Grow the fitted rows by compute from half of them up, each time predicting the next block.

    Source: Tashman 2000 (Int. J. Forecasting 16): rolling-origin evaluation.
    """
    n = len(y)
    order = np.argsort(cost, kind="stable")
    first = max(n // 2, fit.law.size + 1)
    cuts = np.unique(np.linspace(first, n, folds + 1).astype(int))
    blocks = [(order[:a], order[a:b]) for a, b in pairwise(cuts)]
    return _predict(fit, logs, y, cost, blocks) if blocks else None


def _predict(
    fit: Fit, logs: Logs, y: Array, cost: Array, blocks: list[tuple[np.ndarray, np.ndarray]]
) -> HoldOut | None:
    settings = Settings(delta=fit.delta.value)
    errors, rows, reach = [], [], 1.0
    for seen, held in blocks:
        inside = {k: v[seen] for k, v in logs.items()}
        if any(len(np.unique(np.round(v, 9))) < fit.law.levels for k, v in inside.items() if k != "U"):
            continue
        starts = np.vstack([fit.theta[None], fit.law.starts(inside, y[seen])])
        again = fit_law(fit.law, inside, y[seen], settings, fit.weights[seen], start=starts, polished=8)
        errors.append(y[held] - again.log_predict({k: v[held] for k, v in logs.items()}))
        rows.append(held)
        reach = max(reach, float(np.exp(cost[held].max() - cost[seen].max())))
    if not errors:
        return None
    error, where = np.concatenate(errors), np.concatenate(rows)
    return HoldOut(float(np.sqrt(np.mean(error**2))), len(error), where, reach)


@dataclass(frozen=True)
class Candidate:
    """What the choice looks at, for one law."""

    name: str
    size: int
    aicc: float
    holdout: float
    slopes: dict[str, Interval]
    """Comparable exponents: local slopes at the largest cell, and the frontier's N exponent."""


@dataclass(frozen=True)
class Choice:
    """The selected law, or none and why."""

    selected: str | None
    reason: str
    disagree: bool


def choose(candidates: list[Candidate]) -> Choice:
    """The simplest law that AICc and hold-out both accept, unless accepted laws contradict each other.

    AICc accepts what lies within `NEAR_TIE` of its best, hold-out what is within `WORSE` of its best. If
    no law is in both sets, or if laws in both differ in an exponent by more than their intervals, none is
    selected.
    """
    known = [c for c in candidates if np.isfinite(c.aicc)]
    if not known:
        return Choice(None, "no law has more rows than AICc needs", False)
    if len(known) == 1:
        return Choice(known[0].name, "the only law that could be fitted", False)
    floor = min(c.aicc for c in known)
    by_aicc = [c for c in known if c.aicc <= floor + NEAR_TIE]
    tested = [c for c in known if np.isfinite(c.holdout)]
    best = min((c.holdout for c in tested), default=np.nan)
    by_holdout = [c for c in tested if c.holdout <= max(WORSE * best, EXACT * 10)] if tested else known
    both = [c for c in by_aicc if c in by_holdout]
    if not both:
        first, second = min(known, key=lambda c: c.aicc), min(tested, key=lambda c: c.holdout)
        reason = (
            f"AICc prefers {first.name} (hold-out error {first.holdout:.3g}), hold-out prefers {second.name} "
            f"({second.holdout:.3g}, AICc worse by {second.aicc - first.aicc:.1f})"
        )
        return Choice(None, reason, True)
    clash = _clash(both)
    if clash:
        return Choice(None, clash, True)
    selected = min(both, key=lambda c: c.aicc + 1e-9 * c.size)
    return Choice(selected.name, f"lowest AICc among {len(both)} that AICc and hold-out accept", False)


def _clash(candidates: list[Candidate]) -> str:
    """The first pair of laws whose intervals of the same exponent do not overlap, in words."""
    for i, a in enumerate(candidates):
        for b in candidates[i + 1 :]:
            for key in a.slopes.keys() & b.slopes.keys():
                one, two = a.slopes[key], b.slopes[key]
                if max(one.low, two.low) - min(one.high, two.high) > SAME_SLOPE:
                    return (
                        f"{a.name} and {b.name} fit equally well but give {key} {one.value:.3f} "
                        f"[{one.low:.3f}, {one.high:.3f}] and {two.value:.3f} [{two.low:.3f}, {two.high:.3f}]"
                    )
    return ""
