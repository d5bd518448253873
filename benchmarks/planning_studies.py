"""Which runs to make next in a study of which the noise and the luck are known: how uncertain alpha is, against cost.

    python benchmarks/planning_studies.py            seconds
    python benchmarks/planning_studies.py --json FILE

6 sizes x 5 amounts of data, of which a run costs 6 N D. Seeds scatter by `seed`; what the best of T trials misses its
best setting by scatters by luck T^(-2/3). The whole grid, 12 trials and 3 repeats of every cell, costs 1. All other
methods begin with 4 trials and 2 repeats of nine cheap cells. No losses are drawn: the law and the misfit are linear
here (`new_study`), so that the standard deviation of alpha, at the largest cell, is exact, and what a method
is worth does not hang on a few seeds. That trials bias all losses upwards alike is not in it.

    grid            all cells, with trials and repeats in proportion to the budget
    random          whole cells (12 trials, 3 repeats) in random order: root mean square of 50
    halving         successive halving over cells: all get a little, the half of the lower loss as much again, and so on
    D-optimal, V-optimal       whole cells, by the law without a misfit, over cost^0.4
    uncertain       whole cells, by the variance of the loss, whatever they cost
    cells only      ours without more trials and more repeats of what was run at first
    ours            `planning.next_runs.choose`
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table as Shown

from mnist_scaling.fitting.laws.base import Array
from mnist_scaling.new_study import WholeGrid
from mnist_scaling.planning.measurements import CellEffort, Places
from mnist_scaling.planning.next_runs import choose, condition, gains

EFFORT, BEGUN = CellEffort(12, 3, 3), CellEffort(6, 2, 3)
"""Of a whole cell, and of a new one of ours, which gets more where that pays."""

BUDGETS = (0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0)
"""In costs of the grid."""

SHOWN = (0.1, 0.2, 0.4)
CHEAP, FIRST = [5 * i + k for i in (0, 2, 4) for k in (0, 1, 2)], (4.0, 2.0)
"""Cells that all but the grid begin with, and their trials and repeats."""

OF_LAW = 6
"""Gradients of the law come first in `WholeGrid.waves`."""

KINDS = {"noisy seeds": (0.12, 0.03), "much luck": (0.01, 0.4), "both": (0.065, 0.2), "neither": (0.01, 0.03)}
"""Of a study: seed, and luck of one trial."""


@dataclass(frozen=True)
class Study:
    """What was run of it, and what it cost."""

    places: Places
    f: Array
    """Prior factor of ln L at the cells, shape (k, n), and of alpha, (k, 1)."""
    t: Array
    spent: float = 0.0

    def run(self, cells: Any, trials: float, repeats: float) -> Study:
        """The same with more runs of some cells."""
        where = np.isin(np.arange(len(self.places)), cells)
        more = replace(
            self.places, trials=self.places.trials + where * trials, repeats=self.places.repeats + where * repeats
        )
        return replace(
            self, places=more, spent=self.spent + float(self.places.trial_cost[where].sum()) * (trials + repeats)
        )

    def known(self, law: bool = False) -> tuple[Array, Array]:
        """Both factors, conditioned on what was run; of the law alone, or with the misfit."""
        f, t = (x[:OF_LAW] if law else x for x in (self.f, self.t))
        for cell, v in enumerate(self.places.variance(EFFORT.power)):
            if np.isfinite(v):
                f, t = condition(f, t, cell, float(v))
        return f, t

    @property
    def sd(self) -> float:
        """Standard deviation of alpha."""
        return float(np.sqrt((self.known()[1] ** 2).sum()))


def new(seed: float, luck: float) -> Study:
    """The grid, of which nothing was run."""
    n, d = np.meshgrid(np.log(2000 * 2.0 ** np.arange(6)), np.log(50_000 / 2.0 ** np.arange(5)[::-1]), indexing="ij")
    cost = np.exp(n + d)
    cost /= cost.sum() * (EFFORT.trials + EFFORT.repeats)
    z, alpha, _ = WholeGrid(n, d, cost, cost).waves
    nothing, ones, flat = np.zeros(n.size), np.ones(n.size), cost.ravel()
    places = Places({"N": n.ravel(), "D": d.ravel()}, nothing, nothing, flat, flat, seed * ones, luck * ones)
    return Study(places, z.reshape(n.size, -1).T, alpha[-1, -1][:, None])


def grid(study: Study, budget: float, rng: np.random.Generator) -> Study:
    """All cells, in proportion: as if half a trial could be run."""
    del rng
    return replace(
        study, spent=0.0, places=replace(study.places, trials=study.places.trials * 0, repeats=study.places.repeats * 0)
    ).run(range(len(study.places)), EFFORT.trials * budget, EFFORT.repeats * budget)


Score = Callable[[Study], Array]


def whole_cells(score: Score | None, study: Study, budget: float, rng: np.random.Generator) -> Study:
    """Whole cells, the one of the largest score that can be paid."""
    order, runs = rng.random(len(study.places)), EFFORT.trials + EFFORT.repeats
    while True:
        able = (study.places.trials < EFFORT.trials) & (study.places.trial_cost * runs <= budget - study.spent)
        if not able.any():
            return study
        values = order if score is None else score(study)
        study = study.run(int(np.argmax(np.where(able, values, -np.inf))), EFFORT.trials, EFFORT.repeats)


def v_optimal(study: Study) -> Array:
    """Fall of the target's variance."""
    f, t = study.known(law=True)
    return gains(f, t, full(study)) / study.places.trial_cost**0.4


