"""How well a law fits and predicts: AICc, and the hold-out of the largest compute.

AICc = -2 log likelihood + 2 k + 2 k (k + 1) / (n - k - 1), k = parameters + 1 for the scale
(Hurvich & Tsai 1989). The likelihood is that of Huber's least favourable density, exp(-rho_c(r / s)) / (s Z),
c = 1.345, maximised over s: normal for clean residuals, and one outlier does not decide between laws.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from mnist_scaling.fitting.estimation.estimate import SCREENED, Fit, fit_problem
from mnist_scaling.fitting.estimation.problem import EFFICIENT, huber
from mnist_scaling.fitting.laws.base import Array

EXACT = 1e-7
"""Residuals in log loss below this are rounding, not a reason to prefer a law."""

_GOLDEN = (np.sqrt(5) - 1) / 2

_SECTIONS = 40
"""Golden sections: the scale is exact to 11 * 0.618^40 = 5e-8 in logs, its cost to the square of that."""

HELD_OUT = 0.2
"""Share of the rows, those of largest compute, that the hold-out keeps back."""

_NORMALISER = float(np.sqrt(2 * np.pi) * (2 * ndtr(EFFICIENT) - 1) + 2 / EFFICIENT * np.exp(-(EFFICIENT**2) / 2))


def aicc(residual: Array, parameters: int) -> float:
    """AICc of log residuals; NaN where n <= k + 1 leaves it undefined.

    Parameters
    ----------
    residual : array, shape (n,)
    parameters : int
        Parameters of the law; the scale is counted here.
    """
    n, k = len(residual), parameters + 1
    if n - k - 1 <= 0:
        return np.nan
    return 2 * _half_deviance(residual) + 2 * k + 2 * k * (k + 1) / (n - k - 1)


def _half_deviance(residual: Array) -> float:
    """Minus log likelihood at the best scale, by a golden-section search over log s.

    It is convex in log s: its slope there, n - sum psi(r / s) r / s, rises with s.
    """
    r = np.sqrt(residual**2 + EXACT**2)

    def cost(log_s: float) -> float:
        return float(len(r) * (log_s + np.log(_NORMALISER)) + huber(r / np.exp(log_s), EFFICIENT).sum())

    middle = float(np.log(np.sqrt(np.mean(r**2))))
    low, high = middle - 8, middle + 3
    for _ in range(_SECTIONS):
        a, b = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        low, high = (low, b) if cost(a) < cost(b) else (a, high)
    return cost((low + high) / 2)


@dataclass(frozen=True)
class HoldOut:
    """Errors of predictions of rows that the fit had not seen."""

    rmse_log: float
    n: int
    rows: np.ndarray
    """Positions of the predicted rows, shape (n,)."""
    reach: float
    """Largest predicted cost over the largest fitted one."""


def hold_out(fit: Fit, cost: Array) -> HoldOut | None:
    """Fit without the `HELD_OUT` of the rows of largest compute, at least two, and predict them.

    Parameters
    ----------
    fit : Fit
        Of all rows; its delta is kept.
    cost : array, shape (n,)
        log C, or what stands for it.

    Returns
    -------
    HoldOut or None
        None where no row can be spared, or the others have too few distinct sizes.
    """
    n = fit.n
    held = min(max(2, round(HELD_OUT * n)), n - fit.law.size - 1)
    if held < 1:
        return None
    order = np.argsort(cost, kind="stable")
    seen, rows = order[: n - held], order[n - held :]
    inside, outside = fit.problem.rows(seen), fit.problem.rows(rows)
    if any(len(np.unique(np.round(v, 9))) < fit.law.levels for k, v in inside.logs.items() if k != "U"):
        return None
    # Many rows leave no second optimum to look for.
    others = [fit.law.starts(inside.logs, inside.y)] if inside.n <= SCREENED else []
    again = fit_problem(inside, fit.delta, np.vstack([fit.theta[None], *others]), polished=8)
    error = outside.residual(again.theta[None])[0]
    reach = max(1.0, float(np.exp(cost[rows].max() - cost[seen].max())))
    return HoldOut(float(np.sqrt(np.mean(error**2))), held, rows, reach)
