"""Does a cell tune better when it starts from what the laws of the best settings predict for it?

    python -m mnist_scaling.train -m experiment=quickstart
    python -m mnist_scaling.fit name=quickstart
    python benchmarks/settings_prior.py multirun/quickstart --studies 20      about 10 minutes on one core
    python benchmarks/settings_prior.py multirun/quickstart --json FILE

The loss of every cell is simulated from a real study's trials: their curvature in all tuned keys together, the laws of
their best settings with the scatter of the cells about them, steeper towards large learning rates, and the noise
between runs. Cells are tuned in the sweeper's order by its own sampler, two trials at a time, and start with

    neighbours    what the cheaper neighbours selected (the sweeper's own rule), then the control
    law           the law's prediction from the cells tuned so far, where there is one, in place of the neighbours'
    both          the law's prediction before the neighbours' settings

All see the neighbours' trials. Last, the laws of each study that was tuned by the sweeper's own rule predict the best
settings of twice the largest model on twice the most data: `held` is the share of such cells whose own best value lies
in the interval. Losses of the selected settings are compared without noise, cell by cell, and so are the
trials that a cell takes until its best setting so far is within 2 % of the lowest possible loss.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial
from rich.console import Console
from rich.table import Table
from scipy.special import stdtrit

from mnist_scaling.reporting.documents.tuning_records import known_settings_laws
from mnist_scaling.settings import vertices
from mnist_scaling.settings.optimal_settings import SettingsLaws, SettingsOptions, optimal_settings
from mnist_scaling.settings.setting_laws import TunedKey, prior, share_of_range
from mnist_scaling.settings.vertices import CellTrials
from mnist_scaling.study.files import read_json
from mnist_scaling.study.layout import CELLS, FITS, STUDY, TRIALS
from mnist_scaling.study.tables.cell_runs import tuned_trials
from mnist_scaling.study.tables.csv_table import read_table

ARMS = ("neighbours", "law", "both")
PER_BATCH = 2
CLOSE = 0.02
FEWEST = 6
"""Tuned cells before a law is fitted."""
NEW_CELLS = 20
"""New cells of one size that each study's prediction is held against."""
NARROW = 0.5
"""A prediction is used whose interval is at most this share of the range."""


@dataclass(frozen=True)
class World:
    """What the losses of a simulated study are drawn from."""

    keys: tuple[TunedKey, ...]
    low: np.ndarray
    high: np.ndarray
    curvature: np.ndarray
    """In the keys or their logs."""
    laws: list[Any]
    """For each key its law against N and D, or None: then one value is best in all cells."""
    noise: float
    sizes: list[dict[str, float]]
    """Of the cells, from cheap to dear."""
    parents: list[list[int]]
    control: np.ndarray


def world_of(folder: Path) -> World:
    """The world that a study's trials and laws describe."""
    cells, trials = read_table(folder / CELLS), read_table(folder / TRIALS)
    axes = (read_json(folder / STUDY) or {})["axes"]
    cells = cells.sort_values("flops").reset_index(drop=True)
    tried = tuned_trials(folder, cells, trials, axes)
    keys = tuple(TunedKey(name, log) for name, log in tried.keys.items())
    log = [key.log for key in keys]
    given = [CellTrials(**vars(cell)) for cell in tried.cells]
    sample, _, half = vertices.standardise(given, log, SettingsOptions.within)
    at = vertices.solve(vertices.sums(sample, range(len(keys))))
    roots, vectors = np.linalg.eigh(at.curvature)
    # A direction without a sure bend gets a weak one.
    curvature = vectors @ np.diag(np.maximum(roots, 0.02 * roots.max())) @ vectors.T / np.outer(half, half)
    known = {k.key.name: k for k in known_settings_laws((read_json(folder / FITS) or {})["settings_laws"])}
    laws = [next((law for law in known[key.name].laws if set(law.against) == {"N", "D"}), None) for key in keys]
    control = trials[trials["origin"] == "control"][[key.name for key in keys]].iloc[0].to_numpy(float)
    sizes = [{"N": float(n), "D": float(d)} for n, d in zip(cells["n_params"], cells["n_seen"], strict=True)]
    return World(
        keys, np.min([c.low for c in given], 0), np.max([c.high for c in given], 0), curvature, laws, at.noise, sizes,
        _parents(cells, axes), vertices.coordinate(control, log),
    )  # fmt: skip


def _parents(cells: pd.DataFrame, axes: list[str]) -> list[list[int]]:
    """Along each axis the next smaller cell."""
    found: list[list[int]] = []
    for _, row in cells.iterrows():
        found.append([])
        for axis in axes:
            line = cells[(cells[[a for a in axes if a != axis]] == row[[a for a in axes if a != axis]]).all(axis=1)]
            below = line[line[axis] < row[axis]]
            found[-1] += [int(below[axis].idxmax())] if len(below) else []
    return found


