"""Clouds of exponents: what the surfaces of the model that the headline is of say together, draw by draw."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mnist_scaling.fitting.uncertainty.least_squares import plane
from mnist_scaling.reporting.documents.loading import Study
from mnist_scaling.reporting.figures.scatter import View
from mnist_scaling.reporting.parts import Missing
from mnist_scaling.reporting.text import plural, power_of_ten


def clouds(study: Study) -> View | Missing:
    """A row for each surface: exponents of L* and N* in C over the upper half of the budgets, the floor, L* ahead."""
    kept = study.fits.headline.draws
    if kept is None:
        return Missing("fits.json keeps no draws of the model: it needs compute, and a `fit` of today.")
    log_c, loss = np.log(np.array(kept.C, float)), np.log(np.array(kept.loss, float))
    half = log_c >= (log_c[0] + log_c[-1]) / 2
    table = {"exponent of L* in C": -plane(loss[:, half].T, log_c[half]).coefficients[1]}
    if kept.N is not None:
        sizes = np.log(np.array(kept.N, float))
        table["exponent of N* in C"] = np.array([_slope(log_c, row, half & np.isfinite(row)) for row in sizes])
    table |= {"floor": np.array(kept.floor, float), f"loss at {power_of_ten(kept.C[-1])} FLOPs": np.exp(loss[:, -1])}
    rows = pd.DataFrame({name: values for name, values in table.items() if pd.Series(values).nunique() > 1}).dropna()
    if len(rows) < 2 or len(rows.columns) < 2:
        return Missing("The draws of the model differ in fewer than two numbers.")
    return View(rows, note=f"{plural(len(rows), 'draw')}.", names=[])


def _slope(x: np.ndarray, y: np.ndarray, kept: np.ndarray) -> float:
    return float(plane(y[kept], x[kept]).coefficients[1]) if kept.sum() > 1 else np.nan
