"""How often the intervals of a comparison hold the truth, and how often equal arms are said to differ."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from law_coverage import Coverage, summary

from mnist_scaling.fitting.comparing.comparison import DIFFERS, quoted_differences, slopes, solve_slopes, verdict
from mnist_scaling.fitting.comparing.multiplier import frontiers, lowest, multipliers, path, reach
from mnist_scaling.fitting.comparing.pairing import Arm, match
from mnist_scaling.fitting.comparing.surface import Surfaces, fit_surfaces
from mnist_scaling.fitting.fitted import Options
from mnist_scaling.fitting.laws.base import Array, Law
from mnist_scaling.fitting.rows import Table, make_table
from mnist_scaling.fitting.uncertainty.interval import Interval


@dataclass(frozen=True)
class Truth:
    """What both arms obey."""

    law: Law
    a: Mapping[str, float]
    b: Mapping[str, float]
    """Natural parameters of each arm."""

    def logs(self, x: Array) -> tuple[Array, Array]:
        """Log losses of both arms at log N and log D of shape (…, 2)."""
        logs = {"N": x[..., 0].ravel(), "D": x[..., 1].ravel()}
        one, two = (
            self.law.evaluate(self.law.internal(p)[None], logs)[0][0].reshape(x.shape[:-1]) for p in (self.a, self.b)
        )
        return one, two


@dataclass(frozen=True)
class RunNoise:
    """Noise of one run's log loss."""

    sigma: float
    shared: float
    """Share of its variance that a seed gives to both arms; 0 where they share no seed."""
    repeats: int = 3
    tuning: float = 0.0
    """Standard deviation of what the tuning of a cell leaves, which all repeats of the cell have, and no other arm."""
    reach: tuple[float, float] = (0.0, 0.0)
    """Correlation of what it leaves between neighbouring cells along D and along N."""
    fall: float = 0.0
    """Power of D by which it falls; `tuning` is then its root mean square over the cells."""
    skewed: bool = False
    """Whether it is a squared normal number, which is seldom large and never good luck, instead of a normal one."""
    across: float = 0.0
    """Share of the variance of one run that a seed gives to all cells of its arm."""


def left_by_tuning(x: Array, noise: RunNoise, rng: np.random.Generator) -> Array:
    """Log loss that tuning leaves in each cell of log sizes x, shape (cells, 2): noise smooth over the grid.

    Cells that are i steps of the grid apart along N and j along D have the correlation reach_N^i reach_D^j.
    """
    correlation = np.ones((len(x), len(x)))
    for column, rho in zip(np.round(x, 6).T, noise.reach[::-1], strict=True):
        steps = np.abs(np.subtract.outer(*2 * [np.unique(column, return_inverse=True)[1]]))
        correlation = correlation * np.where(steps == 0, 1.0, rho**steps)
    # Squares of two normal numbers are correlated by the square of their correlation.
    root = np.linalg.cholesky(np.sqrt(correlation) if noise.skewed else correlation)
    drawn = root @ rng.standard_normal(len(x))
    if noise.skewed:
        drawn = (drawn**2 - 1) / np.sqrt(2)
    size = np.exp(-noise.fall * (x[:, 1] - x[:, 1].mean()))
    return np.asarray(noise.tuning * drawn * size / np.sqrt((size**2).mean()))


def as_tuned(arm: Arm, tuned: bool) -> Arm:
    """The arm as one whose cells were tuned, or were not."""
    return replace(arm, table=replace(arm.table, tuned=tuned))


def simulate(
    n: Array, d: Array, truth: Truth, noise: RunNoise, rng: np.random.Generator, names: str = "ab"
) -> list[Arm]:
    """Arms on the same cells, with log-normal noise of which a part is the seed's and common to both.

    Arms are named a and b after the truth that they obey; t is a twin of a, whose seeds are its own.
    """
    x = np.stack([np.log(n), np.log(d)], axis=-1)
    exact = truth.logs(x)
    size = (len(n), noise.repeats)
    common = np.sqrt(noise.shared) * rng.standard_normal(size)
    arms = []
    for place, name in enumerate(names):
        y = exact[name == "b"]
        shared = common if name in "ab" else np.sqrt(noise.shared) * rng.standard_normal(size)
        own = np.sqrt(1 - noise.shared - noise.across) * rng.standard_normal(size)
        if noise.across:
            own += np.sqrt(noise.across) * rng.standard_normal(noise.repeats)
        tuned = y + left_by_tuning(x, noise, rng) if noise.tuning else y
        losses = np.exp(tuned[:, None] + noise.sigma * (shared + own))
        se = losses.std(axis=1, ddof=1) / np.sqrt(noise.repeats) if noise.repeats > 1 else None
        table = make_table(losses.mean(axis=1), {"N": n, "D": d, "C": 6 * n * d}, se, np.full(len(n), noise.repeats))
        # Arms that share no seed have seeds of their own.
        first = 0 if noise.shared and name in "ab" else place * noise.repeats
        runs = [{first + k: float(loss) for k, loss in enumerate(row)} for row in losses]
        arms.append(Arm(name, table, runs))
    return arms