def minima(world: World, cells: Sequence[Mapping[str, float]], rng: np.random.Generator) -> np.ndarray:
    """The best settings of cells in coordinates, (cells, k), within the ranges."""
    low, high = (vertices.coordinate(v, [key.log for key in world.keys]) for v in (world.low, world.high))
    out = np.empty((len(cells), len(world.keys)))
    for i, sizes in enumerate(cells):
        for k, law in enumerate(world.laws):
            if law is None:
                out[i, k] = low[k] + 0.2 * (high[k] - low[k])
                continue
            slopes = [law.coefficients[name].value for name in law.against]
            away = [np.log(sizes[name]) - middle for name, middle in zip(law.against, law.centre, strict=True)]
            out[i, k] = law.constant + np.dot(slopes, away) + law.spread * rng.normal()
    return np.clip(out, low, high)


def rise(world: World, u: np.ndarray, best: np.ndarray) -> float:
    """ln L above the lowest, without noise."""
    away = u - best
    return float(0.5 * away @ world.curvature @ away * (1 + 0.3 * np.tanh(away[0])))


Tried = list[tuple[np.ndarray, float, float]]
"""The trials of a cell: a setting, its measured and its true loss."""


def tune(
    world: World, best: np.ndarray, arm: str, n_trials: int, seed: int
) -> tuple[np.ndarray, np.ndarray, list[Tried]]:
    """For each cell ln L of the selected setting above the lowest, trials until one is close, and what was tried."""
    log = [key.log for key in world.keys]
    space = _space(world)
    done: list[Tried] = []
    for i in range(len(world.sizes)):
        rng = np.random.default_rng((seed, i))  # the same noise in every arm
        noise = world.noise * rng.normal(size=n_trials + 1)
        chosen = [min(done[p], key=lambda t: t[1])[0] for p in world.parents[i]]
        predicted = _predicted(world, done, i, log) if arm != "neighbours" and i >= FEWEST else None
        starts = chosen if predicted is None else [predicted, *(chosen if arm == "both" else [])]
        queue = [*starts, world.control]
        mine: Tried = []
        while len(mine) < n_trials:
            asked = []
            for j in range(len(mine), min(len(mine) + PER_BATCH, n_trials)):
                u = queue[j] if j < len(queue) else _ask(world, space, done, i, mine, asked, (seed * 1009 + i) * 64 + j)
                asked.append(u)
            for u in asked:
                true = rise(world, u, best[i])
                mine.append((u, true + noise[len(mine)], true))  # a setting, its measured and its true loss
        done.append(mine)
    selected = np.array([min(mine, key=lambda t: t[1])[2] for mine in done])
    close = [next((j + 1 for j, t in enumerate(mine) if t[2] < np.log1p(CLOSE)), n_trials + 1) for mine in done]
    return selected, np.array(close), done


def _predicted(world: World, done: list[Any], i: int, log: list[bool]) -> np.ndarray | None:
    """The laws' prediction from the cells that are tuned; a key without a narrow one as the neighbours have it."""
    laws = _laws(world, done, log, draws=30)
    nearest = [min(done[p], key=lambda t: t[1])[0] for p in world.parents[i]] or [world.control]
    out, used = np.mean(nearest, 0), False
    low, high = (vertices.coordinate(v, log) for v in (world.low, world.high))
    predicted = prior(laws.keys, **world.sizes[i])
    for k, key in enumerate(world.keys):
        found = predicted.get(key.name)
        if found is not None:
            value, a, b = (float(np.log(v)) if key.log else v for v in (found.value, found.low, found.high))
            if b - a <= NARROW * (high[k] - low[k]):
                out[k], used = np.clip(value, low[k], high[k]), True
    return out if used else None


def _laws(world: World, done: list[Tried], log: list[bool], draws: int) -> SettingsLaws:
    """The laws of the best settings of the cells that are tuned."""
    table = [
        CellTrials(np.exp([t[1] for t in mine]), _values(np.array([t[0] for t in mine]), log), world.low, world.high, s)
        for mine, s in zip(done, world.sizes, strict=False)
    ]
    return optimal_settings(table, world.keys, (("N", "D"),), SettingsOptions(draws=draws))


