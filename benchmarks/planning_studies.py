"""Which runs to make next in simulated studies, where seeds are noisy and tuning leaves luck: error against cost.

    python benchmarks/planning_studies.py                   5 studies of 3 kinds: about 10 minutes on one core
    python benchmarks/planning_studies.py --seeds 20 --json FILE

The truth is a coupled law on 6 sizes x 5 amounts of data, of which a run costs 6 N D. A trial of a cell misses its best
setting by luck * Weibull(1.5), so that the best of T trials is off, upwards, by T^(-2/3) of that: three tuned keys. A
repeat adds normal noise. The grid gives every cell 12 trials and 3 repeats, and costs 1. All other methods begin with
the same nine cheap cells, and are told the sizes of noise and luck that the simulation has. The target is the loss at
8 times the largest compute, predicted by the same posterior (`fitting.misfit`) of whatever was measured.

    grid            all cells, with trials and repeats in proportion to the budget
    random          whole cells (12 trials, 3 repeats) in random order
    halving         successive halving over cells: all get a little, the half of the lower loss twice as much, and so on
    D-optimal, V-optimal (cost^0.4), uncertain       whole cells, by one linearised law: see benchmarks/planning.py
    cells only      ours without more trials and repeats of what was run
    ours            new cells, more trials and more repeats, in three stages per budget
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table as Shown

from mnist_scaling.fitting.estimation.estimate import fit_law
from mnist_scaling.fitting.laws import get_law
from mnist_scaling.fitting.laws.base import Array
from mnist_scaling.fitting.misfit.posterior import Posterior, surface
from mnist_scaling.fitting.rows import Table, make_table
from mnist_scaling.planning.next_runs import choose, gains
from mnist_scaling.planning.places import Effort, Places

LAW = {"E": 0.05, "A": 3.0, "B": 60.0, "alpha": 0.35, "beta": 0.6, "gamma": 0.9}
EFFORT = Effort(12, 3, 3)
BUDGETS = (0.1, 0.2, 0.4)
"""In costs of the grid."""

REACH = 8.0
"""Multiple of the largest compute at which the loss is the target."""

FIRST = (4, 2)
"""Trials and repeats of each of the nine cheap cells that all methods begin with."""


@dataclass(frozen=True)
class Kind:
    """How noisy a study is."""

    name: str
    seed: float
    """Standard deviation of ln L between seeds."""
    luck: float
    """Scale of what one trial misses."""


KINDS = (Kind("noisy seeds", 0.12, 0.03), Kind("much luck", 0.01, 0.4), Kind("both", 0.065, 0.2))


@dataclass
class Simulated:
    """A study that is being run: what its cells have, and what was spent."""

    kind: Kind
    rng: np.random.Generator
    log_n: Array
    log_d: Array
    trials: list[list[float]] = field(default_factory=list)
    repeats: list[list[float]] = field(default_factory=list)
    spent: float = 0.0

    @classmethod
    def new(cls, kind: Kind, seed: int) -> Simulated:
        """The grid, of which nothing was run."""
        n, d = np.meshgrid(
            np.log(2000 * 2.0 ** np.arange(6)), np.log(50_000 / 2.0 ** np.arange(5)[::-1]), indexing="ij"
        )
        out = cls(kind, np.random.default_rng(seed), n.ravel(), d.ravel())
        out.trials, out.repeats = [[] for _ in out.log_n], [[] for _ in out.log_n]
        return out

    @property
    def cost(self) -> Array:
        """Of one run of each cell, in costs of the whole grid."""
        flops = np.exp(self.log_n + self.log_d)
        return flops / flops.sum() / (EFFORT.trials + EFFORT.repeats)

    def run(self, cell: int, trials: int, repeats: int) -> None:
        """More runs of a cell."""
        before = min(self.trials[cell], default=np.inf)
        self.trials[cell] += list(self.kind.luck * self.rng.weibull(1.5, trials))
        again = len(self.repeats[cell]) if min(self.trials[cell]) < before and before < np.inf else 0
        self.repeats[cell] = list(self.kind.seed * self.rng.standard_normal(len(self.repeats[cell]) + repeats))
        self.spent += float(self.cost[cell]) * (trials + repeats + again)

    @property
    def known(self) -> np.ndarray:
        """Positions of the cells that have repeats."""
        return np.array([k for k, runs in enumerate(self.repeats) if runs], int)

    def table(self) -> Table:
        """What was measured."""
        law, at = get_law("coupled"), self.known
        true = np.log(law.predict(LAW, N=np.exp(self.log_n[at]), D=np.exp(self.log_d[at])))
        y = true + [min(self.trials[k]) + np.mean(self.repeats[k]) for k in at]
        number = np.array([len(self.repeats[k]) for k in at], float)
        se = np.array(
            [
                np.std(self.repeats[k], ddof=1) / len(self.repeats[k]) ** 0.5 if len(self.repeats[k]) > 1 else np.nan
                for k in at
            ]
        )
        inputs = {"N": np.exp(self.log_n[at]), "D": np.exp(self.log_d[at])}
        return make_table(np.exp(y), inputs, np.exp(y) * se, number)

    def posterior(self) -> Posterior:
        """Of what was measured."""
        return surface(self.table(), 500, np.random.default_rng(0))

    def places(self) -> Places:
        """All cells, run or not."""
        n, ones = len(self.log_n), np.ones(len(self.log_n))
        count = [np.array([float(len(x)) for x in runs]) for runs in (self.trials, self.repeats)]
        # The mean of Weibull(1.5) is common to all cells: what scatters about it is 0.61 of the scale, and 0.68 of the mean.
        return Places(
            {"N": self.log_n, "D": self.log_d},
            *count,
            self.cost,
            self.cost,
            self.kind.seed * ones,
            self.kind.luck * np.ones(n),
        )


def target_of(study: Simulated) -> dict[str, Array]:
    """Logs of the place whose loss is wanted."""
    more = np.log(REACH) / 2
    return {"N": np.array([study.log_n.max() + more]), "D": np.array([study.log_d.max() + more])}


def error(study: Simulated) -> float:
    """|predicted - true| ln L at the target."""
    at = target_of(study)
    true = float(np.log(get_law("coupled").predict(LAW, N=np.exp(at["N"]), D=np.exp(at["D"]))[0]))
    return abs(float(np.median(study.posterior().log_loss(at)[:, 0])) - true)


def begin(kind: Kind, seed: int) -> Simulated:
    """The nine cells that every method but the grid begins with."""
    study = Simulated.new(kind, seed)
    for cell in [5 * i + k for i in (0, 2, 4) for k in (0, 1, 2)]:
        study.run(cell, *FIRST)
    return study


def grid(study: Simulated, budget: float) -> None:
    """All cells, from nothing: trials and repeats in proportion to the budget, at least one of each."""
    for cell in range(len(study.log_n)):
        study.run(cell, max(round(EFFORT.trials * budget), 1), max(round(EFFORT.repeats * budget), 1))


def whole_cells(score: Callable[[Array, Array, Array, float], Array] | None) -> Callable[[Simulated, float], None]:
    """Whole new cells by the score of a linearised law; at random without."""

    def buy(study: Simulated, budget: float) -> None:
        while True:
            need = study.cost * (EFFORT.trials + EFFORT.repeats)
            able = np.array([len(r) <= FIRST[1] for r in study.repeats]) & (need <= budget - study.spent)
            if not able.any():
                return
            values = study.rng.random(len(able)) if score is None else score(*linear(study), study.cost)
            cell = int(np.argmax(np.where(able, values, -np.inf)))
            study.run(cell, EFFORT.trials, EFFORT.repeats)

    return buy


def linear(study: Simulated) -> tuple[Array, Array, float]:
    """Factors of the coupled law's covariance at the cells and at the target, and the noise."""
    law, table = get_law("coupled"), study.table()
    middle = {"N": study.log_n.mean(), "D": study.log_d.mean()}
    fit = fit_law(law, {k: v - middle[k] for k, v in table.logs(("N", "D")).items()}, table.y)
    noise = float((2 * table.y.var() + (fit.residual**2).sum() / 2) / (1 + len(table) / 2))
    scale = np.array([2.0 if p.log else 1.0 for p in law.parameters])
    root = np.linalg.cholesky(np.linalg.inv(np.diag(scale**-2.0) + fit.jacobian @ fit.jacobian.T / noise))
    logs = {"N": study.log_n - middle["N"], "D": study.log_d - middle["D"]}
    at = {k: v - middle[k] for k, v in target_of(study).items()}
    return tuple(root.T @ law.evaluate(fit.theta[None], x)[1][0] for x in (logs, at)) + (noise,)  # type: ignore[return-value]


