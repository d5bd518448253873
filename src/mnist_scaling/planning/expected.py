"""What a new cell should give, loss and error, and the settings that it should be trained with.

ln L = surface(N, D) + e        a draw of the surface, and one of e: noise of the repeats, and what tuning leaves
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mnist_scaling.arms.reading import cell_trials
from mnist_scaling.fitting.frontier.methods import median_of
from mnist_scaling.fitting.laws.base import Array
from mnist_scaling.fitting.uncertainty.interval import Interval
from mnist_scaling.fitting.uncertainty.least_squares import plane
from mnist_scaling.planning.new_cell import NewCell, log_loss
from mnist_scaling.planning.studied import Studied
from mnist_scaling.settings.optimal_settings import SettingsOptions, optimal_settings
from mnist_scaling.settings.setting_laws import prior

NEAREST = 3
"""Cells whose selected settings stand in where a key has no law."""

FEWEST = 6
"""Cells that say how the error goes with the loss, at least: the half of lower loss, where that is more."""


@dataclass(frozen=True)
class Expected:
    """What a cell should give."""

    loss: Interval
    error: Interval
    """Of the test images; unknown where the table has no errors."""
    log_loss: Array
    """Draws of ln L, noise and luck included."""
    settings: Mapping[str, Any]
    """Tuned column to its recommended value."""
    by_law: tuple[str, ...]
    """Those of them that a law of the settings gives; the others are those of the nearest cells."""


def expect(of: Studied, cell: NewCell, rng: np.random.Generator) -> Expected:
    """What a cell should give, with an interval that holds the law, what it misses, noise and luck."""
    draws = log_loss(of, cell.at)
    draws = draws + of.model.posterior.scatter() * rng.standard_normal(len(draws))
    loss, error = (median_of(found, of.model.level).exp() for found in (draws, _log_error(of, draws, rng)))
    return Expected(loss, error, draws, *_settings(of, cell))


def _log_error(of: Studied, log_loss: Array, rng: np.random.Generator) -> Array:
    """Draws of the log error rate, by its line in ln L through the cells of lower loss; NaN where there is none."""
    both = of.cells.reindex(columns=[of.loss, "test_error"]).astype(float)
    both = np.log(both[(both > 0).all(axis=1)]).sort_values(both.columns[0])
    x, y = both.iloc[: max(FEWEST, len(both) // 2)].to_numpy().T
    if len(x) < FEWEST:
        return np.full(len(log_loss), np.nan)
    line = plane(y, x)
    sd = float(np.sqrt((line.residual**2).sum() / line.free))
    drawn = plane(y[:, None] + sd * rng.standard_normal((len(x), len(log_loss))), x).coefficients
    return drawn[0] + drawn[1] * log_loss + sd * rng.standard_normal(len(log_loss))


def _settings(of: Studied, cell: NewCell) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Best value of each tuned key: by its law against N and D, else as the nearest cells have it."""
    tuned = [key for key in of.source.tuned if key in of.cells]
    if not tuned:
        return {}, ()
    tried, keys, why = cell_trials(of.source, of.arm)
    laws = [] if why else optimal_settings(tried, keys, options=SettingsOptions(level=of.model.level)).keys
    sizes = {k: v for k, v in cell.at.items() if k in ("N", "D")}
    by_law = {name: guess.value for name, guess in prior(laws, of.model.level, **sizes).items()}
    columns = [str(of.source.rows.names[k]) for k in sizes if of.source.rows.names.get(k)]
    apart = np.log(of.cells[columns].astype(float) / list(sizes.values())).pow(2).sum(axis=1)
    near = of.cells.loc[apart.nsmallest(NEAREST).index]
    found = {key: by_law.get(key, _middle(near[key].dropna())) for key in tuned}
    for key in tuned:
        # A dropout of 0 in every cell is no whole number by nature, as a batch size is.
        if pd.api.types.is_numeric_dtype(near[key]) and (near[key] % 1 == 0).all() and near[key].min() >= 1:
            found[key] = max(round(found[key]), 1)
    return {key: value for key, value in found.items() if value is not None}, tuple(by_law)


def _middle(values: pd.Series) -> Any:
    """Geometric mean of positive numbers, mean of others, the most frequent word; None of nothing."""
    if not len(values) or not pd.api.types.is_numeric_dtype(values):
        return values.mode().iloc[0] if len(values) else None
    return float(np.exp(np.log(values).mean()) if (values > 0).all() else values.mean())
