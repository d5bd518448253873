"""How often the intervals of what tuning changed hold the truth: each by itself, and all of them at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np
from law_coverage import Coverage, summary

from mnist_scaling.fitting.comparing.pairing import pair_noise
from mnist_scaling.fitting.laws.base import Array
from mnist_scaling.fitting.uncertainty.interval import Interval
from mnist_scaling.fitting.uncertainty.least_squares import LEVEL
from mnist_scaling.settings.tuning_change import CHANGE, SIMULTANEOUS, TunedCells, TuningChange, tuning_change

Plane = Mapping[str, float]
"""L = k N^-a D^-b as {"k": k, "N": a, "D": b}."""

Key = tuple[str, str, str]
"""Source, "slice" or "plane", and variable of an exponent."""


def change_coverage(
    n: Array,
    d: Array,
    untuned: Plane,
    tuned: Plane,
    sigma: float,
    repeats: int,
    tables: int,
    rng: np.random.Generator,
    level: float = LEVEL,
    luck: Callable[[np.random.Generator], Array] | None = None,
) -> list[Coverage]:
    """Simulate studies whose untuned and tuned losses obey known planes, and count.

    Both losses of a cell are means of repeats, here without noise that a seed gives to both; seed noise is log-normal.

    Parameters
    ----------
    n, d : array, shape (cells,)
        A grid, or the cells that are left of one.
    untuned, tuned : mapping
        The truth.
    sigma : float
        Standard deviation of one run's log loss.
    repeats : int
        Runs behind either loss.
    tables : int
        How many studies to simulate.
    rng : numpy.random.Generator
    level : float
        Of the intervals.
    luck : callable, optional
        Draws what tuning leaves in the log loss of each tuned cell.

    Returns
    -------
    list of Coverage
        "change slice N" counts every slice's interval; "change slice, all at once" counts studies.
    """
    change = {k: tuned[k] - untuned[k] for k in ("N", "D")}
    truth = {"untuned": untuned, "tuned": tuned, CHANGE: change, SIMULTANEOUS: change}
    found = []
    for _ in range(tables):
        left = np.zeros(len(n)) if luck is None else luck(rng)
        before, after = (
            _plane(of, n, d)[:, None] * np.exp(sigma * rng.standard_normal((len(n), repeats)))
            for of in (untuned, tuned)
        )
        after = after * np.exp(left)[:, None]
        noise = pair_noise(tuple(dict(enumerate(runs)) for runs in pair) for pair in zip(before, after, strict=True))
        mean = after.mean(axis=1)
        cells = TunedCells(n, d, before.mean(axis=1), mean, mean, np.full(len(n), np.nan), noise=noise)
        found.append([(key, i) for key, i in _exponents(tuning_change(cells, level), truth) if i.bounded])
    out = []
    for key in dict.fromkeys(key for table in found for key, _ in table):
        intervals = [i for table in found for k, i in table if k == key]
        out.append(summary(" ".join(key), truth[key[0]][key[2]], intervals))
    for source, where in dict.fromkeys(key[:2] for table in found for key, _ in table):
        held = [
            all(i.holds(truth[source][k[2]]) for k, i in table if k[:2] == (source, where)) for table in found if table
        ]
        out.append(Coverage(f"{source} {where}, all at once", np.nan, sum(held), len(held), np.nan, np.nan))
    return out


def _plane(plane: Plane, n: Array, d: Array) -> Array:
    return plane["k"] * n ** -plane["N"] * d ** -plane["D"]


def _exponents(found: TuningChange, sources: Iterable[str]) -> Iterable[tuple[Key, Interval]]:
    for source in sources:
        yield from (((source, "slice", part.variable), part.exponents[source]) for part in found.slices)
        yield from (((source, "plane", variable), i) for variable, i in found.plane[source].items())
