"""Which rows of a public table to buy next: R^2 at its costly target rows against what the bought rows cost.

    python benchmarks/planning.py                           five tables of ScaleBench: about 20 minutes on one core
    python benchmarks/planning.py --only farseer moe --methods V-optimal ours
    python benchmarks/planning.py --seeds 5 --json FILE

A method begins with the same cheap rows as all others (drawn at random from the cheapest ones, `--seeds` times), sees a
row's loss when it buys the row, and predicts the test rows. R^2 there, clipped to [-1, 1], after 1, 2, 5, 10, 20 and
40 % of what all rows cost. Laws are sums of powers with a floor, those of a few that describe all rows best, or a
quadratic in logs. What was bought is fitted in three ways: the first law; laws with a misfit term, mixed by evidence;
and the latter on the half of the rows that is nearest to the targets.

    random, cheapest
    D-optimal     largest rise of ln det of the law's information, over cost^0.4
    V-optimal     largest fall of the law's variance at the targets, over cost^0.4 (Li et al. 2026, arXiv 2604.22753)
    uncertain     largest variance of the predicted loss, whatever it costs: a designer without target and costs
    ours          `planning.next_runs.choose` on the laws with a misfit term

For studies with trials and repeats see benchmarks/planning_studies.py. The tables are read from
../shared/data/scalebench, and pandas needs pyarrow for them.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table as Shown

from mnist_scaling.errors import InputError
from mnist_scaling.fitting.estimation.estimate import Fit, fit_law
from mnist_scaling.fitting.estimation.problem import robust_scale
from mnist_scaling.fitting.estimation.solve import minimise
from mnist_scaling.fitting.laws.base import LARGEST_EXPONENT, Array, Law, Logs, Parameter, floor_parameter
from mnist_scaling.planning import next_runs
from mnist_scaling.planning.measurements import CellEffort, Places
from mnist_scaling.planning.next_runs import choose, condition, gains

FOLDER = Path(__file__).resolve().parents[2] / "shared" / "data" / "scalebench"
SHARES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4)
"""Of the cost of all rows, after which the targets are predicted."""

FIRST = 16
"""Cheapest rows that every method begins with."""

GROWTH = 1.15
"""Growth of the number of rows after which the law is fitted again; until then it is conditioned linearly."""


class Powers(Law):
    """E + sum_k exp(b_k - sum_i w_ki log x_i) over the inputs i of term k."""

    def __init__(self, terms: Sequence[str], inputs: Sequence[str]) -> None:
        self.terms, self.inputs = terms, tuple(inputs)
        self.name = "powers " + " ".join(terms)
        self.formula = self.name
        self.of = [[self.inputs.index(name) for name in term] for term in terms]
        scales = [Parameter(f"b{k}", "scale", "loss", log=True) for k in range(len(terms))]
        powers = [Parameter(f"w{k}{i}", "power", lower=-4.0, upper=4.0) for k, of in enumerate(self.of) for i in of]
        self.parameters = (floor_parameter(), *scales, *powers)

    def evaluate(self, theta: Array, logs: Logs) -> tuple[Array, Array]:
        """See `Law.evaluate`."""
        x = np.stack([logs[name] for name in self.inputs])
        loss, at = np.repeat(theta[:, :1], x.shape[1], axis=1), 1 + len(self.of)
        gradient = np.ones((*theta.shape, x.shape[1]))
        for k, of in enumerate(self.of):
            powers = theta[:, at : at + len(of)]
            term = np.exp(np.clip(theta[:, 1 + k, None] - powers @ x[of], -LARGEST_EXPONENT / 2, LARGEST_EXPONENT / 2))
            loss += term
            gradient[:, 1 + k] = term
            gradient[:, at : at + len(of)] = -term[:, None] * x[of]
            at += len(of)
        loss = np.maximum(loss, 1e-300)
        return np.log(loss), gradient / loss[:, None]

    def starts(self, logs: Logs, log_loss: Array) -> Array:
        """Random powers about 0.3, of terms that share what is above the floor."""
        rng, lowest = np.random.default_rng(0), float(np.exp(log_loss.min()))
        above = float(np.exp(np.median(log_loss)))
        out = rng.normal(0.25, 0.25, (150, self.size))
        out[:, 0] = lowest * rng.uniform(0, 0.98, 150)
        shares = rng.dirichlet(np.ones(len(self.of)), 150)
        out[:, 1 : 1 + len(self.of)] = np.log(shares * np.maximum(above - out[:, :1], 1e-3 * above) + 1e-9)
        return out


class Quadratic(Law):
    """log L, a polynomial of second degree in the logs."""

    name = formula = "quadratic"

    def __init__(self, inputs: Sequence[str]) -> None:
        self.inputs = tuple(inputs)
        self.pairs = [p for size in (1, 2) for p in combinations_with_replacement(range(len(inputs)), size)]
        names = ["c", *("".join(self.inputs[i] for i in pair) for pair in self.pairs)]
        self.parameters = tuple(Parameter(name, "coefficient", lower=-np.inf) for name in names)

    def design(self, logs: Logs) -> Array:
        """1, each log, and their products, shape (p, n)."""
        x = np.stack([logs[name] for name in self.inputs])
        return np.stack([np.ones(x.shape[1]), *(x[list(pair)].prod(axis=0) for pair in self.pairs)])

    def evaluate(self, theta: Array, logs: Logs) -> tuple[Array, Array]:
        """See `Law.evaluate`."""
        design = self.design(logs)
        return theta @ design, np.repeat(design[None], len(theta), axis=0)

    def starts(self, logs: Logs, log_loss: Array) -> Array:
        """Least squares."""
        return np.linalg.lstsq(self.design(logs).T, log_loss, rcond=None)[0][None]


@dataclass(frozen=True)
class Scene:
    """One table: its columns, its cost, and the laws that are fitted to it."""

    inputs: Mapping[str, str]
    """Letter to column."""
    loss: str
    cost: Callable[[Mapping[str, Array]], Array]
    terms: tuple[str, ...] = ()
    """Of each sum of powers, its terms separated by spaces; the first law is the baselines'. None: the quadratic."""
    shift: float = 0.0
    """Added to losses that may be negative; the floor takes it up."""


