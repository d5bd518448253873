"""The best model where one compute pays for its training and for its use, too.

Sardana, Portes, Doubov & Frankle 2024 (arXiv:2401.00448): a model that is used a lot should be smaller than one that
is best to train, and see more data, since a larger one costs more in every use.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from mnist_scaling.fitting.frontier.parametric import POINTS, SEARCHED, Cost, lowest
from mnist_scaling.fitting.laws.base import Array
from mnist_scaling.fitting.misfit.posterior import Model
from mnist_scaling.fitting.uncertainty.interval import OMITTED, Interval, median_of

USES = (0.0, 1.0, 3.0, 10.0)
"""Examples that a model is used on, over those that the best model that is never used is trained on."""

TRAINING_OVER_USE = 3.0
"""Training FLOPs of an example over those of its use: a forward pass, and a backward pass of twice that."""


@dataclass(frozen=True)
class UsedSize(Interval):
    """The loss of the best model of a compute of which its use takes a part, and its size and data."""

    examples: float = math.nan
    """That it is used on."""
    times: float = math.nan
    """The same, over those that the best model that is never used is trained on."""
    C: float = math.nan
    """What is left for training."""
    N: float = math.nan
    N_low: float = math.nan
    N_high: float = math.nan
    D: float = math.nan
    tried: bool = False
    """Whether N and D lie in the range of the rows."""
    too_few: bool | None = field(default=None, metadata=OMITTED)
    """Whether D is more than the examples that there are."""


def in_use(model: Model, cost: Cost, total: float) -> Sequence[UsedSize]:
    """The best model for every one of `USES`, up to the first for which most surfaces have none.

    C(N, D) + examples c(N) = total        c(N) = C(N, D_m) / (3 D_m)

    D_m is the middle of the table's data: by its cost, FLOPs per example hardly depend on D.
    """
    found: list[UsedSize] = []
    for times in USES:
        examples = times * found[0].D if found else 0.0
        one = _best(model, cost, total, examples, times)
        if one is None:
            break
        found.append(one)
    return found if len(found) > 1 else ()


def _best(model: Model, cost: Cost, total: float, examples: float, times: float) -> UsedSize | None:
    """The least loss of each surface along what the total allows; None where most have no minimum near the grid."""
    axes, rows = model.posterior.axes, model.rows

    def left(log_n: Array) -> Array:
        """Of the total for training."""
        per_example = cost.log_c(log_n, np.full_like(log_n, axes.middle[1])) - axes.middle[1]
        return total - examples * np.exp(per_example) / TRAINING_OVER_USE

    def data(log_n: Array) -> Array:
        """ln D, NaN where use takes all."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return (np.log(left(log_n)) - cost.constant - cost.kappa_n * log_n) / cost.kappa_d

    ends = axes.middle + SEARCHED * np.array([[-1], [1]]) * axes.half
    wide = np.linspace(ends[0, 0], ends[1, 0], 10 * POINTS)
    near = wide[(data(wide) > ends[0, 1]) & (data(wide) < ends[1, 1])]
    if len(near) < 2:
        return None
    log_n = np.linspace(near[0], near[-1], POINTS)
    position, _ = lowest(model.posterior.log_loss({"N": log_n, "D": data(log_n)}))
    size = median_of(log_n[0] + (log_n[1] - log_n[0]) * position, model.level)
    if not size.known:
        return None
    at = {"N": np.array([size.value]), "D": data(np.array([size.value]))}
    loss = median_of(model.posterior.log_loss(at)[:, 0], model.level).exp()
    n, d, c = (float(x[0]) for x in (np.exp(at["N"]), np.exp(at["D"]), left(at["N"])))
    (n_low, n_high), few = np.exp([size.low, size.high]).tolist(), d > (rows.examples or math.inf)
    best = {"C": c, "N": n, "N_low": n_low, "N_high": n_high, "D": d, "too_few": few or None}
    return UsedSize(**vars(loss), examples=examples, times=times, tried=rows.spans({"N": n, "D": d}), **best)