def d_optimal(study: Study) -> Array:
    """Rise of ln det of the information."""
    return np.log1p((study.known(law=True)[0] ** 2).sum(axis=0) / full(study)) / study.places.trial_cost**0.4


def uncertain(study: Study) -> Array:
    """Variance of the loss."""
    return (study.known()[0] ** 2).sum(axis=0)


def full(study: Study) -> Array:
    """Variance of the measurement that a whole cell is."""
    ones = np.ones(len(study.places))
    return replace(study.places, trials=EFFORT.trials * ones, repeats=EFFORT.repeats * ones).variance(EFFORT.power)


def halving(study: Study, budget: float, rng: np.random.Generator) -> Study:
    """Each round gives the cells that are left as much as the budget has for a round; the larger half goes on."""
    del rng
    left = np.argsort(study.places.logs["N"] + study.places.logs["D"])
    rounds = int(np.log2(len(left)))
    for _ in range(rounds):
        runs = (budget - study.spent) / rounds / float(study.places.trial_cost[left].sum())
        study = study.run(left, 0.8 * runs, 0.2 * runs)
        left = left[len(left) // 2 :]
    return study


SPENT: dict[str, Counter[str]] = {}
"""What ours spent on each kind of runs at 0.4 of the grid's cost, by kind of study."""


def ours(cells_only: bool, study: Study, budget: float, rng: np.random.Generator) -> Study:
    """`choose` on the exact covariance: a factor and its mirror image are draws that have it."""
    del rng
    f, t = study.known()
    places = study.places
    if cells_only:
        run = places.trials > 0
        places = replace(places, seed_sd=np.where(run, 0.0, places.seed_sd), luck_sd=np.where(run, 0.0, places.luck_sd))
    both = np.concatenate([f, t], axis=1) * np.sqrt(len(f) - 0.5)
    draws = np.concatenate([both, -both])
    plan = choose(draws[:, :-1], draws[:, -1], places, BEGUN, budget - study.spent, chance=1e-9)
    spent = SPENT.setdefault(f"{places.seed_sd.max():g} {places.luck_sd.max():g}", Counter())
    for move in plan.moves:
        again = move.cost / places.trial_cost[move.place] - move.trials - move.repeats
        study = study.run(move.place, move.trials, move.repeats)
        study = replace(study, spent=study.spent + again * float(places.trial_cost[move.place]))
        spent[move.kind] += move.cost * (budget == 0.4 and not cells_only)
    return study


METHODS: dict[str, Callable[[Study, float, np.random.Generator], Study]] = {
    "grid": grid,
    "random": partial(whole_cells, None),
    "halving": halving,
    "uncertain": partial(whole_cells, uncertain),
    "D-optimal": partial(whole_cells, d_optimal),
    "V-optimal": partial(whole_cells, v_optimal),
    "cells only": partial(ours, True),
    "ours": partial(ours, False),
}


def studies() -> list[dict[str, Any]]:
    """Standard deviation of alpha over the whole grid's, by method and budget; and the budget that gives the grid's."""
    out = []
    for kind, (seed, luck) in KINDS.items():
        empty = new(seed, luck)
        whole = grid(empty, 1.0, np.random.default_rng(0)).sd
        start = empty.run(CHEAP, *FIRST)
        for method, buy in METHODS.items():
            number = 50 if method == "random" else 1
            sds = [
                float(np.sqrt(np.mean([buy(start, budget, np.random.default_rng(k)).sd ** 2 for k in range(number)])))
                / whole
                for budget in BUDGETS
            ]
            out.append(
                {
                    "kind": kind,
                    "method": method,
                    "sd": dict(zip(BUDGETS, sds, strict=True)),
                    "enough": _enough(sds),
                    "grid": whole,
                }
            )
    return out


def _enough(sds: list[float]) -> float:
    """The budget at which the standard deviation is the whole grid's, between those that were tried."""
    best = np.minimum.accumulate(sds)
    if best[-1] > 1.0001:
        return float("nan")
    return float(np.exp(np.interp(0.0, -np.log(best), np.log(BUDGETS))))


def main() -> None:
    """Compute, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    found = studies()
    shown = Shown(
        "study",
        "method",
        *(f"at {b:g}" for b in SHOWN),
        "grid's at",
        title="Standard deviation of alpha over the grid's",
    )
    for row in found:
        shown.add_row(row["kind"], row["method"], *(f"{row['sd'][b]:.2f}" for b in SHOWN), f"{row['enough']:.2f}")
    Console(width=110).print(shown)
    for kind, (seed, luck) in KINDS.items():
        spent = SPENT[f"{seed:g} {luck:g}"]
        print(
            f"{kind}: at 0.4 ours spends "
            + ", ".join(f"{100 * c / spent.total():.0f} % on {k}" for k, c in spent.items())
        )
    if given.json:
        given.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
