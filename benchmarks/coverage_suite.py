"""The simulated tables of `coverage.py`: truths, grids, noise, and the true value of every quantity."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np
from smooth_truths import SEALED, WRITTEN, smooth_log_loss

from mnist_scaling.fitting.frontier.parametric import Cost, fit_cost, valley
from mnist_scaling.fitting.laws import get_law
from mnist_scaling.fitting.laws.base import STEP, Array, Logs, middle
from mnist_scaling.fitting.misfit.process import Axes
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

SIZES = np.array([2066, 3148, 4266, 6610, 9098, 13100, 20490, 37000.0])
"""Parameters of the CNN at widths 2, 3, 4, 6, 8, 11, 16 and 22."""

COST = (np.log(0.377), 1.5335, 1.0)
"""log C = constant + kappa_N log N + kappa_D log D of the quickstart's cells."""

BUDGETS = 9
"""Budgets, over the table's range of compute, of the frontier's exponents."""

FACTORS = (2, 4, 8, 30)
"""Multiples of the largest compute at which losses are asked for."""

SLOPES = ("slope N", "slope D", "middle N", "middle D")
QUANTITIES = (*SLOPES, "floor", "N*", "L*", *(f"loss x {k}" for k in FACTORS))
"""Slopes at the largest cell and in the middle; N*'s exponent; losses in logs, L* at the largest compute."""

FIRST_DRAWN = 80
"""Number of the first drawn surface: those before it were looked at, and the prior of the misfit's lengths is chosen on
them."""

SETS = ("laws", "written", "drawn")
"""Tables where a law is true, and of surfaces that are none: written down, or of a generator."""


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


def conditions(kind: str) -> Iterator[Condition]:
    """The conditions of one of `SETS`."""
    if kind == "drawn":
        for k in range(FIRST_DRAWN, FIRST_DRAWN + SEALED):
            yield Condition(f"drawn {k}", "5x5" if k % 4 == 3 else "7x5", (0.02, 0.04, 0.08)[k % 3])
        return
    truths = WRITTEN if kind == "written" else TRUTHS
    for noise, truth in product((0.02, 0.04, 0.08), truths):
        yield Condition(truth, noise=noise)
    for grid, truth in product(("5x5", "scattered") if kind == "written" else ("4x5", "8x7", "scattered"), truths):
        yield Condition(truth, grid)
    for what, truth in product(("no se",) if kind == "written" else ("no se", "unequal", "outlier", "shared"), truths):
        yield Condition(truth, what=what)


def points(grid: str) -> tuple[Array, Array]:
    """N and D of every row."""
    if grid == "scattered":
        rng = np.random.default_rng(11)
        return (np.exp(rng.uniform(*np.log(ends), 40)) for ends in ((2e3, 4e4), (1.5e3, 5e4)))  # type: ignore[return-value]
    sizes = {"4x5": SIZES[[0, 2, 4, 6]], "5x5": SIZES[[0, 2, 3, 5, 6]], "7x5": SIZES[:7], "8x7": SIZES}[grid]
    amounts = 50_000 / 2.0 ** np.arange(7 if grid == "8x7" else 5)
    n, d = np.meshgrid(sizes, amounts, indexing="ij")
    return n.ravel(), d.ravel()


def log_loss(truth: str, logs: Mapping[str, Array]) -> Array:
    """The true mean log loss at logs of "N" and "D", shape (n,)."""
    if truth not in TRUTHS:
        return smooth_log_loss(truth, logs["N"], logs["D"])
    name, values = TRUTHS[truth]
    law = get_law(name)
    return law.evaluate(law.internal(values)[None], logs)[0][0]


def table_of(condition: Condition, rng: np.random.Generator) -> Table:
    """One simulated table."""
    n, d = points(condition.grid)
    y, size = log_loss(condition.truth, {"N": np.log(n), "D": np.log(d)}), np.full(len(n), condition.noise)
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


@dataclass(frozen=True)
class Truth:
    """What is true of one condition's tables."""

    values: dict[str, float]
    """Of `QUANTITIES`. N* is absent where at most half of the budgets have a lowest loss inside of what is searched,
    and the floor where no law is true."""
    cost: Cost
    log_c: Array
    """Budgets of the frontier, shape (`BUDGETS`,)."""


def largest(logs: Logs) -> dict[str, float]:
    """The corner of the largest of every input."""
    return {name: float(x.max()) for name, x in logs.items()}


@cache
def truth_of(condition: Condition) -> Truth:
    """The true value of every quantity that exists."""
    table = table_of(condition, np.random.default_rng(0))
    logs, cost = table.logs(("N", "D")), fit_cost(table)
    assert cost is not None
    c = cost.of(table)
    log_c, beyond = np.linspace(c.min(), c.max(), BUDGETS), c.max() + np.log(FACTORS)

    def surface(at: Mapping[str, Array]) -> Array:
        return log_loss(condition.truth, at)[None]

    values = {}
    for prefix, at in (("slope", largest(logs)), ("middle", middle(logs))):
        for key in "ND":
            ends = {k: at[k] + np.array([-STEP, STEP]) * (k == key) for k in "ND"}
            values[f"{prefix} {key}"] = float(-np.diff(log_loss(condition.truth, ends))[0]) / (2 * STEP)
    if condition.truth in TRUTHS:
        values["floor"] = TRUTHS[condition.truth][1].get("E", 0.0)
    inside = valley(surface, Axes.of(logs), cost, log_c)
    values |= {"N*": float(inside.exponents["N"][0]), "L*": float(inside.log_loss[0, -1])}
    lowest = np.fmin.accumulate(valley(surface, Axes.of(logs), cost, np.concatenate([log_c, beyond])).log_loss[0])
    values |= {f"loss x {k}": float(y) for k, y in zip(FACTORS, lowest[-len(FACTORS) :], strict=True)}
    return Truth({k: v for k, v in values.items() if np.isfinite(v)}, cost, log_c)
