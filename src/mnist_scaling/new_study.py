"""A study that fits a time, before anything has run: how fast runs are here, the grid, and the file of its experiment.

    seconds = start and end + (pace * predicted + overhead * runs) / cores, but no less than the longest chain of runs

`predicted` are seconds of a run on an idle core with its untuned setting (`Task.cost`). The pace holds this machine,
its other load, and what tuning does to the batch size: it is that of a small study, which is run for it and deleted.
"""

from __future__ import annotations

import contextlib
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from omegaconf import DictConfig

from mnist_scaling import cli
from mnist_scaling.config import DataConfig
from mnist_scaling.errors import InputError
from mnist_scaling.image_task import TASK
from mnist_scaling.planning.grid_choice import Offer, Proposal, WholeGrid, best
from mnist_scaling.study import layout
from mnist_scaling.study.files import write_atomically
from mnist_scaling.study.tables.csv_table import read_study_table
from mnist_scaling.study.vocabulary import TRIAL
from mnist_scaling.tuning.sweep import forecast
from mnist_scaling.tuning.sweep.forecast import OVERHEAD, Sweep
from mnist_scaling.tuning.task import tunes

SIZE, AMOUNT = "model.width", "data.fraction"
"""Axes of the study, and their values: sqrt(2) in width about doubles the FLOPs of a run, half the data halves them."""

SIZES = (2, 3, 4, 6, 8, 11, 16, 23, 32)
AMOUNTS = (0.015625, 0.03125, 0.0625, 0.125, 0.25, 0.5, 1.0)

SMALL = (f"{SIZE}=4,16", f"{AMOUNT}=0.0625,0.125", "hydra.sweeper.n_trials=4", "hydra.sweeper.n_repeats=1")
"""The study that is run for the pace: about 24 runs of 0.1 to 1 second."""

MOST_SECONDS = 60
"""That it may take: the runs that have ended by then say the pace."""


def propose(
    name: str, minutes: float, cores: int, folder: Path, pace: tuple[float, float, int] | None = None
) -> Proposal:
    """Calibrate, unless a `pace` is given as `calibrate` has it, choose, and write the experiment to a folder.

    Raises
    ------
    InputError
        When the time is too short for three cells, or an experiment of that name is there.
    """
    path = folder / f"{name}.yaml"
    command = f"python -m mnist_scaling.train -m experiment={name}"
    if path.exists():
        raise InputError(
            f"`name` must be new, but there is an experiment {path}: choose another name, or run {command}."
        )
    idle, per_second, runs = pace or calibrate(cores)
    sweep = _foreseen((f"name={name}", f"{SIZE}={_list(SIZES)}", f"{AMOUNT}={_list(AMOUNTS)}"))
    grid = _grid(sweep, per_second)

    def seconds(offer: Offer) -> float:
        kept = {(SIZES[i], AMOUNTS[k]) for i in offer.sizes for k in offer.amounts}
        cells = [cell for cell in sweep.cells if (cell.keys[SIZE], cell.keys[AMOUNT]) in kept]
        effort = replace(sweep.method.effort, n_trials=offer.trials, n_repeats=offer.repeats)
        of = replace(sweep, cells=cells, method=replace(sweep.method, effort=effort), workers=cores)
        wanted = {cell.name: (of.trials(cell), of.repeats(cell)) for cell in cells}
        return idle + forecast.seconds(of, wanted, per_second)

    offer = best(grid, minutes, cores, seconds)
    sizes, amounts = _list([SIZES[k] for k in offer.sizes]), _list([AMOUNTS[k] for k in offer.amounts])
    axes = f"{SIZE}={sizes}", f"{AMOUNT}={amounts}"
    found = Proposal(offer, axes, seconds(offer), per_second, runs, str(path), command)
    write_atomically(
        path,
        f"# @package _global_\n# Chosen by plan name={name} minutes={minutes:g} cores={cores}: {offer.cells} cells in "
        f"about {found.seconds / 60:.1f} minutes.\n#\n#   {command}\n\nname: {name}\n\nhydra:\n  sweeper:\n"
        f"    n_trials: {offer.trials}\n    n_repeats: {offer.repeats}\n    params:\n"
        f"      {SIZE}: {sizes}\n      {AMOUNT}: {amounts}\n",
    )
    return found


def calibrate(cores: int) -> tuple[float, float, int]:
    """Seconds before the first run and after the last, seconds of a run per predicted one, and the runs that say so.

    Raises
    ------
    InputError
        When no run has ended in time.
    """
    with tempfile.TemporaryDirectory(prefix="mnist_scaling-") as folder:
        command = [sys.executable, "-m", "mnist_scaling.train", "-m", "name=pace", *SMALL]
        command += [f"data.dir={Path(DataConfig().dir).absolute()}", f"hydra.launcher.n_workers={cores}"]
        began, study = time.time(), Path(folder) / layout.MULTIRUN / "pace"
        over = 0.0
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run(command, cwd=folder, env=cli.environment(), timeout=MOST_SECONDS, capture_output=True)
            over = time.time()
        if not (study / layout.TRIALS).is_file() or (trials := read_study_table(study / layout.TRIALS)).empty:
            raise InputError(
                f"A time can be promised once a run of a small study ends within {MOST_SECONDS} s, but none did: see "
                f"that `{shlex.join(['python', *command[1:]])}` works, and that nothing else keeps this machine busy."
            )
        times = [path.stat().st_mtime for path in study.rglob(layout.RESULT)]
    values = _foreseen(("name=pace", *SMALL)).cells[0].values
    predicted = [
        TASK.cost(TASK.of_stage({**values, SIZE: int(row["width"]), AMOUNT: float(row["data_fraction"])}, row["stage"]))
        for row in trials.to_dict("records")
    ]
    seconds = trials["seconds"]
    idle = max(min(times) - began - float(seconds.min()), 0.0) + max(over - max(times), 0.0)
    return idle, float(seconds.sum()) / sum(predicted), len(trials)


def _grid(sweep: Sweep, pace: float) -> WholeGrid:
    """What each cell costs on one core, and its sizes."""
    n, d, trial, repeat = (np.empty((len(SIZES), len(AMOUNTS))) for _ in range(4))
    for cell in sweep.cells:
        at, known = (SIZES.index(cell.keys[SIZE]), AMOUNTS.index(cell.keys[AMOUNT])), cell.task.counts(cell.values)
        n[at], d[at] = np.log(known["n_params"]), np.log(known["n_seen"])
        trial[at] = pace * cell.task.cost(cell.task.of_stage(cell.values, TRIAL)) + OVERHEAD
        # Where the untuned setting is repeated, too, one more repeat is two runs.
        repeat[at] = (pace * cell.cost + OVERHEAD) * sweep.repeats(cell) / max(sweep.method.effort.n_repeats, 1)
    return WholeGrid(n, d, trial, repeat)


def _foreseen(overrides: Sequence[str]) -> Sweep:
    return forecast.foreseen(overrides, cli.conf_dir(), tunes(TASK)(_never))


def _never(cfg: DictConfig) -> None:
    """What a forecast takes the task from; it is never called."""


def _list(values: Sequence[float]) -> str:
    return ",".join(f"{value:g}" for value in values)
