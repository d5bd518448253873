"""The study that every cluster and database runs: 24 runs of real MNIST, with a pruner that has something to say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd

from mnist_scaling.study import layout

SWEEP = (
    sys.executable, "-m", "mnist_scaling.train", "-m", "experiment=smoke", "scale=smoke", "hydra.sweeper.n_trials=4",
    "reports.least=16", "reports.cost=0.5",
)  # fmt: skip
FOLDER = "multirun/smoke"
N_RUNS = 4 * (4 + 2)


def rows(folder: Path) -> pd.DataFrame:
    """Its trials, but for the seconds that they took."""
    return pd.read_csv(folder / FOLDER / layout.TRIALS).drop(columns="seconds")


def rows_of_one_machine(folder: Path, data_dir: str) -> pd.DataFrame:
    """The rows that all must give."""
    command = [*SWEEP, f"data.dir={data_dir}", "hydra.launcher.n_workers=2"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = rows(folder)
    assert {"COMPLETE", "PRUNED"} <= set(found["state"]), "the pruner must have something to say"
    return found
