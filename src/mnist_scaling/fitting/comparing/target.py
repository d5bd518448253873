"""Which of two arms has the lower loss at a compute that somebody asks for, also beyond the cells of both.

    d = ln L_b*(C) - ln L_a*(C)        P(b better) = share of the draws of d below 0

Inside the compute that both arms cover, d is that of their surfaces, in whose draws the arms share noise. Beyond it,
each arm has the law with a misfit of a fit's headline, and the arms are taken as independent, which is wide. There each
is at its own best size, and both are at one N and D where most surfaces of either have no best size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mnist_scaling.errors import holds
from mnist_scaling.fitting.ahead import lowest_at
from mnist_scaling.fitting.comparing.multiplier import Frontiers, differences
from mnist_scaling.fitting.comparing.pairing import Cells
from mnist_scaling.fitting.frontier.parametric import fit_cost
from mnist_scaling.fitting.laws.base import Array
from mnist_scaling.fitting.misfit.posterior import FEWEST_DRAWS, Model, surface
from mnist_scaling.fitting.uncertainty.bootstrap import interval
from mnist_scaling.fitting.uncertainty.interval import Interval


@dataclass(frozen=True)
class TargetLosses:
    """The losses of two arms at a compute C."""

    C: float
    reach: float
    """C over the most compute that both arms cover: above 1 it lies beyond their cells."""
    p_better: float
    """Probability that b's loss is the lower one; NaN where the arms say nothing of losses so far away."""
    ratio: Interval
    """L_b / L_a."""
    N: float | None = None
    """Where both are read if there are no best sizes, with `D`."""
    D: float | None = None


def at_target(
    cells: Cells, fronts: Frontiers | None, flops: float, draws: int, level: float, rng: np.random.Generator
) -> TargetLosses:
    """The arms at a compute, which must not be less than that of the smallest cells of both."""
    if fronts is None:
        return TargetLosses(flops, np.nan, np.nan, Interval())
    low, top, log_c = max(c[0] for c in fronts.log_c), min(c[-1] for c in fronts.log_c), np.log(flops)
    rule = f"target.flops >= {np.exp(low):.3g}, the least compute that both arms cover"
    holds(log_c >= low, rule, flops, "ask for more.")
    value, drawn, place = np.nan, np.full(1, np.nan), dict[str, float]()
    if log_c <= top:
        value, drawn = differences(fronts, log_c)
    elif cells.variables == ("N", "D"):
        drawn, place = _beyond(cells, log_c, max(draws, FEWEST_DRAWS), level, rng)
        value = float(np.median(drawn))
    better = float((drawn < 0).mean()) if np.isfinite(drawn).all() else np.nan
    return TargetLosses(flops, float(np.exp(log_c - top)), better, interval(value, drawn, level, 1.0).exp(), **place)


def _beyond(
    cells: Cells, log_c: float, draws: int, level: float, rng: np.random.Generator
) -> tuple[Array, dict[str, float]]:
    """Draws of d at a compute beyond the cells; and N and D if they are not each arm's own best ones."""
    models = [Model(surface(table, draws, rng), table, 0.0, level) for table in cells.tables]
    lowest = [lowest_at(model, cost, log_c) for model in models if (cost := fit_cost(model.rows)) is not None]
    if all(place["optimal"] for place, _ in lowest):
        (_, a), (_, b) = lowest
        return b - a, {}
    place = next({k: place[k] for k in "ND"} for place, _ in lowest if not place["optimal"])
    a, b = (model.posterior.log_loss({k: np.log([v]) for k, v in place.items()})[:, 0] for model in models)
    return b - a, place