SCENES = {
    "farseer": Scene({"N": "N", "D": "D"}, "loss", lambda x: 6 * x["N"] * x["D"], ("D ND", "N ND")),
    "data_constrained": Scene(
        {"U": "unique_tokens", "N": "params", "D": "tokens"}, "loss",
        lambda x: 6 * x["N"] * x["D"], ("N D NU", "NU DU"),
    ),
    "vocab": Scene(
        {"N": "non_vocab_parameters", "V": "vocab_size", "D": "num_characters"}, "unigram_normalized_loss",
        lambda x: x["N"] * x["D"], ("NV DV", "NDV V"), 6.5,
    ),
    "moe": Scene(
        {"X": "num_experts", "N": "dense_parameter_count"}, "loss_validation",
        lambda x: x["N"] * x["X"], ("NX", "NX N"),
    ),
    "lr_bsz": Scene(
        {"l": "lr", "b": "bsz", "D": "data_size", "N": "non_embedding_param_size"}, "lm_loss",
        lambda x: 6 * x["N"] * x["D"],
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Rows:
    """A table as arrays: logs scaled to the middle of the rows, log losses, costs, and the test rows."""

    name: str
    laws: tuple[Law, ...]
    logs: dict[str, Array]
    y: Array
    cost: Array
    """As shares of that of all rows."""
    test: dict[str, Array]
    measured: Array
    shift: float

    def take(self, chosen: Sequence[int] | np.ndarray) -> dict[str, Array]:
        """Logs of these rows."""
        return {k: v[np.asarray(chosen)] for k, v in self.logs.items()}

    def r_squared(self, log_loss: Array) -> float:
        """At the test rows, clipped to [-1, 1]."""
        with np.errstate(over="ignore"):
            off = np.exp(np.clip(log_loss, -50, 50)) - self.shift - self.measured
        square = float((off**2).sum() / ((self.measured - self.measured.mean()) ** 2).sum())
        return float(np.clip(1 - square, -1, 1)) if np.isfinite(square) else -1.0


def read(name: str) -> Rows:
    """One table."""
    scene = SCENES[name]
    train, test = (pd.read_parquet(FOLDER / f"{name}_{part}.parquet") for part in ("train", "test"))
    logs = {k: np.log(train[c].to_numpy(float)) for k, c in scene.inputs.items()}
    middle = {k: (v.min() + v.max()) / 2 for k, v in logs.items()}
    of_test = {k: np.log(test[c].to_numpy(float)) - middle[k] for k, c in scene.inputs.items()}
    cost = scene.cost({k: train[c].to_numpy(float) for k, c in scene.inputs.items()})
    laws: list[Law] = [Powers(terms.split(), tuple(scene.inputs)) for terms in scene.terms]
    return Rows(
        name, tuple(laws or [Quadratic(tuple(scene.inputs))]), {k: v - middle[k] for k, v in logs.items()},
        np.log(train[scene.loss].to_numpy(float) + scene.shift), cost / cost.sum(), of_test,
        test[scene.loss].to_numpy(float), scene.shift,
    )  # fmt: skip


def fitted(law: Law, rows: Rows, chosen: Sequence[int]) -> Fit | None:
    """A law fitted to the chosen rows by least squares with Huber's threshold; None where it can't be."""
    try:
        return fit_law(law, rows.take(chosen), rows.y[np.asarray(chosen)])
    except InputError:
        return None


# ---------------------------------------------------------------------------------------------------- the baselines


@dataclass
class Linear:
    """One law linearised at its optimum, with a wide normal prior: what D- and V-optimal designs rest on."""

    rows: Rows
    chosen: list[int]

    def __post_init__(self) -> None:
        self.fit = fitted(self.rows.laws[0], self.rows, self.chosen)
        self.fitted_at = len(self.chosen)
        if self.fit is None:
            return
        law, theta = self.fit.law, self.fit.theta
        scale = np.array([2.0 if p.log else 1.0 for p in law.parameters])
        free = self.fit.residual
        y = self.rows.y[self.chosen]
        self.noise = float((2 * y.var() + (free**2).sum() / 2) / (1 + len(y) / 2))
        root = np.linalg.cholesky(
            np.linalg.inv(np.diag(scale**-2.0) + self.fit.jacobian @ self.fit.jacobian.T / self.noise)
        )
        self.f = root.T @ law.evaluate(theta[None], self.rows.logs)[1][0]
        self.t = root.T @ law.evaluate(theta[None], self.rows.test)[1][0]

    def after(self, row: int) -> Linear:
        """With one more row: conditioned, or fitted again once enough have come."""
        self.chosen = [*self.chosen, row]
        if self.fit is None or len(self.chosen) >= GROWTH * self.fitted_at:
            return Linear(self.rows, self.chosen)
        self.f, self.t = condition(self.f, self.t, row, self.noise)
        return self

    def d_optimal(self) -> Array:
        """Rise of ln det of the information."""
        return np.log1p((self.f**2).sum(axis=0) / self.noise) / self.rows.cost**0.4

    def v_optimal(self) -> Array:
        """Fall of the variance at the targets."""
        return gains(self.f, self.t, np.full(len(self.rows.y), self.noise)) / self.rows.cost**0.4

    def uncertain(self) -> Array:
        """Variance of the predicted loss."""
        return (self.f**2).sum(axis=0)


def one_by_one(rows: Rows, first: list[int], score: Callable[[Linear], Array] | Array) -> dict[float, list[int]]:
    """Rows that a rule buys: the one of the largest score that can be paid; those held at each share of the cost."""
    state, chosen, out = None if isinstance(score, np.ndarray) else Linear(rows, first), list(first), {}
    for share in SHARES:
        while True:
            left = share - rows.cost[chosen].sum()
            open_to = rows.cost <= left
            open_to[chosen] = False
            if not open_to.any():
                break
            if state is None:
                values = score
            elif state.fit is None:
                values = -rows.cost
            else:
                values = score(state)  # type: ignore[operator]
            best = int(np.argmax(np.where(open_to, values, -np.inf)))
            chosen.append(best)
            state = None if state is None else state.after(best)
        out[share] = list(chosen)
    return out


# ------------------------------------------------------------------------------------------ laws with a misfit term

WAVES = 120
"""Random waves that the misfit is a sum of."""

SIZES, LENGTHS = (1e-3, 0.3, 1.0, 3.0), (0.7, 1.5, 3.0)
"""Of the misfit, in units of the law's residuals and in half-spans."""


@dataclass(frozen=True)
class Part:
    """One law, size and length of the misfit, and noise."""

    evidence: float
    fit: Fit
    misfit: tuple[Array, Array]
    """Posterior mean of the misfit at all rows and at the test rows."""
    noise: float
    root: Array
    j: Array
    k: Array

    @property
    def f(self) -> Array:
        """Factor of the covariance of all rows."""
        return np.linalg.solve(self.root, self.j)

    @property
    def t(self) -> Array:
        """Of the test rows."""
        return np.linalg.solve(self.root, self.k)

    def predicted(self, rows: Rows, chosen: np.ndarray) -> Array:
        """ln L at the test rows: the law, fitted again to what the misfit leaves, and the misfit."""
        law, problem = self.fit.law, self.fit.problem
        left = replace(problem, y=problem.y - self.misfit[0][chosen])
        theta = minimise(left, self.fit.theta[None], max_iterations=60, tolerance=1e-7).theta
        return law.evaluate(theta, rows.test)[0][0] + self.misfit[1]


def part_of(fit: Fit, j: Array, k: Array, chosen: np.ndarray, noise: float) -> Part:
    """From the scaled gradients and waves of all rows (j) and of the test rows (k), shape (coefficients, n)."""
    y, p = fit.residual, fit.law.size
    # Broken rows count as the law's own fit counts them, which is Huber's.
    off = np.abs(y) / (1.4826 * np.median(np.abs(y)) + 1e-12)
    weight = np.minimum(1.0, 2.0 / np.maximum(off, 1e-9)) / noise**2
    of = j[:, chosen]
    root = np.linalg.cholesky(np.eye(len(of)) + (of * weight) @ of.T)
    z = np.linalg.solve(root, of @ (weight * y))
    square = float((weight * y**2).sum()) - float(z @ z)
    evidence = -0.5 * square - float(np.log(np.diag(root)).sum()) - len(chosen) * float(np.log(noise))
    waves = np.linalg.solve(root.T, z)[p:]
    return Part(evidence, fit, (waves @ j[p:], waves @ k[p:]), noise, root, j, k)


@dataclass(frozen=True)
class Mixture:
    """Laws with a misfit term, linearised, mixed by evidence: `fitting.misfit` for any number of inputs, in short."""

    mean: Array
    """ln L at the test rows."""
    f: Array
    """Factor of the covariance of all rows, shape (k, n)."""
    t: Array
    noise: float


def mixture(rows: Rows, chosen: Sequence[int], misfit: bool = True) -> Mixture | None:
    """The posterior of the chosen rows: law x size x length of the misfit, each weighed by its evidence."""
    chosen = np.asarray(chosen)
    half = {k: max(np.ptp(v) / 2, 1e-9) for k, v in rows.logs.items()}
    u, v = (np.stack([x[k] / half[k] for k in half]) for x in (rows.logs, rows.test))
    rng, parts = np.random.default_rng(0), []
    waves, phase = rng.standard_normal((WAVES, len(half))), rng.uniform(0, 2 * np.pi, WAVES)
    for law in rows.laws:
        fit = fitted(law, rows, chosen.tolist())
        if fit is None:
            continue
        usual = max(robust_scale(fit.residual, fit.free), 1e-5)
        scale = np.array([2.0 if p.log else 0.5 for p in law.parameters])
        scale[[name in fit.at_bound for name in law.names]] = 0.0
        all_rows, of_test = (law.evaluate(fit.theta[None], x) for x in (rows.logs, rows.test))
        for length in LENGTHS if misfit else LENGTHS[:1]:
            g, h = (np.sqrt(2 / WAVES) * np.cos(waves / length @ x + phase[:, None]) for x in (u, v))
            for size in SIZES if misfit else SIZES[:1]:
                for noise in (0.25 * usual, 0.5 * usual, usual):
                    j = np.concatenate([scale[:, None] * all_rows[1][0], 2 * size * usual * g])
                    k = np.concatenate([scale[:, None] * of_test[1][0], 2 * size * usual * h])
                    parts.append(part_of(fit, j, k, chosen, noise))
    if not parts:
        return None
    evidence = np.array([part.evidence for part in parts])
    weight = np.exp(evidence - evidence.max())
    kept = [
        (w, part)
        for w, part in zip(weight / weight.sum(), parts, strict=True)
        if w > 0.03 * weight.max() / weight.sum()
    ]
    weight = np.array([w for w, _ in kept]) / sum(w for w, _ in kept)
    means = np.stack([part.predicted(rows, chosen) for _, part in kept])
    mean, root = weight @ means, np.sqrt(weight)[:, None]
    f, t = (np.concatenate([r * getattr(p, name) for r, (_, p) in zip(root, kept, strict=True)]) for name in ("f", "t"))
    # What the laws disagree about at the targets is doubt, too, which no one row is known to settle.
    f, t = np.concatenate([f, np.zeros((len(kept), f.shape[1]))]), np.concatenate([t, root * (means - mean)])
    return Mixture(mean, f, t, float(weight @ [p.noise for _, p in kept]))


def ours(rows: Rows, first: list[int]) -> dict[float, list[int]]:
    """Rows that `choose` buys, some at a time: the budget doubles, and the posterior is made again after each."""
    chosen, out = list(first), {}
    stages = np.geomspace(max(rows.cost[first].sum() * 2, 1e-4), SHARES[0], 4)[:-1]
    for share in sorted({*stages, *SHARES}):
        order = [int(k) for k in np.argsort(rows.cost, kind="stable")]
        while (found := mixture(rows, chosen)) is None:
            chosen = [*chosen, *[k for k in order if k not in chosen][:4]]
        places = Places(
            {}, np.zeros(len(rows.y)), np.isin(np.arange(len(rows.y)), chosen) * 1.0, rows.cost * 0, rows.cost,
            np.full(len(rows.y), found.noise), rows.cost * 0,
        )  # fmt: skip
        chosen = [*chosen, *bought(found, places, share - rows.cost[chosen].sum())]
        if share in SHARES:
            out[share] = list(chosen)
    return out


def bought(found: Mixture, places: Places, budget: float) -> list[int]:
    """New rows of a plan: `choose` takes draws, and a factor is as good as draws of the same covariance."""
    number = len(found.f)
    both = np.concatenate([found.f, found.t], axis=1) * np.sqrt(number)
    draws = np.concatenate([both, -both])  # their mean is 0, and their covariance that of the factor
    n = len(places)
    with mock.patch.object(next_runs, "MOST_REPEATS", 1):  # a table holds no second run of a row
        plan = choose(draws[:, :n], draws[:, n:], places, CellEffort(0, 1), budget, chance=1e-6)
    return [move.place for move in plan.moves]


METHODS: dict[str, Callable[[Rows, list[int], np.random.Generator], dict[float, list[int]]]] = {
    "random": lambda rows, first, rng: one_by_one(rows, first, rng.random(len(rows.y))),
    "cheapest": lambda rows, first, rng: one_by_one(rows, first, -rows.cost),
    "D-optimal": lambda rows, first, rng: one_by_one(rows, first, Linear.d_optimal),
    "uncertain": lambda rows, first, rng: one_by_one(rows, first, Linear.uncertain),
    "V-optimal": lambda rows, first, rng: one_by_one(rows, first, Linear.v_optimal),
    "ours": lambda rows, first, rng: ours(rows, first),
}


def tables(names: Sequence[str], methods: Sequence[str], seeds: int) -> list[dict[str, Any]]:
    """R^2 of every method on every table, the mean over random draws of the first rows from the cheapest ones."""
    out = []
    for name in names:
        began, rows = time.perf_counter(), read(name)
        number = max(FIRST, 2 * rows.laws[0].size)
        cheapest = np.argsort(rows.cost, kind="stable")[: 2 * number]
        firsts = [np.sort(np.random.default_rng(s).choice(cheapest, number, replace=False)) for s in range(seeds)]
        for method in methods:
            buy = METHODS[method]
            runs = [buy(rows, first.tolist(), np.random.default_rng(s)) for s, first in enumerate(firsts)]
            for fit in FITS[:3]:
                found = [[score(rows, run[share], fit) for share in SHARES] for run in runs]
                mean, worst = np.mean(found, axis=0).tolist(), np.min(found, axis=0).tolist()
                number = np.mean([[len(run[share]) for share in SHARES] for run in runs], axis=0).tolist()
                out.append({"table": name, "rows": method, "fit": fit, "r2": mean, "worst": worst, "bought": number})
            print(f"{name}, {method}: {time.perf_counter() - began:.0f} s", flush=True)
        everything = list(range(len(rows.y)))
        for fit in FITS:
            out.append({"table": name, "rows": "all", "fit": fit, "r2": [score(rows, everything, fit)]})
    return out


FITS = ("law", "law + misfit", "law + misfit, nearest half", "law, nearest half")


def score(rows: Rows, chosen: Sequence[int], fit: str) -> float:
    """R^2 at the test rows of one way to fit the chosen rows."""
    chosen = nearest(rows, chosen) if "nearest" in fit else list(chosen)
    if "misfit" in fit:
        found = mixture(rows, chosen)
        return -1.0 if found is None else rows.r_squared(found.mean)
    alone, law = fitted(rows.laws[0], rows, chosen), rows.laws[0]
    return -1.0 if alone is None else rows.r_squared(law.evaluate(alone.theta[None], rows.test)[0][0])


def nearest(rows: Rows, chosen: Sequence[int]) -> list[int]:
    """The half of the rows that is nearest to the targets, in half-spans of the table."""
    half = {k: max(np.ptp(v) / 2, 1e-9) for k, v in rows.logs.items()}
    there, here = (np.stack([x[k] / half[k] for k in half]) for x in (rows.test, rows.take(chosen)))
    gap = ((here[:, :, None] - there[:, None, :]) ** 2).sum(axis=0).min(axis=1)
    return np.asarray(chosen)[np.argsort(gap, kind="stable")[: max(len(gap) // 2, 12)]].tolist()


def main() -> None:
    """Replay, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=tuple(SCENES), default=tuple(SCENES))
    parser.add_argument("--methods", nargs="+", choices=tuple(METHODS), default=tuple(METHODS))
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    if not FOLDER.is_dir() or importlib.util.find_spec("pyarrow") is None:
        raise SystemExit(
            f"The replay needs the tables in {FOLDER}, and pyarrow to read them: one of the two is not here."
        )
    found = tables(given.only, given.methods, given.seeds)
    shown = Shown("table", "rows", "fit", *(f"{100 * share:g} %" for share in SHARES), title="R^2 at the targets")
    for row in found:
        shown.add_row(row["table"], row["rows"], row["fit"], *(f"{value:.2f}" for value in row["r2"]))
    Console(width=120).print(shown)
    if given.json:
        given.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
