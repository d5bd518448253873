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
    settings: Mapping[str, Interval | str]
    """Tuned column to its recommended value, with an interval where it is a number."""
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


def _settings(of: Studied, cell: NewCell) -> tuple[dict[str, Interval | str], tuple[str, ...]]:
    """Best value of each tuned key: by its law, else as the nearest cells have it; within its limits."""
    tuned = [key for key in of.source.tuned if key in of.cells]
    if not tuned:
        return {}, ()
    tried, keys, why = cell_trials(of.source, of.arm)
    laws = [] if why else optimal_settings(tried, keys, options=SettingsOptions(level=of.model.level)).keys
    sizes = {k: v for k, v in cell.at.items() if k in ("N", "D")}
    by_law = prior(laws, of.model.level, **sizes)
    columns = [str(of.source.rows.names[k]) for k in sizes if of.source.rows.names.get(k)]
    apart = np.log(of.cells[columns].astype(float) / list(sizes.values())).pow(2).sum(axis=1)
    near = of.cells.loc[apart.nsmallest(NEAREST).index]
    found: dict[str, Interval | str] = {}
    for key in tuned:
        values = near[key].dropna()
        if pd.api.types.is_numeric_dtype(values) and values.dtype != bool and len(values):
            found[key] = _within(of.range_of(key), by_law.get(key) or _of_nearest(values), values)
        elif len(values):
            found[key] = str(values.mode().iloc[0])
    return found, tuple(by_law)


def _of_nearest(values: pd.Series) -> Interval:
    """The mean of a setting, geometric where all are positive, and what it ranges over."""
    mean = np.exp(np.log(values).mean()) if (values > 0).all() else values.mean()
    return Interval(*map(float, (mean, values.min(), values.max())))


def _within(searched: Mapping[str, Any], found: Interval, values: pd.Series) -> Interval:
    """Within the ends of the range that are limits, and whole where the cells' values are."""
    low, high = (searched[end] if end in searched.get("limits", ()) else None for end in ("low", "high"))
    ends = np.array([found.value, found.low, found.high])
    ends = ends if low is None and high is None else np.clip(ends, low, high)
    # A dropout of 0 in every cell is no whole number by nature, as a batch size is.
    whole = (values % 1 == 0).all() and values.min() >= 1
    return Interval(*map(float, np.maximum(ends.round(), 1) if whole else ends))
