"""Which runs next: new cells, more trials in a cell, more repeats of it; those that teach most of a target per cost.

    f_j = ln L at place j        t = the target        v = luck^2 + seed^2 / repeats, luck ~ trials^-power
    a measurement of f_j with variance v takes cov(t, f_j)^2 / (var f_j + v) off var t

All variances are those of the posterior's draws, which hold what the law leaves open, what it may miss, and which law
it is. To go from v0 to v1 < v0 in a cell is one more measurement, independent, of variance 1 / (1 / v1 - 1 / v0); a new
cell has v0 = inf. Runs are chosen one after another: after each, the draws are conditioned on it.

Source: Seo et al. 2000 (IJCNN) for the score; Potter's square root (Bierman 1977, section V.3) for the conditioning.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mnist_scaling.fitting.laws.base import Array, Logs
from mnist_scaling.fitting.rows import Table

CELL, TRIALS, REPEATS = "cell", "trials", "repeats"
KINDS = (CELL, TRIALS, REPEATS)

EXPONENTS = (0.0, 0.4, 0.7, 1.0)
"""Powers of the cost that gains are divided by: each makes a plan, and the one that leaves least of var t is taken. At
1, dear cells that teach much are never bought; at 0, one may take the whole budget. 0.4 alone is the choice of Li et
al. 2026 (arXiv 2604.22753)."""

CHANCE = 10.0
"""A gain below this share of what is left of var t, over the number of draws, is one by chance: p = 0.002."""

AHEAD = 10
"""Trials that a certificate's expected gain is of."""

MOST_LEVELS = 12
"""Levels of an input between and beyond which new cells are offered; scattered sizes are thinned to so many."""


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


@dataclass(frozen=True)
class Move:
    """Runs of one place."""

    kind: str
    """One of `KINDS`."""
    place: int
    trials: int
    """That are added."""
    repeats: int
    cost: float
    gain: float
    """Share of the target's variance, as it was at first, that it takes off."""


@dataclass(frozen=True)
class Choice:
    """Runs in the order in which they were chosen."""

    moves: tuple[Move, ...]
    left: float
    """Share of the target's variance that is left after them."""

    @property
    def cost(self) -> float:
        """Of all of them."""
        return sum(move.cost for move in self.moves)


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


def moves_of(places: Places, effort: Effort) -> tuple[Array, Array, Array, Array]:
    """Every next move of every place: trials and repeats added, variance of what it measures, cost; (3, n) each.

    A cell's trials grow by half; then another setting may come out best, with a chance of the new trials' share in all,
    and its repeats are run again. Its repeats double. What is no move has the variance inf.
    """
    n, empty = len(places), places.trials + places.repeats == 0
    trials, repeats = np.zeros((3, n)), np.zeros((3, n))
    trials[0], repeats[0] = effort.trials, effort.repeats
    trials[1] = np.maximum(np.ceil(places.trials / 2), 1)
    repeats[2] = np.maximum(places.repeats, 1)
    again = trials[1] / np.maximum(trials[1] + places.trials, 1) * places.repeats
    runs = repeats + np.stack([np.zeros(n), again, np.zeros(n)])
    cost = trials * places.trial_cost + runs * places.repeat_cost
    before = places.variance(effort.power)
    after = np.stack(
        [
            replace(places, trials=places.trials + t, repeats=places.repeats + r).variance(effort.power)
            for t, r in zip(trials, repeats, strict=True)
        ]
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = 1 / (1 / after - 1 / before)
    possible = np.stack([empty, ~empty & (places.luck > 0), ~empty & (places.seed > 0)])
    return trials, repeats, np.where(possible & (after < before), variance, np.inf), cost


def factors(draws: Array) -> Array:
    """A square root of the draws' covariance: F with F^T F = cov, shape (draws, n)."""
    return np.asarray((draws - draws.mean(axis=0)) / np.sqrt(len(draws) - 1))


def gains(f: Array, t: Array, variance: Array) -> Array:
    """What a measurement of each place takes off the variance of the target (summed over several), (…, n).

    Parameters
    ----------
    f : array, shape (draws, n)
        Factor of the places.
    t : array, shape (draws, targets)
        Of the targets.
    variance : array, shape (…, n)
        Of the measurement.
    """
    return np.asarray(((t.T @ f) ** 2).sum(axis=0) / ((f**2).sum(axis=0) + variance))


def condition(f: Array, t: Array, place: int, variance: float) -> tuple[Array, Array]:
    """Both factors after a measurement of one place: cov - cov_j cov_j^T / (var f_j + v), without a draw of chance."""
    x = f[:, place].copy()
    whole = float(x @ x) + variance
    step = 1 / (whole * (1 + np.sqrt(variance / whole)))
    return f - np.outer(x, step * (x @ f)), t - np.outer(x, step * (x @ t))


def choose(draws: Array, target: Array, places: Places, effort: Effort, budget: float) -> Choice:
    """The runs that leave least of the target's variance, of the plans that the powers of the cost make.

    Parameters
    ----------
    draws : array, shape (draws, n)
        ln L of every surface at every place.
    target : array, shape (draws,) or (draws, targets)
        Of the same surfaces; the variances of several are summed.
    places : Places
    effort : Effort
    budget : float
        In the unit of the places' costs.
    """
    f, t = factors(draws), factors(target.reshape(len(target), -1))
    plans = [_greedy(f, t, places, effort, budget, power) for power in EXPONENTS]
    return min(plans, key=lambda plan: (plan.left, plan.cost))


def _greedy(f: Array, t: Array, places: Places, effort: Effort, budget: float, power: float) -> Choice:
    """The plan of one power of the cost."""
    whole, moves, spent = float((t**2).sum()), list[Move](), 0.0
    while True:
        least = CHANCE / len(t) * float((t**2).sum())
        trials, repeats, variance, cost = moves_of(places, effort)
        gain = np.where(cost <= budget - spent, gains(f, t, variance), 0.0)
        if not gain.max(initial=0.0) > least:
            return Choice(tuple(moves), float((t**2).sum()) / whole if whole else 1.0)
        worth = np.divide(gain, cost**power, out=np.zeros_like(gain), where=gain > least)
        kind, place = np.unravel_index(np.argmax(worth), gain.shape)
        move = Move(
            KINDS[kind], int(place), int(trials[kind, place]), int(repeats[kind, place]),
            float(cost[kind, place]), float(gain[kind, place]) / whole,
        )  # fmt: skip
        moves.append(move)
        spent += move.cost
        f, t = condition(f, t, move.place, float(variance[kind, place]))
        grown = np.arange(len(places)) == place
        places = replace(
            places, trials=places.trials + grown * move.trials, repeats=places.repeats + grown * move.repeats
        )
