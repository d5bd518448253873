"""Irregularities of the law that describes a table: cells that decide it, small models off it, laws that tie."""

from __future__ import annotations

import numpy as np
from scipy.special import stdtr

from mnist_scaling.fitting.estimation.estimate import fit_problem
from mnist_scaling.fitting.fitted import ALIKE, EXACT, Fitted
from mnist_scaling.fitting.slices import is_joint
from mnist_scaling.planning.checks.card import INFO, NOT_APPLICABLE, PASS, WARNING, Card, of_flag
from mnist_scaling.planning.growth import REPEATS, TRIALS
from mnist_scaling.planning.studied import Studied
from mnist_scaling.study.flags import FORMS_DISAGREE

DECIDES = 1.0
"""Cook's distance from which a row moves the estimates by as much as they are uncertain (Cook 1977)."""

SPARE = 3
"""Rows beside the law's parameters with fewer of which every row at an end decides."""

UNLIKELY, SMALL = 0.01, 0.02
"""Chance below which a bend is none of noise, and the relative deviation below which it does not matter."""

NO_LAW = Card(NOT_APPLICABLE, "No law of N and D, with rows to spare, describes this table.")


def _joint_law(studied: Studied) -> Fitted | None:
    """The law that describes the table, where it is one of N and D."""
    found = studied.result.fitted.get(studied.result.selected or "")
    return found if found is not None and is_joint(found.law) else None


def leverage(studied: Studied) -> Card:
    """Single cells that decide the law, by Cook's distance r^2 h / (p s^2 (1 - h)^2)."""
    found = _joint_law(studied)
    if found is None or found.fit.n < found.fit.free + SPARE:
        return NO_LAW
    fit, h = found.fit, np.minimum(found.fit.leverage, 1 - 1e-9)
    variance = max(float((fit.residual**2).sum()) / (fit.n - fit.free), EXACT**2)
    distance = fit.residual**2 * h / (fit.free * variance * (1 - h) ** 2)
    of = f"{found.law.name} (largest Cook's distance {distance.max():.2f})."
    cells = tuple(map(int, studied.table.rows[found.part.index[distance > DECIDES]]))
    if not cells:
        return Card(PASS, f"No cell decides alone about {of}")
    said = f"{len(cells)} of {fit.n} cells, each alone, would move {of}"
    remedy = "Make sure of these cells first: more repeats and trials; `fit … sensitivity=true` leaves each out once."
    return Card(WARNING, said, cells, remedy, (REPEATS, TRIALS))


def small_models_bend(studied: Studied) -> Card:
    """Chow's test of a forecast, t = mean deviation / sqrt(s^2 / k + s^2 g (J J')^-1 g').

    The deviation is that of the k smallest models from the law of the others.
    """
    found = _joint_law(studied)
    if found is None:
        return NO_LAW
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


def tied_laws(studied: Studied) -> Card:
    """Laws that describe the table about as well, by AICc, and may say different things beyond it."""
    scores = {k: f.aicc for k, f in studied.result.fitted.items() if is_joint(f.law) and np.isfinite(f.aicc)}
    if len(scores) < 2:
        return Card(NOT_APPLICABLE, "Fewer than two laws of N and D were fitted.")
    alike = sorted((k for k, v in scores.items() if v <= min(scores.values()) + ALIKE), key=scores.__getitem__)
    if len(alike) == 1:
        return Card(PASS, f"{alike[0]} describes the table best, by more than {ALIKE:g} of AICc.")
    slopes = of_flag(studied, FORMS_DISAGREE, "Their slopes at the largest cell agree with the headline's.")
    tie = f"{' and '.join(alike)} tie (AICc within {ALIKE:g}). {slopes.cause}"
    idle = "There is nothing to do for a number inside the grid; far beyond it, quote the headline."
    return Card(INFO, tie, remedy=slopes.remedy or idle)
