"""Where runs could be made, how uncertain the loss is there, and what they cost: the cells of a study, and new ones.

    ln L measured = ln L + e        var e = luck^2 + seed^2 / repeats        luck = luck_1 trials^-power

Repeats say how large seed is. What tuning leaves to luck is what a cell's certificate expects further trials to bring.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from mnist_scaling.fitting.comparing.settle import USUALLY_TUNED, luck_power
from mnist_scaling.fitting.laws.base import Array, Logs
from mnist_scaling.fitting.rows import SAME_LEVEL
from mnist_scaling.fitting.uncertainty.least_squares import plane
from mnist_scaling.planning.new_cell import NewCell, at_levels
from mnist_scaling.planning.studied import Studied

AHEAD, MOST_LEVELS = 10, 12
"""Trials that a certificate's expected gain is of; levels of an input beside which new cells are offered at most."""


@dataclass(frozen=True)
class CellEffort:
    """Trials and repeats of a new cell, and how many keys are tuned."""

    trials: int
    repeats: int
    tuned: int = USUALLY_TUNED

    @property
    def power(self) -> float:
        """Of trials, by which luck falls."""
        return luck_power(self.tuned)


@dataclass(frozen=True)
class Places:
    """Cells that were run, and places at which one could be: n of them, arrays of shape (n,).

    `logs` are of the model's inputs, costs those of one trial and of one repeat, in FLOPs or seconds. Standard
    deviations of ln L are those between seeds, and by what one trial leaves to luck: T trials leave T^-power of it.
    """

    logs: Logs
    trials: Array
    repeats: Array
    trial_cost: Array
    repeat_cost: Array
    seed_sd: Array
    luck_sd: Array

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

    A best of many is off by about as much as it scatters (Weibull's law, one to four keys). NaN counts as the median.
    """
    gain = np.where(np.isfinite(gain), gain, np.nanmedian(gain)) if np.isfinite(gain).any() else np.zeros(len(gain))
    trials = np.maximum(trials, 1.0)
    return np.asarray(gain / (trials**-power - (trials + AHEAD) ** -power))


def beyond(values: Array) -> Array:
    """The levels of an axis, thinned to `MOST_LEVELS`, and one more step beyond the largest; none below the smallest,
    because such cells were offered first, came out near chance, and widened what they were to narrow."""
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
    """The cells that were run, as the table's rows, costs in "flops" or "seconds"; and half an effort, with which a new
    cell begins. Half of a cell's luck is its own certificate's and half the usual one: few trials say little of it."""
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
    seed = np.full(len(rows), of.seed_sd if np.isfinite(of.seed_sd) else of.model.noise)
    logs, luck = rows.logs(of.model.inputs), (luck + np.median(luck)) / 2
    return Places(logs, trials, repeats, share * of_run, of_run, seed, luck), effort


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
