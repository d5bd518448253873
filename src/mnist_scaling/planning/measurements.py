"""Where runs could be made, how uncertain the loss is there, and what they cost: the cells of a study, and new ones.

    ln L measured = ln L + e        var e = luck^2 + seed^2 / repeats        luck = luck_1 trials^-power

Repeats say how large seed is. What tuning leaves to luck is what a cell's certificate expects further trials to bring.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from mnist_scaling.fitting.laws.base import Array, Logs
from mnist_scaling.fitting.rows import SAME_LEVEL
from mnist_scaling.fitting.uncertainty.least_squares import plane
from mnist_scaling.planning.new_cell import NewCell, at_levels
from mnist_scaling.planning.studied import Studied

AHEAD = 10
"""Trials that a certificate's expected gain is of."""

MOST_LEVELS = 12
"""Levels of an input between and beyond which new cells are offered; scattered sizes are thinned to so many."""


@dataclass(frozen=True)
class CellEffort:
    """What a new cell gets, what is added to one at a time, and how luck falls."""

    trials: int
    """Trials of a new cell."""
    repeats: int
    tuned: int = 3
    """Tuned keys. About a smooth minimum in k dimensions the best of T random trials is off by T^(-2 / k)."""

    @property
    def power(self) -> float:
        """Of trials, by which luck falls."""
        return 2 / max(self.tuned, 1)


@dataclass(frozen=True)
class Places:
    """Cells that were run, and places at which one could be: n of them, arrays of shape (n,)."""

    logs: Logs
    """Of the model's inputs."""
    trials: Array
    """Trials that it has; 0 where nothing was run."""
    repeats: Array
    trial_cost: Array
    """Of one trial, in FLOPs or seconds."""
    repeat_cost: Array
    seed_sd: Array
    """Of ln L between seeds."""
    luck_sd: Array
    """Of ln L, by what one trial would leave to luck: that of T trials is T^-power of it."""

    def __len__(self) -> int:
        return len(self.trials)

    def join(self, other: Places) -> Places:
        """These places, and then the others."""
        logs = {k: np.concatenate([v, other.logs[k]]) for k, v in self.logs.items()}
        rest = {k: np.concatenate([v, getattr(other, k)]) for k, v in vars(self).items() if k != "logs"}
        return Places(logs, **rest)

    def grown(self, trials: Array, repeats: Array) -> Places:
        """The same with so many more of each."""
        return replace(self, trials=self.trials + trials, repeats=self.repeats + repeats)

    def variance(self, power: float) -> Array:
        """v, shape (n,): inf where nothing was run."""
        with np.errstate(divide="ignore", invalid="ignore"):
            seed = np.where(self.repeats > 0, self.seed_sd**2 / self.repeats, np.inf)
            luck = np.where(self.luck_sd > 0, self.luck_sd**2 * np.maximum(self.trials, 1) ** (-2 * power), 0.0)
        return seed + luck


def luck_of(gain: Array, trials: Array, power: float) -> Array:
    """Luck of one trial from the gain that ten more should bring, e(T) - e(T + 10) with e(T) = luck T^-power, all (n,).

    That the excess of the best of many scatters about as much as it is large is so for its limiting law (Weibull) with
    one to four tuned keys. A gain that is not known (NaN) counts as the median of the others.
    """
    gain = np.where(np.isfinite(gain), gain, np.nanmedian(gain)) if np.isfinite(gain).any() else np.zeros(len(gain))
    trials = np.maximum(trials, 1.0)
    return np.asarray(gain / (trials**-power - (trials + AHEAD) ** -power))


def beyond(values: Array) -> Array:
    """The levels of an axis, thinned to `MOST_LEVELS`, and one more step beyond the largest.

    Not below the smallest: such cells were offered first, came out near chance, and widened what they were to narrow.
    """
    at = np.unique(np.asarray(values, float))
    at = np.geomspace(at[0], at[-1], MOST_LEVELS) if len(at) > MOST_LEVELS else at
    return np.append(at, float(f"{at[-1] * (at[-1] / at[-2] if len(at) > 1 else 2.0):.4g}"))


def new_cells(of: Studied) -> list[NewCell]:
    """Cells that could be run: every level of one axis with every level of the other, where none was; one beyond."""
    size, data = of.roles.size, of.roles.data
    if not (of.is_study and size and data):
        names = of.model.inputs
        grid = np.stack(np.meshgrid(*(beyond(of.table.inputs[k]) for k in names)), -1).reshape(-1, len(names))
        rows = np.column_stack([of.table.inputs[k] for k in names])
        new = [at for at in grid if not np.isclose(at, rows, rtol=SAME_LEVEL).all(axis=1).any()]
        return [NewCell({}, {}, dict(zip(names, map(float, at), strict=True)), "") for at in new]
    levels = product(*(beyond(of.cells[axis].to_numpy(float)) for axis in (size, data)))
    offered = {(cell.axes[size], cell.axes[data]): cell for n, d in levels if (cell := at_levels(of, n, d))}
    known = {*zip(of.cells[size].astype(float), of.cells[data].astype(float), strict=True)}
    return [cell for at, cell in offered.items() if at not in known]


def of_study(of: Studied, unit: str) -> tuple[Places, CellEffort]:
    """The cells that were run, in the order of the table's rows, costs in "flops" or "seconds"; and half an effort.

    A new cell begins with half of what is usual: it gets more where that pays (benchmarks/planning_studies.py). Half of
    a cell's luck is its own certificate's and half the usual one, because few trials say little of it.
    """
    rows, cells = of.table, of.cells.loc[of.table.rows]
    repeats = np.ones(len(rows)) if rows.repeats is None else np.nan_to_num(rows.repeats, nan=1.0)
    known = cells.reindex(columns=["n_trials", "expected_gain", "tuning_flops"]).astype(float)
    trials = known["n_trials"].fillna(0).to_numpy()
    begun = [int(np.ceil(np.median(runs) / 2)) for runs in (trials, repeats)]
    effort = CellEffort(begun[0], begun[1], len(of.source.tuned) or CellEffort.tuned)
    luck = luck_of(known["expected_gain"].to_numpy(), trials, effort.power)
    of_run = of.costs.loc[rows.rows, unit].to_numpy(float)
    pruned = (known["tuning_flops"] / (known["n_trials"] * of.costs.loc[rows.rows, "flops"])).to_numpy()
    share = np.clip(np.nan_to_num(pruned, nan=1.0), 0.0, 1.0) if unit == "flops" else 1.0
    seed_sd = of.seed_sd if np.isfinite(of.seed_sd) else of.model.noise
    return Places(
        rows.logs(of.model.inputs), trials, repeats, share * of_run, of_run, np.full(len(rows), seed_sd),
        (luck + np.median(luck)) / 2,
    ), effort  # fmt: skip


def unrun(cells: Sequence[NewCell], like: Places) -> Places:
    """New cells as places: with the usual noise and luck, and costs by a plane in logs through those of `like`."""
    logs = {k: np.log([cell.at[k] for cell in cells]) for k in like.logs}

    def cost(of: Array) -> Array:
        known = np.isfinite(of) & (of > 0)
        through = plane(np.log(of[known]), *(x[known] for x in like.logs.values()))
        return np.asarray(np.exp(through.at(*logs.values())))

    nothing, usual = np.zeros(len(cells)), np.ones(len(cells))
    costs = cost(like.trial_cost) if (like.trial_cost > 0).any() else nothing, cost(like.repeat_cost)
    return Places(logs, nothing, nothing, *costs, usual * np.median(like.seed_sd), usual * np.median(like.luck_sd))
