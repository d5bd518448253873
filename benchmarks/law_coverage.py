"""How often do the intervals hold the truth? Simulated tables on the user's own rows, fitted as the table is.

A nominal 95 % interval that holds the truth in 200 of 200 tables is too wide to be useful and one that
holds it in 160 is a lie; 90 to 97 % is what this package is tested for.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mnist_scaling.errors import InputError
from mnist_scaling.fitting.analysis import Result
from mnist_scaling.fitting.frontier.fronts import EXPONENTS
from mnist_scaling.fitting.frontier.parametric import Cost, fit_cost
from mnist_scaling.fitting.frontier_intervals import all_frontiers
from mnist_scaling.fitting.laws.base import Array, Law
from mnist_scaling.fitting.rows import Table
from mnist_scaling.fitting.selection.averaging import WeightedLaw
from mnist_scaling.fitting.selection.fitted import Fitted, Options, fit_part, main_slice, whole
from mnist_scaling.fitting.uncertainty.bootstrap import Draws, make_draws
from mnist_scaling.fitting.uncertainty.interval import Interval


@dataclass(frozen=True)
class Coverage:
    """One quantity over all simulated tables."""

    quantity: str
    """"additive alpha" or "hull N_exponent"."""
    truth: float
    """NaN where several quantities must be held at once."""
    held: int
    """Tables whose interval holds the truth."""
    tables: int
    """Tables that gave an interval at all; for a quantity of each slice, all their intervals."""
    width: float
    """Median width of the interval."""
    rmse: float
    """Root mean square error of the estimate."""

    @property
    def share(self) -> float:
        """Coverage; NaN where no table gave an interval."""
        return self.held / self.tables if self.tables else np.nan


def simulate(table: Table, law: Law, theta: Array, sigma: Array, repeats: int, rng: np.random.Generator) -> Table:
    """A table on the same rows whose losses obey the law, with log-normal seed noise.

    Parameters
    ----------
    theta : array, shape (p,)
        In the solver's coordinates.
    sigma : float or array, shape (n,)
        Standard deviation of one run's log loss.
    repeats : int
        Runs per row; with one there is no standard error.
    rng : numpy.random.Generator
    """
    logs = table.logs(law.inputs)
    truth = law.evaluate(theta[None], logs)[0][0]
    runs = np.exp(truth[:, None] + np.asarray(sigma)[..., None] * rng.standard_normal((len(table), repeats)))
    se = runs.std(axis=1, ddof=1) / np.sqrt(repeats) if repeats > 1 else None
    return replace(table, loss=runs.mean(axis=1), se=se, repeats=np.full(len(table), float(repeats)))


def coverage(
    table: Table,
    law: Law,
    theta: Array,
    sigma: float | Array,
    repeats: int = 3,
    tables: int = 200,
    options: Options | None = None,
    frontier: bool = True,
) -> list[Coverage]:
    """Share of simulated tables whose intervals hold the truth, for every exponent and the floor.

    The methods that read the frontier off the rows are held against what they give on the rows without
    noise: their own bias is another matter, which the agreement table shows.

    Parameters
    ----------
    table : Table
        Its rows' N, D, C are used, its losses are not.
    law, theta
        The truth.
    sigma : float or array, shape (n,)
        Standard deviation of one run's log loss.
    tables : int
        How many to simulate.
    options : Options, optional
        As for the table itself; `options.draws` is the bootstrap of each simulated table.

    Raises
    ------
    InputError
        When fewer than 20 tables are asked for.
    """
    if tables < 20:
        raise InputError(f"`coverage.draws >= 20` must hold, but got {tables}: 200 is usual.")
    options = options or Options(draws=200)
    rng = np.random.default_rng(options.seed)
    sigma = np.broadcast_to(np.asarray(sigma, float), (len(table),))
    exact = simulate(table, law, theta, np.zeros(len(table)), 1, rng)
    exact = replace(exact, se=None)
    cost = fit_cost(table)
    truth = _truth(exact, law, theta, cost, options) if frontier else {}
    truth |= {f"{law.name} {p.name}": float(theta[k]) for k, p in enumerate(law.parameters) if not p.log}
    seen: dict[str, list[Interval]] = {k: [] for k in truth}
    for _ in range(tables):
        drawn = simulate(table, law, theta, sigma, repeats, rng)
        for key, found in _intervals(drawn, law, cost, options, rng, frontier).items():
            if key in seen:
                seen[key].append(found)
    return [summary(key, truth[key], found) for key, found in seen.items()]


def coverage_of(
    result: Result, law: str | None = None, tables: int = 200, draws: int = 200
) -> tuple[str, list[Coverage]]:
    """The same for a finished analysis: its rows, its selected law, its noise, its repeats.

    Parameters
    ----------
    result : Result
    law : str, optional
        What the simulated tables obey; the selected law, else the best by AICc, when left out.
    tables : int
    draws : int
        Bootstrap draws of each simulated table.

    Raises
    ------
    InputError
        When that law was not fitted to the table.
    """
    name = law or result.choice.selected or result.reference
    if name is None or name not in result.fitted:
        raise InputError(f"`coverage.law` must be a law that was fitted ({', '.join(result.fitted)}), but got {name}.")
    f, table = result.fitted[name], result.table
    known = table.repeats if table.repeats is not None else np.full(len(table), 3.0 if table.se is not None else 1.0)
    repeats = max(1, round(float(np.nanmedian(known))))
    size = float(np.sqrt(np.mean(f.noise.sigma**2))) * np.sqrt(repeats)
    if not np.isfinite(size):
        raise InputError(
            f"A simulation needs the size of the noise, but {name} leaves no residual: add cells or repeats."
        )
    options = replace(result.options, draws=draws)
    return name, coverage(table, f.law, f.fit.theta, size, repeats, tables, options)


def _fit(table: Table, law: Law, options: Options, rng: np.random.Generator) -> tuple[Fitted, Draws]:
    draws = make_draws(len(table), options.draws, rng, options.kind, options.level)
    part = whole(table) if len(law.inputs) > 1 else main_slice(table, law.inputs[0])
    return fit_part(law, table, part, options, draws, deep=False), draws


def _intervals(
    table: Table, law: Law, cost: Cost | None, options: Options, rng: np.random.Generator, frontier: bool
) -> dict[str, Interval]:
    fitted, draws = _fit(table, law, options, rng)
    out = {f"{law.name} {k}": v for k, v in fitted.params.items()}
    if frontier and len(law.inputs) > 1:
        found = all_frontiers(table, (WeightedLaw(fitted, 1.0),), cost, draws, options.isoflop)
        out |= {f"{m} {k}": r.intervals[k] for m, r in found.items() for k in EXPONENTS}
    return out


def _truth(exact: Table, law: Law, theta: Array, cost: Cost | None, options: Options) -> dict[str, float]:
    fitted, draws = _fit(exact, law, replace(options, draws=0), np.random.default_rng(0))
    if len(law.inputs) < 2:
        return {}
    found = all_frontiers(exact, (WeightedLaw(fitted, 1.0),), cost, draws, options.isoflop)
    values = {f"{m} {k}": r.frontier.exponents[k] for m, r in found.items() for k in EXPONENTS}
    return {k: v for k, v in values.items() if np.isfinite(v)}


def summary(quantity: str, truth: float, found: list[Interval]) -> Coverage:
    """How often these intervals of one quantity hold its truth; those without ends don't count."""
    known = [i for i in found if np.isfinite([i.value, i.low, i.high]).all()]
    slack = 1e-9 * max(1.0, abs(truth))
    held = sum(i.low - slack <= truth <= i.high + slack for i in known)
    width = float(np.median([i.high - i.low for i in known])) if known else np.nan
    rmse = float(np.sqrt(np.mean([(i.value - truth) ** 2 for i in known]))) if known else np.nan
    return Coverage(quantity, truth, held, len(known), width, rmse)
