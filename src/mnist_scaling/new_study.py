"""A study that fits a time, before anything has run: how fast runs are here, the grid, and the file of its experiment.

    seconds = start + (pace * predicted + overhead * runs) / cores, but no less than the longest chain of runs

`predicted` are seconds of a run on an idle core with its untuned setting (`Task.cost`). The pace of this machine, with
its other load and with what tuning does to the batch size, is that of a small study which is run for it.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from omegaconf import DictConfig

from mnist_scaling import cli
from mnist_scaling.config import DataConfig
from mnist_scaling.errors import InputError
from mnist_scaling.planning.budget import Grid, Offer, best
from mnist_scaling.study import layout
from mnist_scaling.study.files import write_atomically
from mnist_scaling.study.tables.csv_table import read_study_table
from mnist_scaling.study.vocabulary import REPEAT, TRIAL

if TYPE_CHECKING:
    from mnist_scaling.tuning.sweep.forecast import Sweep

SIZE, AMOUNT = "model.width", "data.fraction"
"""Axes of the study that is proposed."""

SIZES = (2, 3, 4, 6, 8, 11, 16, 23, 32)
AMOUNTS = (1.0, 0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015625)
"""Their values: a step of sqrt(2) in width about doubles the FLOPs, and half the data halves them."""

SMALL = (f"{SIZE}=4,16", f"{AMOUNT}=0.0625,0.125", "hydra.sweeper.n_trials=6", "hydra.sweeper.n_repeats=1")
"""The study that is run for the pace: about 50 runs of 0.1 to 1 second."""

MOST_SECONDS = 60
"""Time that it may take; without it the pace is that of a busy machine as it was measured elsewhere."""


@dataclass(frozen=True)
class Pace:
    """How fast runs are on this machine now."""

    start: float
    """Seconds before the first run begins and after the last has ended."""
    pace: float
    """Seconds of a run per predicted second."""
    runs: int
    """That it was measured by; 0 where it is what `forecast` assumes."""


@dataclass(frozen=True)
class Proposal:
    """A study and what it is expected to take and to show."""

    name: str
    sizes: tuple[float, ...]
    amounts: tuple[float, ...]
    offer: Offer
    seconds: float
    minutes: float
    cores: int
    pace: Pace
    path: Path
    """Of the experiment file."""

    @property
    def command(self) -> str:
        """What runs it."""
        return f"python -m mnist_scaling.train -m experiment={self.name}"


def is_new(name: str | None) -> bool:
    """Whether no study of that name has begun."""
    return name is not None and "/" not in name and not layout.study_folder(name).exists()


def propose(name: str, minutes: float, cores: int) -> Proposal:
    """Calibrate, choose, and write conf/experiment/<name>.yaml.

    Parameters
    ----------
    name : str
        Of the study, which must not have begun.
    minutes : float
    cores : int

    Raises
    ------
    InputError
        When the time is too short for three cells, or an experiment of that name is there.
    """
    path = Path(cli.conf_dir()) / "experiment" / f"{name}.yaml"
    if path.exists():
        raise InputError(
            f"`name` must be new, but there is an experiment {path}: choose another name, or run it by "
            f"`python -m mnist_scaling.train -m experiment={name}`."
        )
    pace = calibrate(cores)
    sweep = _foreseen((f"name={name}", f"{SIZE}={_list(SIZES)}", f"{AMOUNT}={_list(AMOUNTS[::-1])}"))
    grid = _grid(sweep, pace)
    seconds = _clock(sweep, grid, pace, cores)
    offer = best(grid, minutes, cores, seconds)
    sizes, amounts = (
        tuple(values[k] for k in at) for values, at in ((grid.sizes, offer.sizes), (grid.amounts, offer.amounts))
    )
    found = Proposal(name, sizes, amounts, offer, seconds(offer), minutes, cores, pace, path)
    write_atomically(path, experiment(found))
    return found


def calibrate(cores: int) -> Pace:
    """Run a small study in a folder that is deleted, and compare its seconds with those predicted."""
    from mnist_scaling.image_task import TASK
    from mnist_scaling.tuning.sweep.forecast import BUSY, OVERHEAD

    with tempfile.TemporaryDirectory(prefix="mnist_scaling-") as folder:
        place = f"data.dir={Path(DataConfig().dir).absolute()}"
        command = [sys.executable, "-m", "mnist_scaling.train", "-m", "name=pace", place, *SMALL]
        command += [f"hydra.launcher.n_jobs={cores}"]
        began = time.perf_counter()
        try:
            subprocess.run(
                command, cwd=folder, env=cli.environment(), timeout=MOST_SECONDS, capture_output=True, check=True
            )
        except (subprocess.TimeoutExpired, subprocess.CalledProcessError):
            return Pace(0.0, BUSY, 0)
        wall = time.perf_counter() - began
        trials = read_study_table(Path(folder) / layout.MULTIRUN / "pace" / layout.TRIALS)
    values = _foreseen(("name=pace", *SMALL)).cells[0].values
    predicted = [
        TASK.cost(TASK.of_stage({**values, SIZE: int(row["width"]), AMOUNT: float(row["data_fraction"])}, row["stage"]))
        for row in trials.to_dict("records")
    ]
    took = float(trials["seconds"].sum())
    return Pace(max(wall - (took + OVERHEAD * len(trials)) / cores, 0.0), took / sum(predicted), len(trials))


def _grid(sweep: Sweep, pace: Pace) -> Grid:
    """What each cell costs on one core, and its sizes."""
    from mnist_scaling.tuning.sweep.forecast import OVERHEAD

    shape = (len(SIZES), len(AMOUNTS))
    tables: dict[str, Any] = {key: np.empty(shape) for key in ("n", "d", TRIAL, REPEAT)}
    amounts = AMOUNTS[::-1]
    for cell in sweep.cells:
        at = SIZES.index(cell.keys[SIZE]), amounts.index(cell.keys[AMOUNT])
        known = cell.task.counts(cell.values)
        tables["n"][at], tables["d"][at] = known["n_params"], known["n_seen"]
        tables[TRIAL][at] = pace.pace * cell.task.cost(cell.task.of_stage(cell.values, TRIAL)) + OVERHEAD
        # Where the untuned setting is repeated, too, a repeat is two runs.
        tables[REPEAT][at] = (pace.pace * cell.cost + OVERHEAD) * sweep.repeats(cell) / max(sweep.n_repeats, 1)
    return Grid(SIZES, amounts, np.log(tables["n"]), np.log(tables["d"]), tables[TRIAL], tables[REPEAT])


def _clock(sweep: Sweep, grid: Grid, pace: Pace, cores: int) -> Any:
    """Seconds that an offer takes."""
    from dataclasses import replace

    from mnist_scaling.tuning.sweep import forecast

    def seconds(offer: Offer) -> float:
        kept = {grid.sizes[k] for k in offer.sizes}, {grid.amounts[k] for k in offer.amounts}
        cells = [c for c in sweep.cells if c.keys[SIZE] in kept[0] and c.keys[AMOUNT] in kept[1]]
        of = replace(sweep, cells=cells, n_trials=offer.trials, n_repeats=offer.repeats, workers=cores)
        left = {cell.name: (of.trials, of.repeats(cell)) for cell in cells}
        return pace.start + forecast.seconds(of, left, pace.pace)

    return seconds


def _foreseen(overrides: tuple[str, ...]) -> Sweep:
    from mnist_scaling.image_task import TASK
    from mnist_scaling.tuning.sweep.forecast import foreseen
    from mnist_scaling.tuning.task import tunes

    return foreseen(overrides, cli.conf_dir(), tunes(TASK)(_never))


def _never(cfg: DictConfig) -> None:
    """What a forecast takes the task from; it is never called."""


def _list(values: Any) -> str:
    return ",".join(f"{value:g}" for value in values)


def experiment(found: Proposal) -> str:
    """The experiment as conf/experiment/ has it."""
    offer = found.offer
    return (
        "# @package _global_\n"
        f"# Chosen by `plan minutes={found.minutes:g} name={found.name}` for {found.cores} cores: {offer.cells} cells, "
        f"about {found.seconds / 60:.1f} minutes.\n#\n#   {found.command}\n\nname: {found.name}\n\n"
        f"hydra:\n  sweeper:\n    n_trials: {offer.trials}\n    n_repeats: {offer.repeats}\n    params:\n"
        f"      {SIZE}: {_list(found.sizes)}\n      {AMOUNT}: {_list(found.amounts)}\n"
    )


def record(found: Proposal) -> Mapping[str, Any]:
    """For format=json."""
    return {
        "name": found.name, "minutes": found.seconds / 60, "cores": found.cores, "cells": found.offer.cells,
        "width": found.sizes, "data_fraction": found.amounts, "n_trials": found.offer.trials,
        "n_repeats": found.offer.repeats, "interval_widths": dict(found.offer.widths), "pace": found.pace.pace,
        "experiment": str(found.path), "command": found.command,
    }  # fmt: skip
