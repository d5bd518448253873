"""How a study's own overhead grows with its number of trials: resume start-up, tables, dashboard, disk.

    python benchmarks/growth.py                 1,000, 3,000 and 10,000 trials in 50 cells: about 3 minutes
    python benchmarks/growth.py --quick         200 and 1,000

Trials are recorded and told as a sweep does it, with made-up losses; nothing is trained.

    start     open the storage and all cells' studies, read all records: what a resume does before its first run
    ask       one further setting from TPE, mean over ten cells
    tables    trials.csv and cells.csv from the rows in memory
    publish   notes, repeats and the summary study for the dashboard
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from optuna.trial import create_trial
from rich.console import Console
from rich.table import Table

from mnist_scaling import cli, config
from mnist_scaling.config import RunConfig, with_values
from mnist_scaling.study import files, layout
from mnist_scaling.study.result import TrainResult
from mnist_scaling.study.vocabulary import COMPLETE, SAMPLER
from mnist_scaling.tuning import cell_study, dashboard, execution, grid, search_space, write_tables
from mnist_scaling.tuning.ledger import Ledger
from mnist_scaling.tuning.storage import open_storage
from mnist_scaling.tuning.trials import INDEX, ORIGIN, OWNER

WIDTHS, FRACTIONS = (2, 3, 4, 6, 8, 11, 16, 23, 32, 45), (1, 0.5, 0.25, 0.125, 0.0625)


def composed(overrides: list[str]) -> DictConfig:
    """The train config, with Hydra's own node."""
    with initialize_config_dir(cli.conf_dir()):
        return compose("train", overrides, return_hydra_config=True)


def cells() -> list[grid.Cell]:
    """Fifty cells."""
    arguments = [f"model.width={','.join(map(str, WIDTHS))}", f"data.fraction={','.join(map(str, FRACTIONS))}"]
    space = config.flatten(composed([])["search_space"])
    return grid.cells(grid.partition(arguments, space), composed, lambda run: run.model.width * run.data.fraction)


def made_up(run: RunConfig, report: Any = None) -> TrainResult:
    """A result of the right shape, whose loss is a bowl in the learning rate with noise."""
    del report
    n = round(50_000 * run.data.fraction)
    noise = np.random.default_rng(abs(hash((run.optim.lr, run.seed)))).normal(0, 0.02)
    loss = float(n**-0.3 * (1 + np.log10(run.optim.lr / 1e-2) ** 2) * np.exp(noise))
    test = None if run.trial.stage == "trial" else loss
    return TrainResult(
        COMPLETE, 100, 10, 20, 70, n, n, 1.0, n // 32, 600 * n, 200 * n, 60 * n, loss, 0.1, test, test, test
    )


def fill(folder: Path, given: list[grid.Cell], n_trials: int, sampler: DictConfig) -> None:
    """Records and storage of a study with `n_trials` trials and two repeats in every cell."""
    rng = np.random.default_rng(0)
    storage = open_storage(None, folder)
    for cell in given:
        own = cell_study.CellStudy(cell, storage, sampler)
        own.open()
        description = {"name": cell.name, "keys": cell.keys, "axes": cell.axes, "widened": []}
        space = search_space.describe(cell.space)
        files.write_json(folder / cell.folder / layout.CELL, description | {"space": space})
        told = []
        for index in range(n_trials + 2):
            setting = {
                "optim.lr": float(np.exp(rng.uniform(np.log(1e-3), np.log(5e-2)))),
                "optim.batch_size": int(rng.integers(8, 65)),
                "model.dropout": float(rng.uniform(0, 0.3)),
            }
            repeat = index >= n_trials
            place = index - n_trials if repeat else index
            trial = config.TrialConfig(stage="repeat" if repeat else "trial", index=place, number=place)
            run = with_values(cell.run, {**setting, "seed": place + 1 if repeat else 0, "trial": trial})
            record = execution.measure(run, made_up)
            files.write_json(folder / cell.folder / layout.run_folder(trial.stage, place) / layout.RESULT, record)
            if not repeat:
                attributes = {INDEX: index, ORIGIN: SAMPLER, OWNER: ["host", 1]}
                loss = record["result"]["val_loss"]
                told.append(create_trial(params=setting, distributions=cell.space, value=loss, user_attrs=attributes))
        own.study.add_trials(told)


def timed(action: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds and result."""
    start = time.perf_counter()
    found = action()
    return time.perf_counter() - start, found


def measure(folder: Path, given: list[grid.Cell], sampler: DictConfig) -> dict[str, float]:
    """Seconds of each part."""

    def start() -> tuple[Any, list[cell_study.CellStudy], Ledger]:
        storage = open_storage(None, folder)
        opened = [cell_study.CellStudy(cell, storage, sampler) for cell in given]
        for own in opened:
            own.running()
            own.counted()
        return storage, opened, Ledger(folder)

    seconds = {}
    seconds["start"], (storage, opened, ledger) = timed(start)
    seconds["ask"] = timed(lambda: [own.ask() for own in opened[:10]])[0] / 10
    seconds["tables"], _ = timed(lambda: write_tables.write(folder, ledger.rows, {}))
    seconds["publish"], _ = timed(lambda: dashboard.publish(folder, opened, storage))
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    given, sampler = cells(), composed([]).hydra.sweeper.sampler
    found: dict[int, dict[str, float]] = {}
    for total in (200, 1_000) if options.quick else (1_000, 3_000, 10_000):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            fill(folder, given, total // len(given), sampler)
            found[total] = measure(folder, given, sampler)
            files = [path for path in folder.rglob("*") if path.is_file()]
            found[total]["kB_per_trial"] = sum(path.stat().st_size for path in files) / total / 1000
        print(f"{total} trials: {found[total]}", file=sys.stderr)
    table = Table("trials", *next(iter(found.values())))
    for total, row in found.items():
        table.add_row(f"{total:,}", *(f"{value:.3g}" for value in row.values()))
    Console().print(table)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
