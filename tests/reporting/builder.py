"""Study folders with a known law, in milliseconds: what `train` and `fit` leave behind, without training."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import chdir
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mnist_scaling import fit
from mnist_scaling.config import fit_schema
from mnist_scaling.reporting.documents.loading import Study, load_arms
from mnist_scaling.study import columns, layout
from mnist_scaling.study.columns import CONTROL, SAMPLER, TRANSFER
from mnist_scaling.study.tables import trials_and_cells

N_PER_WIDTH, FULL = 100, 40_000
UNTUNED = {"lr": 3e-3, "batch_size": 32}


def load(folder: Path) -> Study:
    """A fitted study or table of one arm."""
    (arm,) = load_arms(folder)
    return arm


def refit(folder: Path, draws: int = 40, **config: Any) -> None:
    """fits.json of a study in multirun/, as `fit` writes it."""
    few = {"leave_future_out": False, **config}  # it takes longer than a fit of so few draws
    with chdir(folder.parent.parent):
        fit.run(fit_schema.FitConfig(name=folder.name, bootstrap=fit_schema.BootstrapConfig(draws=draws), **few))


def power_law(n: float, d: float, alpha: float = 0.3, beta: float = 0.5) -> float:
    """A N^-alpha D^-beta."""
    return 60.0 * n**-alpha * d**-beta


@dataclass
class Builder:
    """One study; every field has a sensible default."""

    axes: Mapping[str, Sequence[Any]] = field(
        default_factory=lambda: {"width": (4, 8, 16, 32), "data_fraction": (0.125, 0.25, 0.5, 1.0)}
    )
    tuned_loss: Callable[[float, float], float] = power_law
    untuned_loss: Callable[[float, float], float] = lambda n, d: 1.5 * power_law(n, d)
    repeats: int = 3
    trials: int = 4
    noise: float = 0.0
    seed: int = 0
    without_trials: int = 0
    """So many first cells have no finished trial: their losses are empty."""
    carried_first: bool = False
    """The first trial of every cell is one and the same setting that another study selected; the second is untuned."""

    def write(self, folder: Path) -> Path:
        """trials.csv, cells.csv and study.json below `folder`, as the sweep writes them."""
        folder.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(self.seed)
        runs = [run for i, key in enumerate(product(*self.axes.values())) for run in self._cell(i, key, rng)]
        tuned = list(UNTUNED)
        trials = trials_and_cells.trials_table(runs, list(self.axes), tuned)
        cells = trials_and_cells.cells_table(trials, list(self.axes), tuned)
        cells["edges"] = ["lr" if i == 1 else "" for i in range(len(cells))]
        cells["flags"] = ["search_edge" if i == 1 else "" for i in range(len(cells))]
        folder.mkdir(parents=True, exist_ok=True)
        trials.to_csv(folder / layout.TRIALS, index=False)
        cells.to_csv(folder / layout.CELLS, index=False)
        study = {"name": folder.name, "axes": list(self.axes), "tuned": tuned}
        study |= {"command": "python -m mnist_scaling.train -m …", "versions": {"python": "3.12.1"}}
        (folder / "study.json").write_text(json.dumps(study), encoding="utf-8")
        return folder

    def fitted(self, folder: Path, draws: int = 40) -> Path:
        """`write`, then fits.json by the real command with few bootstrap draws; folder lies in multirun/."""
        refit(self.write(folder), draws)
        return folder

    def _cell(self, index: int, key: Sequence[Any], rng: np.random.Generator) -> list[dict[str, Any]]:
        axes = dict(zip(self.axes, key, strict=True))
        shared = axes | _sizes(axes)
        n, d = shared["n_params"], shared["n_seen"]
        best, start = self.tuned_loss(n, d), self.untuned_loss(n, d)
        runs = []
        carried, untuned = ({"lr": 5e-3, "batch_size": 16}, 1) if self.carried_first else ({}, 0)
        for number in range(self.trials):
            setting = (
                UNTUNED
                if number == untuned
                else {"lr": 1e-2 * 1.1**number / (1 + index), "batch_size": 16 * 2 ** (number % 3)}
            )
            if number < untuned:
                setting = carried
            loss = start if number == untuned else best * (1 + 0.1 * (self.trials - 1 - number))
            state = columns.FAILED if index < self.without_trials else columns.COMPLETE
            origin = CONTROL if number == untuned else TRANSFER if number < untuned else SAMPLER
            runs.append(shared | setting | {"origin": origin} | self._run("trial", number, state, loss))
        if index < self.without_trials:
            return runs
        last = {k: runs[-1][k] for k in UNTUNED}
        for number in range(self.repeats):
            loss = best * float(np.exp(self.noise * rng.standard_normal()))
            runs.append(shared | last | self._run("repeat", number, columns.COMPLETE, loss))
        return runs

    @staticmethod
    def _run(stage: str, number: int, state: str, loss: float) -> dict[str, Any]:
        run = {"stage": stage, "number": number, "seed": number if stage == "repeat" else 0, "state": state}
        run |= {"seconds": 1.0}
        if state == columns.COMPLETE:
            run |= {"val_loss": loss, "val_error": loss / 5}
            run |= {"test_loss": loss, "test_error": loss / 5, "train_loss": loss} if stage == "repeat" else {}
        return run


def _sizes(axes: Mapping[str, Any]) -> dict[str, Any]:
    n = int(N_PER_WIDTH * axes.get("width", 8) ** 1.5 * axes.get("depth", 2))
    d = int(FULL * axes.get("data_fraction", 1.0))
    flops = 6 * n * d
    return {
        "n_params": n, "n_params_input": 10, "n_params_hidden": n - 20, "n_params_output": 10, "n_train": d,
        "n_seen": d, "epochs": 1.0, "steps": d // 32, "flops": flops, "flops_forward": flops // 3,
        "flops_output": flops // 10,
    }  # fmt: skip


def replace_cells(folder: Path, cells: pd.DataFrame) -> None:
    """Another cells.csv, as if the fits beside it had been made from it."""
    cells.to_csv(folder / "cells.csv", index=False)
    fits = json.loads((folder / "fits.json").read_text())
    fits["data"]["sha256"] = hashlib.sha256((folder / "cells.csv").read_bytes()).hexdigest()
    (folder / "fits.json").write_text(json.dumps(fits))
