"""What tuning a grid costs: this project's sweep against stock hydra-optuna-sweeper run once per cell.

    python benchmarks/tuning_cost.py                      3 widths x 3 fractions, 16 trials: about 15 minutes
    python benchmarks/tuning_cost.py --quick              2 x 2, 6 trials
    python benchmarks/tuning_cost.py --json FILE --out DIR

Both tune the same cells in the same search space with TPE on both cores. Stock: one process a cell, two
trials side by side (`n_jobs=2`, joblib), no pruning, no transfer. Then every setting that was a cell's best
so far, and within 10 % of the end, is trained again with fresh seeds: the mean is its confirmed loss.

    flops_ratio     training FLOPs until the cell's best setting is confirmed within 2 % of the best known,
                    summed over cells, ours / stock; a cell that never gets there counts with all it spent
    wall_ratio      wall time of the whole tuning, ours / stock
    outside         share of (wall x cores) that is not inside a run: imports, config, storage, tables, idle
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
SPACE = {
    "optim.lr": "tag(log,interval(1e-3,5e-2))",
    "optim.batch_size": "tag(log,int(interval(8,64)))",
    "model.dropout": "interval(0.0,0.3)",
}
NEAR, TARGET = 1.10, 1.02
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass
class Arm:
    """One way to tune the grid."""

    name: str
    wall: float = 0.0
    trials: dict[tuple[int, float], list[dict[str, Any]]] = field(default_factory=dict)
    """By cell, in the order in which they were asked: setting, loss (None if stopped), flops, seconds."""

    @property
    def in_runs(self) -> float:
        """Seconds inside runs, summed over cores."""
        return sum(t["seconds"] for cell in self.trials.values() for t in cell)

    @property
    def n_trials(self) -> int:
        """Trials of the whole grid."""
        return sum(map(len, self.trials.values()))


def timed(arm: Arm, command: Sequence[str], log: Path) -> None:
    """Run a command to its end, adding its wall time."""
    start = time.perf_counter()
    with log.open("a") as file:
        done = subprocess.run(command, stdout=file, stderr=file, env=os.environ | {"OMP_NUM_THREADS": "1"})
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed: see {log}")
    arm.wall += time.perf_counter() - start


def train(*overrides: str) -> list[str]:
    """The train command."""
    return [sys.executable, "-m", "mnist_scaling.train", "-m", *overrides]


def ours(grid: Any, out: Path, extra: Sequence[str]) -> Arm:
    """This project's sweep, without repeats and without widening: the same trials in the same ranges."""
    arm = Arm("ours")
    timed(
        arm,
        train(
            f"model.width={','.join(map(str, grid.widths))}",
            f"data.fraction={','.join(map(str, grid.fractions))}",
            f"hydra.sweeper.n_trials={grid.trials}",
            "hydra.sweeper.n_repeats=0",
            "hydra.sweeper.widen=false",
            f"hydra.sweep.dir={out / 'ours'}",
            *extra,
        ),
        out / "ours.log",
    )
    rows = pd.read_csv(out / "ours/trials.csv").sort_values("number")
    for cell, group in rows.groupby(["width", "data_fraction"]):
        arm.trials[cell] = [
            {
                "setting": {"optim.lr": r.lr, "optim.batch_size": int(r.batch_size), "model.dropout": r.dropout},
                "loss": None if np.isnan(r.val_loss) else r.val_loss,
                "flops": r.flops,
                "seconds": r.seconds,
            }
            for r in group.itertuples()
        ]
    return arm


def stock(grid: Any, out: Path) -> Arm:
    """hydra-optuna-sweeper, a process a cell."""
    arm = Arm("stock")
    for width in grid.widths:
        for fraction in grid.fractions:
            folder = out / f"stock/{width}_{fraction}"
            command = train(
                "hydra/sweeper=optuna",
                "hydra/sweeper/sampler=tpe",
                "hydra/launcher=joblib",
                f"hydra.launcher.n_jobs={CORES}",
                f"hydra.sweeper.n_trials={grid.trials}",
                f"hydra.sweeper.n_jobs={CORES}",
                "hydra.sweeper.direction=minimize",
                "hydra.sweeper.sampler.seed=0",
                f"hydra.sweep.dir={folder}",
                "hydra.sweep.subdir=${hydra.job.num}",
                f"model.width={width}",
                f"data.fraction={fraction}",
                *(f"{key}={spec}" for key, spec in SPACE.items()),
            )
            timed(arm, command, out / "stock.log")
            found = []
            for path in sorted(folder.glob("*/result.json"), key=lambda p: int(p.parent.name)):
                record = json.loads(path.read_text())
                found.append(
                    {
                        "setting": {key: record["config"][key] for key in SPACE},
                        "loss": record["result"]["val_loss"],
                        "flops": record["result"]["flops"],
                        "seconds": record["seconds"],
                    }
                )
            arm.trials[width, fraction] = found
    return arm


def incumbents(trials: Sequence[dict[str, Any]]) -> list[tuple[int, dict[str, Any]]]:
    """Trials that were the best so far, by their place."""
    found: list[tuple[int, dict[str, Any]]] = []
    best = np.inf
    for place, trial in enumerate(trials):
        if trial["loss"] is not None and trial["loss"] < best:
            best = trial["loss"]
            found.append((place, trial))
    return found


