"""A curve whose smallest models bend: they lie off the law that the larger ones follow (Chow's test of a forecast)."""

from __future__ import annotations

import numpy as np
from scipy.special import stdtr

from mnist_scaling.fitting.estimation.estimate import fit_problem
from mnist_scaling.planning.checks import NOT_APPLICABLE, PASS, TRIALS, WARNING, Card, joint_law
from mnist_scaling.planning.studied import Studied

UNLIKELY, SMALL = 0.01, 0.02
"""Chance below which a bend is none of noise, and the relative deviation below which it does not matter."""


def check(studied: Studied) -> Card:
    """t = mean deviation / sqrt(s^2 / k + s^2 g (J J')^-1 g'), of k smallest models from the law of the others."""
    found = joint_law(studied)
    if found is None:
        return Card(NOT_APPLICABLE, "No law of N and D describes this table.")
    table, fit = studied.table.take(found.part.index), found.fit
    small = next(iter(table.by_level("N").values()))
    rest = np.setdiff1d(np.arange(fit.n), small)
    free = len(rest) - fit.law.size
    if free < 1 or len(table.levels("N")) <= fit.law.levels:
        return Card(NOT_APPLICABLE, "Without its smallest models the table is too small for the law.")
    again = fit_problem(fit.problem.rows(rest), fit.delta, fit.theta[None])
    off = float(fit.problem.rows(small).residual(again.theta[None])[0].mean())
    g, seen = fit.jacobian[:, small].mean(axis=1), fit.jacobian[:, rest]
    variance = float((again.residual**2).sum()) / free
    spread = variance * (1 / len(small) + float(g @ np.linalg.pinv(seen @ seen.T) @ g))
    chance = 2 * float(stdtr(free, -abs(off) / np.sqrt(max(spread, 1e-300))))
    n = table.inputs["N"][small].max()
    side = "above" if off > 0 else "below"
    said = f"Models of up to {n:,.0f} parameters lie {100 * abs(np.expm1(off)):.1f} % {side} the law of the larger ones"
    if chance > UNLIKELY or abs(off) < SMALL:
        return Card(PASS, f"{said}, which noise or the doubt of the law explains.")
    remedy = f"Tune these cells further; if they stay off, fit the larger ones: where='n_params > {n:.0f}'."
    return Card(WARNING, f"{said} (p = {chance:.1g}).", tuple(map(int, table.rows[small])), remedy, (TRIALS,))
