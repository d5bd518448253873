"""Where runs could be made, how uncertain the loss is there, and what they cost: the cells of a study, and new ones.

    ln L measured = ln L + e        var e = luck^2 + seed^2 / repeats        luck = luck_1 trials^-power

Repeats say how large seed is. What tuning leaves to luck is what a cell's certificate expects further trials to bring.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mnist_scaling.fitting.laws.base import Array, Logs
from mnist_scaling.fitting.rows import Table
from mnist_scaling.planning.studied import Studied

AHEAD = 10
"""Trials that a certificate's expected gain is of."""

MOST_LEVELS = 12
"""Levels of an input between and beyond which new cells are offered; scattered sizes are thinned to so many."""

UNITS = ("flops", "seconds")
"""What runs may be counted in."""


@dataclass(frozen=True)
class Effort:
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
    seed: Array
    """Standard deviation of ln L between seeds."""
    luck: Array
    """Standard deviation, in ln L, of what one trial would leave to luck: that of T trials is T^-power of it."""

    def __len__(self) -> int:
        return len(self.trials)

    def join(self, other: Places) -> Places:
        """These places, and then the others."""
        logs = {k: np.concatenate([v, other.logs[k]]) for k, v in self.logs.items()}
        rest = {k: np.concatenate([v, getattr(other, k)]) for k, v in vars(self).items() if k != "logs"}
        return Places(logs, **rest)

    def variance(self, power: float) -> Array:
        """v, shape (n,): inf where nothing was run."""
        with np.errstate(divide="ignore", invalid="ignore"):
            seed = np.where(self.repeats > 0, self.seed**2 / self.repeats, np.inf)
            luck = np.where(self.luck > 0, self.luck**2 * np.maximum(self.trials, 1) ** (-2 * power), 0.0)
        return seed + luck


def luck_of(gain: Array, trials: Array, power: float) -> Array:
    """Luck of one trial from the gain that ten more are expected to bring, shape (n,).

    e(T) - e(T + 10) = gain with e(T) = luck T^-power. That an excess of the best of many scatters as much as it is
    large holds for its limiting law (Weibull) with two tuned keys, and nearly so with one to four.

    Parameters
    ----------
    gain : array, shape (n,)
        Share of the loss; NaN, where none is known, counts as the median of the others.
    trials : array, shape (n,)
    power : float
    """
    gain = np.where(np.isfinite(gain), gain, np.nanmedian(gain)) if np.isfinite(gain).any() else np.zeros(len(gain))
    trials = np.maximum(trials, 1.0)
    return np.asarray(gain / (trials**-power - (trials + AHEAD) ** -power))


def new_places(rows: Table, names: Sequence[str], least: Mapping[str, float], most: Mapping[str, float]) -> Logs:
    """Places where no cell is: the table's levels, the middles between them, and one step beyond each end.

    Parameters
    ----------
    rows : Table
    names : sequence of str
        Inputs of the model.
    least, most : mapping
        Ends of what can be run, by input; no end where an input is not named.

    Returns
    -------
    mapping of str to array
        Logs, shape (places,) each.
    """
    axes = []
    for name in names:
        at = np.log(rows.levels(name))
        if len(at) > MOST_LEVELS:
            at = np.linspace(at[0], at[-1], MOST_LEVELS)
        steps = np.diff(at) if len(at) > 1 else np.array([np.log(2.0)])
        at = np.concatenate([at[:1] - steps[0], at, at[-1:] + steps[-1]])
        at = np.sort(np.concatenate([at, (at[1:] + at[:-1]) / 2]))
        inside = (at >= np.log(least.get(name, 0.0) or 1e-300) - 1e-9) & (at <= np.log(most.get(name, np.inf)) + 1e-9)
        axes.append((at[inside], steps.min() / 4))
    grid = np.stack([x.ravel() for x in np.meshgrid(*(at for at, _ in axes), indexing="ij")])
    there = np.stack([np.log(rows.inputs[name]) for name in names])
    near = np.abs(grid[:, :, None] - there[:, None, :]) < np.array([step for _, step in axes])[:, None, None]
    free = ~near.all(axis=0).any(axis=1)
    return dict(zip(names, grid[:, free], strict=True))


def of_study(of: Studied, unit: str) -> tuple[Places, Effort]:
    """The cells that were run, in the order of the table's rows, and the effort that is usual for one.

    Half of a cell's luck is its own certificate's and half the usual one, because few trials say little of it.

    Parameters
    ----------
    of : Studied
    unit : {"flops", "seconds"}
        What costs are in.
    """
    rows, cells = of.table, of.cells.loc[of.table.rows]
    repeats = np.full(len(rows), 1.0) if rows.repeats is None else np.nan_to_num(rows.repeats, nan=1.0)
    known = cells.reindex(columns=["n_trials", "expected_gain", "tuning_flops"]).astype(float)
    trials = known["n_trials"].fillna(0).to_numpy()
    effort = Effort(int(np.median(trials)), max(int(np.median(repeats)), 1), len(of.source.tuned) or Effort.tuned)
    luck = luck_of(known["expected_gain"].to_numpy(), trials, effort.power)
    of_run = of.costs.loc[rows.rows, unit].to_numpy(float)
    pruned = (known["tuning_flops"] / (known["n_trials"] * of.costs.loc[rows.rows, "flops"])).to_numpy()
    share = np.clip(np.nan_to_num(pruned, nan=1.0), 0.0, 1.0) if unit == "flops" else 1.0
    seed = of.seeds if np.isfinite(of.seeds) else of.model.noise
    return Places(
        rows.logs(of.model.inputs), trials, repeats, share * of_run, of_run, np.full(len(rows), seed),
        (luck + np.median(luck)) / 2,
    ), effort  # fmt: skip


def unrun(logs: Logs, like: Places) -> Places:
    """Places where nothing was run: with the usual noise and luck, and costs by a line in the logs through the cells'.

    Parameters
    ----------
    logs : mapping of str to array
        Of the same inputs as those of `like`.
    like : Places
    """
    n = len(next(iter(logs.values())))
    here, there = (
        np.stack([np.ones(len(x[k])), *x.values()])
        for x, k in ((like.logs, next(iter(logs))), (logs, next(iter(logs))))
    )

    def cost(of: Array) -> Array:
        known = np.isfinite(of) & (of > 0)
        if known.sum() < 2:
            return np.zeros(n)
        return np.asarray(np.exp(np.linalg.lstsq(here[:, known].T, np.log(of[known]), rcond=None)[0] @ there))

    nothing, usual = np.zeros(n), np.ones(n)
    return Places(
        logs, nothing, nothing, cost(like.trial_cost), cost(like.repeat_cost), usual * np.median(like.seed),
        usual * np.median(like.luck),
    )  # fmt: skip