def _confirm(job: tuple[int, float, dict[str, Any], int]) -> list[float]:
    import torch

    from mnist_scaling.config import DataConfig, ModelConfig, RunConfig, with_values
    from mnist_scaling.training.loop import train_model

    torch.set_num_threads(1)
    width, fraction, setting, seeds = job
    run = RunConfig(model=ModelConfig(width=width), data=DataConfig(fraction=fraction, dir=str(ROOT / "data")))
    run = with_values(run, setting)
    losses = []
    for seed in range(101, 101 + seeds):  # which neither arm has seen
        result = train_model(with_values(run, {"seed": seed, "trial.stage": "trial"}))
        losses.append(np.inf if result.val_loss is None else result.val_loss)
    return losses


def confirm(arms: Sequence[Arm], seeds: int) -> dict[tuple[Any, ...], list[float]]:
    """Losses on fresh seeds of every setting that was a cell's best so far and near its end."""
    from joblib import Parallel, delayed

    jobs: dict[tuple[Any, ...], tuple[int, float, dict[str, Any], int]] = {}
    for arm in arms:
        for (width, fraction), trials in arm.trials.items():
            found = incumbents(trials)
            for _, trial in found:
                if trial["loss"] <= NEAR * found[-1][1]["loss"]:
                    jobs[width, fraction, *trial["setting"].values()] = (width, fraction, trial["setting"], seeds)
    print(f"confirming {len(jobs)} settings on {seeds} fresh seeds")
    losses = Parallel(CORES)(delayed(_confirm)(job) for job in sorted(jobs.values(), key=lambda j: -j[0] * j[1]))
    order = sorted(jobs, key=lambda k: -jobs[k][0] * jobs[k][1])
    return dict(zip(order, losses, strict=True))


def until_confirmed(
    trials: Sequence[dict[str, Any]], cell: tuple[int, float], known: dict[tuple[Any, ...], list[float]], best: float
) -> tuple[float, bool]:
    """FLOPs spent until the best setting so far is confirmed within 2 % of the best known; whether it ever was."""
    spent = np.cumsum([t["flops"] for t in trials])
    for place, trial in incumbents(trials):
        confirmed = known.get((*cell, *trial["setting"].values()))
        if confirmed is not None and np.mean(confirmed) <= TARGET * best:
            return float(spent[place]), True
    return float(spent[-1]), False


def compare(mine: Arm, other: Arm, known: dict[tuple[Any, ...], list[float]]) -> tuple[dict[str, Any], Table]:
    """The figures of the comparison, and a table by cell."""
    table = Table("width", "fraction", "best known", "ours: FLOPs", "stock: FLOPs", "ratio")
    total = {"ours": 0.0, "stock": 0.0}
    reached = {"ours": 0, "stock": 0}
    for cell in sorted(mine.trials):
        best = min(np.mean(v) for k, v in known.items() if k[:2] == cell)
        row = {}
        for arm in (mine, other):
            row[arm.name], ok = until_confirmed(arm.trials[cell], cell, known, best)
            total[arm.name] += row[arm.name]
            reached[arm.name] += ok
            row[arm.name + "_text"] = f"{row[arm.name]:.2e}" + ("" if ok else " (not reached)")
        ratio = row["ours"] / row["stock"]
        table.add_row(str(cell[0]), f"{cell[1]:g}", f"{best:.4f}", row["ours_text"], row["stock_text"], f"{ratio:.2f}")
    figures = {
        "cells": len(mine.trials),
        "flops_ratio": total["ours"] / total["stock"],
        "flops_all_trials_ratio": _flops(mine) / _flops(other),
        "reached_ours": reached["ours"],
        "reached_stock": reached["stock"],
        "wall_ratio": mine.wall / other.wall,
        "wall_seconds": {"ours": mine.wall, "stock": other.wall},
        "outside": {arm.name: 1 - arm.in_runs / arm.wall / CORES for arm in (mine, other)},
        "orchestration_seconds_per_trial": {
            arm.name: (arm.wall * CORES - arm.in_runs) / arm.n_trials for arm in (mine, other)
        },
    }
    return figures, table


def _flops(arm: Arm) -> float:
    return sum(t["flops"] for cell in arm.trials.values() for t in cell)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--out", type=Path, default=Path("multirun/tuning_cost"))
    parser.add_argument("--widths", type=int, nargs="+", default=[4, 8, 16])
    parser.add_argument("--fractions", type=float, nargs="+", default=[1, 0.5, 0.25])
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("overrides", nargs="*", help="for our sweep, such as hydra.sweeper.transfer=independent")
    grid = parser.parse_args()
    if grid.quick:
        grid.widths, grid.fractions, grid.trials, grid.seeds = [4, 8], [0.25, 0.125], 6, 2
    out = (grid.out / time.strftime("%H%M%S")).resolve()
    out.mkdir(parents=True)
    mine, other = ours(grid, out, grid.overrides), stock(grid, out)
    known = confirm([mine, other], grid.seeds)
    figures, table = compare(mine, other, known)
    raw = {
        "arms": {arm.name: [[*cell, trials] for cell, trials in arm.trials.items()] for arm in (mine, other)},
        "confirmed": [[*key, losses] for key, losses in known.items()],
    }
    (out / "raw.json").write_text(json.dumps(raw))
    console = Console()
    console.print(table)
    console.print_json(json.dumps(figures))
    if grid.json:
        grid.json.parent.mkdir(parents=True, exist_ok=True)
        grid.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
