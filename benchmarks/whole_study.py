"""A whole study by the usual tools and by this project: the wall time of each command, and what each selected.

    python benchmarks/whole_study.py --json FILE          3 widths x 3 fractions, 16 trials per cell
    python benchmarks/whole_study.py --quick              2 x 2, 4 trials: about a minute

The usual tools: stock hydra-optuna-sweeper once per cell (TPE), its joblib launcher over all cores, and the DataLoader
loop of PyTorch's MNIST example (`loops.example`). This project: `python -m mnist_scaling.train -m …` as shipped, the
repeats of its selected settings included, which the usual tools don't do at all. The cells, the ranges of the search
and the number of trials are the same. The setting that each selected in a cell is then trained by one trainer, ours,
with seeds that neither has seen.

    wall_ratio      wall time of the usual tools / ours
    loss_ratio      geometric mean over cells of the confirmed validation loss, ours / theirs
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from rich.console import Console
from rich.table import Table
from tuning_cost import CORES, SPACE, Arm, confirm, timed, train

USUAL = str(Path(__file__).with_name("usual_train.py"))
COLUMNS = {"optim.lr": "lr", "optim.batch_size": "batch_size", "model.dropout": "dropout"}


def ours(grid: argparse.Namespace, out: Path) -> Arm:
    """The sweep as shipped, except that it keeps to the ranges which the usual tools search."""
    arm = Arm("ours")
    axes = {"model.width": grid.widths, "data.fraction": grid.fractions}
    command = train(
        *(f"{key}={','.join(map(str, values))}" for key, values in axes.items()),
        *(f"search_space.{key}='{spec}'" for key, spec in SPACE.items()),
        f"hydra.sweeper.n_trials={grid.trials}",
        "hydra.sweeper.widen=false",
        f"hydra.sweep.dir={out / 'ours'}",
    )
    timed(arm, command, out / "ours.log")
    for row in pd.read_csv(out / "ours/cells.csv").itertuples():
        setting = {key: getattr(row, column) for key, column in COLUMNS.items()}
        select(arm, (row.width, row.data_fraction), setting, row.val_loss)
    return arm


def usual(grid: argparse.Namespace, out: Path) -> Arm:
    """One command per cell, one after another; each keeps all cores busy."""
    arm = Arm("usual")
    for width in grid.widths:
        for fraction in grid.fractions:
            folder = out / f"usual/{width}_{fraction}"
            sweep = [
                *("hydra/sweeper=optuna", "hydra/sweeper/sampler=tpe", "hydra/launcher=joblib"),
                *(f"hydra.launcher.n_jobs={CORES}", f"hydra.sweeper.n_jobs={CORES}"),
                *(f"hydra.sweeper.n_trials={grid.trials}", "hydra.sweeper.direction=minimize"),
                *("hydra.sweeper.sampler.seed=0", f"hydra.sweep.dir={folder}", "hydra.sweep.subdir=${hydra.job.num}"),
            ]
            space = [f"{key}={spec}" for key, spec in SPACE.items()]
            cell = [f"model.width={width}", f"data.fraction={fraction}"]
            timed(arm, [sys.executable, USUAL, "-m", *sweep, *cell, *space], out / "usual.log")
            found = yaml.safe_load((folder / "optimization_results.yaml").read_text())
            select(arm, (width, fraction), found["best_params"], found["best_value"])
    return arm


def select(arm: Arm, cell: tuple[int, float], setting: dict[str, Any], loss: float) -> None:
    """Note what an arm selected in a cell, its batch size as an integer."""
    setting = {key: setting[key] for key in SPACE} | {"optim.batch_size": int(setting["optim.batch_size"])}
    arm.trials[cell] = [{"setting": setting, "loss": loss}]


def compare(mine: Arm, other: Arm, confirmed: dict[tuple[Any, ...], list[float]]) -> tuple[dict[str, Any], Table]:
    """The figures of the comparison, and a table by cell."""
    table = Table("width", "fraction", "lr, batch size, dropout: ours", "usual", "loss: ours", "usual", "ours / usual")
    cells = []
    for cell in sorted(mine.trials):
        settings = [arm.trials[cell][0]["setting"] for arm in (mine, other)]
        losses = [float(np.mean(confirmed[*cell, *setting.values()])) for setting in settings]
        cells.append({"cell": cell, "settings": settings, "losses": losses, "ratio": losses[0] / losses[1]})
        shown = [", ".join(f"{value:.3g}" for value in setting.values()) for setting in settings]
        table.add_row(str(cell[0]), f"{cell[1]:g}", *shown, *(f"{x:.4f}" for x in losses), f"{cells[-1]['ratio']:.3f}")
    figures = {
        "wall_ratio": other.wall / mine.wall,
        "loss_ratio": float(np.exp(np.mean([np.log(row["ratio"]) for row in cells]))),
        "wall_seconds": {arm.name: arm.wall for arm in (mine, other)},
        "cores": CORES,
        "cells": cells,
    }
    return figures, table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="2 x 2 cells, 4 trials, 2 seeds: about a minute")
    parser.add_argument("--json", type=Path, help="write the numbers here")
    parser.add_argument("--out", type=Path, default=Path("multirun/whole_study"), help="folder of both studies")
    parser.add_argument("--widths", type=int, nargs="+", default=[4, 8, 16])
    parser.add_argument("--fractions", type=float, nargs="+", default=[1, 0.5, 0.25])
    parser.add_argument("--trials", type=int, default=16, help="per cell")
    parser.add_argument("--seeds", type=int, default=3, help="fresh seeds that confirm a setting")
    grid = parser.parse_args()
    if grid.quick:
        grid.widths, grid.fractions, grid.trials, grid.seeds = [4, 8], [0.0625, 0.03125], 4, 2
    out = (grid.out / time.strftime("%Y-%m-%d_%H-%M-%S")).resolve()
    out.mkdir(parents=True)
    mine, other = ours(grid, out), usual(grid, out)
    figures, table = compare(mine, other, confirm([mine, other], grid.seeds))
    figures["grid"] = {name: getattr(grid, name) for name in ("widths", "fractions", "trials", "seeds")}
    console = Console()
    console.print(table)
    console.print({key: value for key, value in figures.items() if key not in ("cells", "grid")})
    if grid.json:
        grid.json.parent.mkdir(parents=True, exist_ok=True)
        grid.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