def halving(study: Simulated, budget: float) -> None:
    """Rounds over the cells that are left, each with a third of what is there: two trials and a repeat more."""
    left = list(range(len(study.log_n)))
    while len(left) > 1:
        for cell in left:
            if study.spent + study.cost[cell] * 3 <= budget:
                study.run(cell, 2, 1)
        law = get_law("coupled")
        loss = law.predict(LAW, N=np.exp(study.log_n), D=np.exp(study.log_d))
        left = sorted(left, key=lambda k: float(loss[k]))[: len(left) // 2]


def ours(stages: int, cells_only: bool) -> Callable[[Simulated, float], None]:
    """`choose`, in stages: the posterior is made again after each."""

    def buy(study: Simulated, budget: float) -> None:
        for limit in np.linspace(study.spent, budget, stages + 1)[1:]:
            posterior, places = study.posterior(), study.places()
            if cells_only:
                places = replace(
                    places,
                    luck=np.where(places.trials > 0, 0.0, places.luck),
                    seed=np.where(places.trials > 0, 0.0, places.seed),
                )
            plan = choose(
                posterior.log_loss(places.logs),
                posterior.log_loss(target_of(study))[:, 0],
                places,
                EFFORT,
                limit - study.spent,
            )
            for move in plan.moves:
                study.run(move.place, move.trials, move.repeats)
                MOVES[study.kind.name, cells_only][move.kind] += move.cost

    return buy


MOVES: dict[tuple[str, bool], Counter[str]] = {(kind.name, only): Counter() for kind in KINDS for only in (True, False)}
"""What was spent on each kind of move."""

METHODS: dict[str, Callable[[Simulated, float], None]] = {
    "grid": grid,
    "random": whole_cells(None),
    "halving": halving,
    "D-optimal": whole_cells(lambda f, t, v, c: np.log1p((f**2).sum(axis=0) / v) / c**0.4),
    "uncertain": whole_cells(lambda f, t, v, c: (f**2).sum(axis=0)),
    "V-optimal": whole_cells(lambda f, t, v, c: gains(f, t, np.full(f.shape[1], v)) / c**0.4),
    "cells only": ours(3, True),
    "ours": ours(3, False),
}


def studies(seeds: int) -> list[dict[str, Any]]:
    """Root mean square error of every method at every budget, and of the whole grid."""
    out = []
    for kind in KINDS:
        began = time.perf_counter()
        for method, buy in METHODS.items():
            for budget in (*BUDGETS, 1.0) if method == "grid" else BUDGETS:
                errors, spent = [], []
                for seed in range(seeds):
                    study = Simulated.new(kind, seed) if method == "grid" else begin(kind, seed)
                    buy(study, budget)
                    errors.append(error(study))
                    spent.append(study.spent)
                rms = float(np.sqrt(np.mean(np.square(errors))))
                out.append(
                    {
                        "kind": kind.name,
                        "method": method,
                        "budget": budget,
                        "rms": rms,
                        "spent": float(np.mean(spent)),
                        "median": float(np.median(errors)),
                    }
                )
        print(f"{kind.name}: {time.perf_counter() - began:.0f} s; {dict(MOVES[kind.name, False])}", flush=True)
    return out


def main() -> None:
    """Simulate, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    found = studies(given.seeds)
    shown = Shown("kind", "method", "budget", "spent", "rms error of ln L", "median", title="Simulated studies")
    for row in found:
        shown.add_row(
            row["kind"],
            row["method"],
            f"{row['budget']:g}",
            f"{row['spent']:.2f}",
            f"{row['rms']:.3f}",
            f"{row['median']:.3f}",
        )
    Console(width=120).print(shown)
    for (kind, only), spent in MOVES.items():
        if not only and spent.total():
            shares = ", ".join(f"{name} {100 * cost / spent.total():.0f} %" for name, cost in spent.items())
            print(f"{kind}: ours spends {shares}")
    if given.json:
        given.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
