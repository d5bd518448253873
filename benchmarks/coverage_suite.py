"""The simulated tables of `coverage.py`: their truths, their grids, their noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from smooth_truths import WRITTEN, smooth_log_loss

from mnist_scaling.fitting.laws import get_law
from mnist_scaling.fitting.laws.base import Array
from mnist_scaling.fitting.rows import Table, make_table

COUPLED = {"E": 0.015, "A": 92.4, "B": 15.94, "alpha": 0.8463, "beta": 0.4938, "gamma": 1.4}
TRUTHS: dict[str, tuple[str, dict[str, float]]] = {
    "additive": ("additive", {"E": 0.02, "A": 650.0, "B": 72.9, "alpha": 1.148, "beta": 0.7306}),
    "additive, E = 0": ("additive", {"E": 0.0, "A": 150.4, "B": 27.66, "alpha": 0.9552, "beta": 0.606}),
    "multiplicative": ("multiplicative", {"A": 113.0, "alpha": 0.2995, "beta": 0.4347}),
    "multiplicative_floor": ("multiplicative_floor", {"E": 0.02, "A": 333.2, "alpha": 0.3578, "beta": 0.5154}),
    "coupled, gamma = 0.6": (
        "coupled",
        {"E": 0.015, "A": 10645.6, "B": 671.04, "alpha": 1.6513, "beta": 1.1185, "gamma": 0.6},
    ),
    "coupled, gamma = 1.4": ("coupled", COUPLED),
    "kaplan": ("kaplan", {"Nc": 124.4, "Dc": 373.6, "alpha_N": 0.7067, "alpha_D": 0.6846}),
    "kaplan_floor": ("kaplan_floor", {"E": 0.02, "Nc": 220.5, "Dc": 476.2, "alpha_N": 0.9481, "alpha_D": 0.8015}),
}
"""Each law's best fit to one quickstart study, its floor and gamma held at a round number."""

BROKEN = "broken_D"
"""A truth that none of the laws is: the exponent of D falls from 0.6 to 0.3 at D = 12,500."""

SIZES = np.array([2066, 3148, 4266, 6610, 9098, 13100, 20490, 37000.0])
"""Parameters of the CNN at widths 2, 3, 4, 6, 8, 11, 16 and 22."""

COST = (np.log(0.377), 1.5335, 1.0)
"""log C = constant + kappa_N log N + kappa_D log D of the quickstart's cells."""


@dataclass(frozen=True)
class Condition:
    """How a table comes about."""

    truth: str
    grid: str = "7x5"
    noise: float = 0.04
    """Standard deviation of one run's log loss."""
    what: str = "se"
    """se (3 repeats with their standard error), no se, unequal (noise twice to half by cell), outlier (one cell 20 %
    too high), shared (a shared 3 % error for each amount of data beside the seeds' own)."""


def points(grid: str) -> tuple[Array, Array]:
    """N and D of every row."""
    if grid == "scattered":
        rng = np.random.default_rng(11)
        return (np.exp(rng.uniform(*np.log(ends), 40)) for ends in ((2e3, 4e4), (1.5e3, 5e4)))  # type: ignore[return-value]
    sizes = {"4x5": SIZES[[0, 2, 4, 6]], "5x5": SIZES[[0, 2, 3, 5, 6]], "7x5": SIZES[:7], "8x7": SIZES}[grid]
    amounts = 50_000 / 2.0 ** np.arange(7 if grid == "8x7" else 5)
    n, d = np.meshgrid(sizes, amounts, indexing="ij")
    return n.ravel(), d.ravel()


def log_loss(truth: str, log_n: Array, log_d: Array) -> Array:
    """The true mean log loss."""
    if truth in WRITTEN or truth.startswith("drawn"):
        return smooth_log_loss(truth, log_n, log_d)
    if truth == BROKEN:
        bend = 0.3 * 0.3 * np.logaddexp(0, (log_d - np.log(12_500)) / 0.3)
        return np.log(113) + 1.5 - 0.2995 * log_n - 0.6 * log_d + bend
    name, values = TRUTHS[truth]
    law = get_law(name)
    return law.evaluate(law.internal(values)[None], {"N": log_n, "D": log_d})[0][0]


def table_of(condition: Condition, rng: np.random.Generator) -> Table:
    """One simulated table."""
    n, d = points(condition.grid)
    y, size = log_loss(condition.truth, np.log(n), np.log(d)), np.full(len(n), condition.noise)
    if condition.what == "unequal":
        size = size * np.exp(rng.uniform(-np.log(2), np.log(2), len(n)))
    if condition.what == "outlier":
        y = y + np.log(1.2) * (np.arange(len(n)) == rng.integers(len(n)))
    if condition.what == "shared":
        _, level = np.unique(d, return_inverse=True)
        y = y + 0.03 * rng.standard_normal(level.max() + 1)[level]
    runs = np.exp(y[:, None] + size[:, None] * rng.standard_normal((len(n), 3)))
    with_se = condition.what != "no se"
    c = np.exp(COST[0] + COST[1] * np.log(n) + COST[2] * np.log(d))
    return make_table(
        runs.mean(axis=1),
        {"N": n, "D": d, "C": c},
        se=runs.std(axis=1, ddof=1) / np.sqrt(3) if with_se else None,
        repeats=np.full(len(n), 3.0) if with_se else None,
    )
