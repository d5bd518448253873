"""Leave-future-out: the headline's model, learnt below a compute budget, against the losses of the rows above it.

Source: Bürkner, Gabry & Vehtari 2020 (J. Stat. Comput. Simul. 90), without their approximation: the model is learnt
again for each budget.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mnist_scaling.errors import InputError
from mnist_scaling.fitting.analysis import FEWEST_DRAWS, Result
from mnist_scaling.fitting.frontier.methods import median_of
from mnist_scaling.fitting.misfit.posterior import surface
from mnist_scaling.fitting.slices import can_hold
from mnist_scaling.fitting.uncertainty.interval import Interval

REACHES = (8.0, 4.0, 2.0)
"""The largest compute over each budget."""


@dataclass(frozen=True)
class Foreseen:
    """A row's loss as it was foreseen, and as it is."""

    reach: float
    """The largest compute of the table over that of the rows that the model was learnt from."""
    seen: int
    """Number of these rows."""
    row: int
    at: Mapping[str, float]
    """N, D and C, as far as the table has them."""
    predicted: Interval
    """With the noise of a row in it."""
    measured: float
    inside: bool


def leave_future_out(result: Result) -> list[Foreseen]:
    """Every row above each of `REACHES`, predicted from the rows below it.

    Parameters
    ----------
    result : Result

    Raises
    ------
    InputError
        When below no budget there are the rows that the model's law needs.
    """
    model, out = result.model, []
    if model is not None:
        rng = np.random.default_rng(result.options.seed)
        cost = model.rows.log_cost(model.inputs)
        for reach in REACHES:
            below = cost <= cost.max() - np.log(reach) + 1e-9
            seen, ahead = model.rows.take(below), model.rows.take(~below)
            if not can_hold(seen, model.posterior.law):
                continue
            draws = surface(seen, FEWEST_DRAWS, rng, model.base).log_loss(ahead.logs(model.inputs))
            draws += model.noise * rng.standard_normal(draws.shape)
            for k, found in enumerate(median_of(column, model.level).exp() for column in draws.T):
                cell = ahead.cell(k)
                row, measured = int(cell.pop("row")), cell.pop("loss")
                out.append(Foreseen(reach, len(seen), row, cell, found, measured, found.holds(measured)))
    if not out:
        raise InputError(
            f"`leave_future_out=true` needs a law that can be fitted to the rows below 1/{min(REACHES):g} of the "
            "largest compute, but they are too few: add cells, or leave it out."
        )
    return out
