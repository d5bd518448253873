"""How often the intervals of one law's own parameters hold the truth, on tables that obey this law."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mnist_scaling.fitting.fitted import Options, fit_part
from mnist_scaling.fitting.laws.base import Array, Law
from mnist_scaling.fitting.rows import Table
from mnist_scaling.fitting.slices import part_for
from mnist_scaling.fitting.uncertainty.bootstrap import make_draws
from mnist_scaling.fitting.uncertainty.interval import Interval


@dataclass(frozen=True)
class Coverage:
    """One quantity over all simulated tables."""

    quantity: str
    """"additive alpha", say."""
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
    table: Table, law: Law, theta: Array, sigma: float, repeats: int, tables: int, draws: int
) -> list[Coverage]:
    """Share of simulated tables whose intervals of a law's own exponents and floor hold the truth.

    Parameters
    ----------
    table : Table
        Its rows' N, D, C are used, its losses are not.
    law, theta
        The truth.
    sigma : float
        Standard deviation of one run's log loss.
    repeats, tables, draws : int
        Runs per row, simulated tables, and draws of each table's bootstrap.
    """
    rng = np.random.default_rng(0)
    seen: dict[str, list[Interval]] = {p.name: [] for p in law.parameters if not p.log}
    for _ in range(tables):
        drawn = simulate(table, law, theta, sigma, repeats, rng)
        found = fit_part(law, drawn, part_for(law, drawn), Options(), make_draws(len(drawn), draws, rng), deep=False)
        for key in seen:
            seen[key].append(found.params[key])
    truth = dict(zip(law.names, theta, strict=True))
    return [summary(f"{law.name} {key}", float(truth[key]), found) for key, found in seen.items()]


def summary(quantity: str, truth: float, found: list[Interval]) -> Coverage:
    """How often these intervals of one quantity hold its truth; those without ends don't count."""
    known = [i for i in found if np.isfinite([i.value, i.low, i.high]).all()]
    slack = 1e-9 * max(1.0, abs(truth))
    held = sum(i.low - slack <= truth <= i.high + slack for i in known)
    width = float(np.median([i.high - i.low for i in known])) if known else np.nan
    rmse = float(np.sqrt(np.mean([(i.value - truth) ** 2 for i in known]))) if known else np.nan
    return Coverage(quantity, truth, held, len(known), width, rmse)