def exact_slopes(arms: tuple[Table, Table], truth: Truth) -> dict[str, float]:
    """The differences that a comparison finds where there is no noise: of planes through the true losses."""
    cells = match(Arm("a", arms[0]), Arm("b", arms[1]))
    surfaces = fit_surfaces(cells)
    x_a, x_b = cells.x
    y = np.concatenate([truth.logs(x_a)[0], truth.logs(x_b)[1]])
    a, b = (solve @ y for solve in solve_slopes(surfaces))
    return {"alpha": float(a[1] - b[1]), "beta": float(a[2] - b[2]), "offset": float(b[0] - a[0])}


def comparison_coverage(
    n: Array,
    d: Array,
    truth: Truth,
    noise: RunNoise,
    tables: int,
    rng: np.random.Generator,
    draws: int = 300,
    level: float = 0.95,
    margin: float = 0.03,
    twin: bool = False,
    tuned: bool = True,
) -> tuple[list[Coverage], dict[str, float]]:
    """Simulate pairs of arms on the same cells and count.

    Parameters
    ----------
    n, d : array, shape (cells,)
    truth : Truth
    noise : RunNoise
    tables : int
        Pairs of arms to simulate.
    rng : numpy.random.Generator
    draws : int
        Of the bootstrap of each pair.
    level, margin : float
        Of the intervals, and of equivalence.
    twin : bool
        Whether arm a is tuned a second time.
    tuned : bool
        Whether `compare` is told that cells were tuned.

    Returns
    -------
    coverages : list of Coverage
        Of the differences alpha, beta and offset, and of the log multiplier at both ends.
    differs : dict
        Share of pairs of which "differs" is said, by quantity.
    """
    seen: dict[str, list[tuple[Interval, float]]] = {}
    said: dict[str, int] = dict.fromkeys(("alpha", "beta", "offset"), 0)
    exact: dict[str, float] = {}
    for _ in range(tables):
        arms = [as_tuned(arm, tuned) for arm in simulate(n, d, truth, noise, rng, "abt" if twin else "ab")]
        exact = exact or exact_slopes((arms[0].table, arms[1].table), truth)
        surfaces = fit_surfaces(match(*arms[:2]), match(arms[0], arms[2]) if twin else None)
        drawn, _, alone = surfaces.noise.draw(draws, rng)
        found, offset, _ = slopes(surfaces, drawn, alone, level)
        quantities = {k: v.difference for k, v in found.items()} | {"offset": offset}
        for key, interval in quantities.items():
            seen.setdefault(key, []).append((interval, exact[key]))
            said[key] += verdict(interval, margin) == DIFFERS
        for key, interval, value in _multipliers(surfaces, drawn, truth, level):
            seen.setdefault(key, []).append((interval, value))
    return [_counted(key, pairs) for key, pairs in seen.items()], {k: v / tables for k, v in said.items()}


def slope_coverage(
    n: Array, d: Array, truth: Truth, noise: RunNoise, tables: int, rng: np.random.Generator, draws: int = 300
) -> list[Coverage]:
    """How often both arms' slopes at the largest cell, and their differences, hold the truth, in simulated pairs."""
    seen: dict[str, list[tuple[Interval, float]]] = {}
    for _ in range(tables):
        a, b = (as_tuned(arm, noise.tuning > 0) for arm in simulate(n, d, truth, noise, rng))
        at = np.log([n, d]).T[np.argmax(n * d)]
        for one in quoted_differences(match(a, b), Options(draws=draws)):
            if one.parameter in (keys := {"slope_N": 0, "slope_D": 1}):
                step = 1e-3 * np.eye(2)[keys[one.parameter]]
                y_a, y_b = truth.logs(np.stack([at - step, at + step]))
                of_a, of_b = (float(y[0] - y[1]) / 2e-3 for y in (y_a, y_b))
                alone = seen.setdefault(f"{one.parameter}, one arm", [])
                alone += [(one.a, of_a), (one.b, of_b)]
                seen.setdefault(one.parameter, []).append((one.difference, of_b - of_a))
    return [_counted(key, pairs) for key, pairs in seen.items()]


def _multipliers(surfaces: Surfaces, drawn: Array, truth: Truth, level: float) -> Iterable[tuple[str, Interval, float]]:
    cells = surfaces.cells
    found = frontiers(surfaces, drawn)
    ways = [path(table, cells.variables, *cells.corners) for table in (cells.a, cells.b)]
    assert found is not None
    assert ways[0] is not None
    assert ways[1] is not None
    ends = multipliers(found, level)[::2]
    for name, m in zip(("multiplier, least C", "multiplier, most C"), ends, strict=False):
        at = float(np.log(m.C))
        exact = true_multiplier(lambda x: truth.logs(x)[0], lambda x: truth.logs(x)[1], (ways[0], ways[1]), at)
        yield name, Interval(*np.log([m.value, m.low, m.high])), exact


def _counted(name: str, pairs: list[tuple[Interval, float]]) -> Coverage:
    """Each interval against its own truth: that of a multiplier lies at the compute that the pair has."""
    moved = [Interval(i.value - t, i.low - t, i.high - t) for i, t in pairs]
    return summary(name, 0.0, moved)


def true_multiplier(
    law_a: Callable[[Array], Array], law_b: Callable[[Array], Array], ways: Sequence[tuple[Array, Array]], at: float
) -> float:
    """log m at log compute `at` of known laws of the log sizes, on the same paths: what simulations compare with."""
    (c_a, x_a), (c_b, x_b) = ways
    y_a, y_b = lowest(law_a(x_a)), lowest(law_b(x_b))
    return reach(c_b, y_b, float(np.interp(at, c_a, y_a))) - at