def held(world: World, done: list[Tried], rng: np.random.Generator) -> dict[str, list[tuple[float, float]]]:
    """For each key with a law: share of new cells that its prediction holds, and its width over the range's."""
    log = [key.log for key in world.keys]
    larger = {size: 2 * max(sizes[size] for sizes in world.sizes) for size in ("N", "D")}
    laws = _laws(world, done, log, draws=200)
    best = _values(minima(world, [larger] * NEW_CELLS, rng), log)
    found = prior(laws.keys, **larger)
    return {
        one.key.name: [
            (float(np.mean([guess.holds(v) for v in best[:, k]])), share_of_range(guess, one))
            for guess in [found.get(one.key.name)]
            if guess is not None and world.laws[k] is not None
        ]
        for k, one in enumerate(laws.keys)
    }


def _values(u: np.ndarray, log: list[bool]) -> np.ndarray:
    return np.where(log, np.exp(u), u)


def _space(world: World) -> dict[str, FloatDistribution]:
    """In coordinates; a batch size is not rounded here."""
    low, high = (vertices.coordinate(v, [key.log for key in world.keys]) for v in (world.low, world.high))
    return {key.name: FloatDistribution(low[k], high[k]) for k, key in enumerate(world.keys)}


def _ask(
    world: World,
    space: dict[str, FloatDistribution],
    done: list[Any],
    i: int,
    mine: list[Any],
    asked: list[Any],
    seed: int,
) -> np.ndarray:
    """What the sweeper's sampler proposes next, from the cell's own trials and the neighbours' at its level."""
    sampler = optuna.samplers.TPESampler(n_startup_trials=4, multivariate=True, constant_liar=True, seed=seed)
    study = optuna.create_study(sampler=sampler)
    names, distributions = list(space), dict(space)

    def add(u: np.ndarray, value: float | None) -> None:
        params = {n: float(np.clip(x, space[n].low, space[n].high)) for n, x in zip(names, u, strict=True)}
        state = TrialState.COMPLETE if value is not None else TrialState.RUNNING
        study.add_trial(create_trial(state=state, value=value, params=params, distributions=distributions))

    for p in world.parents[i]:
        if mine:
            shift = min(t[1] for t in mine) - min(t[1] for t in done[p])
            for u, value, _ in done[p]:
                add(u, value + shift)
    for u, value, _ in mine:
        add(u, value)
    for u in asked:
        add(u, None)
    trial = study.ask(distributions)
    return np.array([trial.params[n] for n in names])


def main() -> None:
    """Simulate, compare the arms and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, help="folder of a fitted study")
    parser.add_argument("--studies", type=int, default=20)
    parser.add_argument("--trials", type=int, default=12, help="of each cell")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="where to write the numbers")
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    world = world_of(arguments.study)
    found: dict[str, list[np.ndarray]] = {arm: [] for arm in ARMS}
    predicted: dict[str, list[tuple[float, float]]] = {}
    for number in range(arguments.studies):
        rng = np.random.default_rng((arguments.seed, number))
        best = minima(world, world.sizes, rng)
        for arm in ARMS:
            selected, close, done = tune(world, best, arm, arguments.trials, arguments.seed * 1000 + number)
            found[arm].append(np.array([selected, close]))
            if arm == "neighbours":
                for name, one in held(world, done, rng).items():
                    predicted.setdefault(name, []).extend(one)
    shares = {name: np.mean(values, 0).tolist() for name, values in predicted.items() if values}
    per = {arm: np.array(rows) for arm, rows in found.items()}  # (studies, 2, cells)
    rows = []
    table = Table("start", "loss above the lowest, %", "loss over neighbours'", "trials until within 2 %", "fewer")
    for arm, values in per.items():
        loss = values[:, 0].mean(1)
        more = loss - per["neighbours"][:, 0].mean(1)
        trials = values[:, 1].mean(1)
        fewer = trials - per["neighbours"][:, 1].mean(1)
        half = [float(stdtrit(len(loss) - 1, 0.975) * x.std(ddof=1) / np.sqrt(len(x))) for x in (more, fewer)]
        ratio = np.exp([more.mean(), more.mean() - half[0], more.mean() + half[0]])
        less = [float(fewer.mean() + s * half[1]) for s in (0, -1, 1)]
        above = float(np.expm1(loss.mean()))
        rows.append(
            {"arm": arm, "above": above, "ratio": ratio.tolist(), "trials": float(trials.mean()), "fewer": less}
        )
        table.add_row(
            arm, f"{100 * np.expm1(loss.mean()):.2f}", "{:.4f} [{:.4f}, {:.4f}]".format(*ratio), f"{trials.mean():.2f}",
            "{:.2f} [{:.2f}, {:.2f}]".format(*rows[-1]["fewer"]),
        )  # fmt: skip
    Console(width=110).print(table)
    for name, (share, width) in shares.items():
        laws = len(predicted[name])
        print(f"{name}: held {share:.3f}, width {width:.2f} of the range, in {laws} of {arguments.studies} studies")
    if arguments.json:
        arguments.json.write_text(json.dumps({"arms": rows, "predicted": shares}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
