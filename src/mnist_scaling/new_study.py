"""A study that fits a time, before anything has run: how fast runs are here, the grid, and the file of its experiment.

    ln L = law + g + e        var of a slope = t' (1 + Z' V^-1 Z)^-1 t        V = luck^2 + seed^2 / repeats

Its time is start and end, and `forecast.seconds` of its runs. The pace of these holds this machine, its other load, and
what tuning does to the batch size: it is that of a small study, which is run for it and deleted.

Of the studies that fit the one is taken whose intervals of both slopes are narrowest. Z are the gradients of a usual
law and the waves of a usual misfit (`fitting.misfit.process`) at the cells, scaled to their prior standard deviations,
and t those of a slope at the largest cell. No loss is needed for that: of a linear model the width of an interval
depends on the cells, the noise and the prior alone. Every width has every share of the data, so N and D move apart.
"""

from __future__ import annotations

import contextlib
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from pathlib import Path

import numpy as np

from mnist_scaling import cli
from mnist_scaling.config import DataConfig
from mnist_scaling.errors import InputError
from mnist_scaling.fitting.laws import get_law
from mnist_scaling.fitting.laws.base import STEP, Array
from mnist_scaling.fitting.misfit.linearised import LENGTH, SIZE, SPREAD
from mnist_scaling.fitting.misfit.process import Axes, Shape, design
from mnist_scaling.image_task import TASK
from mnist_scaling.planning.measurements import CellEffort
from mnist_scaling.study import layout
from mnist_scaling.study.columns import TRIAL
from mnist_scaling.study.files import write_atomically
from mnist_scaling.study.tables.csv_table import read_study_table
from mnist_scaling.tuning.sweep import forecast
from mnist_scaling.tuning.sweep.forecast import OVERHEAD, Sweep

WIDTH, FRACTION = "model.width", "data.fraction"
"""Axes of the study, and their values: sqrt(2) in width about doubles the FLOPs of a run, half the data halves them."""

WIDTHS = (2, 3, 4, 6, 8, 11, 16, 23, 32)
FRACTIONS = (0.015625, 0.03125, 0.0625, 0.125, 0.25, 0.5, 1.0)

GRIDS = tuple(
    product(
        ((0, 1), (0, 3), (0, 2, 4), (0, 3, 6), (2, 5, 8), (2, 4, 6, 8), (0, 2, 4, 6, 8), tuple(range(9))),
        ((0, 1), (0, 3), (0, 3, 6), (0, 2, 4, 6), tuple(range(7))),
    )
)
"""Positions of the widths and fractions that are offered: ends far apart say most of a slope for their time."""

TRIALS, REPEATS = (4, 6, 8, 12, 16, 24, 32, 48), (2, 3, 4, 6, 9, 12)
"""What is offered per cell."""

SEED_SD, LUCK_SD = 0.065, 0.2
"""Usual standard deviations of ln L between seeds, and of what one trial leaves to luck: medians of 27 studies of
`ask … scale=quick`, whose certificates say the latter."""

LAW = {"E": 0.03, "A": 3.0, "B": 60.0, "alpha": 0.35, "beta": 0.6, "gamma": 1.0}
"""A usual surface of the loss; what an interval's width depends on is its slopes."""

NORMAL = 2 * 1.96
"""Width of a 95 % interval in standard deviations."""

SMALL = (f"{WIDTH}=4,16", f"{FRACTION}=0.0625,0.125", "hydra.sweeper.n_trials=4", "hydra.sweeper.n_repeats=1")
"""The study that is run for the pace: about 24 runs of 0.1 to 1 second."""

MOST_SECONDS = 60
"""That it may take: the runs that have ended by then say the pace."""


@dataclass(frozen=True)
class WholeGrid:
    """All cells that could be run: sizes x amounts of data, arrays of shape (sizes, amounts)."""

    log_n: Array
    log_d: Array
    """Ascending along both axes."""
    trial: Array
    """Seconds of one core that a trial takes."""
    repeat: Array
    """And all runs that one more repeat means."""

    @cached_property
    def waves(self) -> tuple[Array, Array, Array]:
        """Z of all cells, shape (sizes, amounts, k), and the same of both slopes."""
        shape = self.log_n.shape
        logs = {"N": self.log_n.ravel(), "D": self.log_d.ravel()}
        axes, law = Axes.of(logs), get_law("coupled")
        theta = law.internal(LAW)
        y, _ = law.evaluate(theta[None], logs)
        unit = float(np.ptp(y)) / 2 * np.exp(SIZE[0])
        misfit = Shape(np.full((1, 3), unit), np.full((1, 2), np.exp(LENGTH[0])))
        of_waves = np.sqrt(np.concatenate(misfit.variances(), axis=1)[0])
        of_law = np.array([SPREAD["log"] if p.log else SPREAD.get(p.name, SPREAD[""]) for p in law.parameters])
        of_law[law.names.index("E")] *= float(np.exp(y.min()))

        def z(log_n: Array, log_d: Array) -> Array:
            at = {"N": log_n.ravel(), "D": log_d.ravel()}
            gradient = law.evaluate(theta[None], at)[1][0].T
            return np.concatenate([gradient * of_law, design(axes.features(at)) * of_waves], axis=1).reshape(*shape, -1)

        n, d = self.log_n, self.log_d
        alpha, beta = z(n - STEP, d) - z(n + STEP, d), z(n, d - STEP) - z(n, d + STEP)
        return z(n, d), alpha / (2 * STEP), beta / (2 * STEP)


@dataclass(frozen=True)
class Offer:
    """A study that could be run, of every one of its sizes with every one of its amounts of data."""

    sizes: tuple[int, ...]
    """Positions of the grid's sizes, and below of its amounts of data."""
    amounts: tuple[int, ...]
    trials: int
    repeats: int
    widths: Mapping[str, float]
    """Expected widths of the 95 % intervals of alpha and beta at the largest cell of the whole grid: cheap cells alone
    say little of it."""

    @property
    def cells(self) -> int:
        """Number of cells."""
        return len(self.sizes) * len(self.amounts)


@dataclass(frozen=True)
class Proposal:
    """An offer as a study that can be run, and what it is expected to take."""

    offer: Offer
    axes: tuple[str, ...]
    """Config keys with their values, as overrides."""
    seconds: float
    calibrated: int
    """Runs that the pace is known from."""
    path: str
    """Of the experiment's file."""
    command: str
    """What runs it."""


def intervals(grid: WholeGrid, sizes: tuple[int, ...], amounts: tuple[int, ...], variance: float) -> dict[str, float]:
    """Expected widths of the intervals of alpha and beta where the grid is largest, for cells of that variance."""
    at = np.ix_(sizes, amounts)
    cells, slopes = grid.waves[0][at].reshape(len(sizes) * len(amounts), -1), grid.waves[1:]
    gram = cells @ cells.T + variance * np.eye(len(cells))
    out = {}
    for name, slope in zip(("alpha", "beta"), slopes, strict=True):
        t = slope[-1, -1]
        known = cells @ t
        out[name] = NORMAL * float(np.sqrt(max(t @ t - known @ np.linalg.solve(gram, known), 0.0)))
    return out


def offers(grid: WholeGrid, work: float) -> list[Offer]:
    """Studies of at most so much work, in seconds of all cores together; those with the narrowest intervals first."""
    affordable = []
    for (sizes, amounts), trials, repeats in product(GRIDS, TRIALS, REPEATS):
        at = np.ix_(sizes, amounts)
        if trials * grid.trial[at].sum() + repeats * grid.repeat[at].sum() <= work:
            luck = LUCK_SD * trials ** -CellEffort(trials, repeats).power
            widths = intervals(grid, sizes, amounts, luck**2 + SEED_SD**2 / repeats)
            affordable.append(Offer(sizes, amounts, trials, repeats, widths))
    return sorted(affordable, key=lambda offer: sum(width**2 for width in offer.widths.values()))


def best(grid: WholeGrid, minutes: float, cores: int, seconds: Callable[[Offer], float]) -> Offer:
    """The study whose intervals are narrowest, of those that take the time that there is by `seconds`."""
    for offer in offers(grid, 60 * minutes * cores):
        if seconds(offer) <= 60 * minutes:
            return offer
    needed = seconds(Offer(*GRIDS[0], TRIALS[0], REPEATS[0], {}))
    raise InputError(
        f"`minutes` must hold three cells or more, of two sizes and two amounts of data, but got {minutes:g}: give "
        f"minutes={np.ceil(needed / 6) / 10:g} or more."
    )


def propose(
    name: str, minutes: float, cores: int, folder: Path, pace: tuple[float, float, int] | None = None
) -> Proposal:
    """Calibrate, unless a `pace` is given as `calibrate` has it, choose, and write the experiment to a folder."""
    path = folder / f"{name}.yaml"
    command = f"python -m mnist_scaling.train -m experiment={name}"
    if path.exists():
        raise InputError(
            f"`name` must be new, but there is an experiment {path}: choose another name, or run {command}."
        )
    idle, per_second, runs = pace or calibrate(cores)
    sweep = _foreseen((f"name={name}", f"{WIDTH}={_list(WIDTHS)}", f"{FRACTION}={_list(FRACTIONS)}"))
    grid = _grid(sweep, per_second)

    def seconds(offer: Offer) -> float:
        kept = {(WIDTHS[i], FRACTIONS[k]) for i in offer.sizes for k in offer.amounts}
        cells = [cell for cell in sweep.cells if (cell.keys[WIDTH], cell.keys[FRACTION]) in kept]
        effort = replace(sweep.method.effort, n_trials=offer.trials, n_repeats=offer.repeats)
        of = replace(sweep, cells=cells, method=replace(sweep.method, effort=effort), workers=cores)
        wanted = {cell.name: (of.trials(cell), of.repeats(cell)) for cell in cells}
        return idle + forecast.seconds(of, wanted, per_second)

    offer = best(grid, minutes, cores, seconds)
    sizes, amounts = _list([WIDTHS[k] for k in offer.sizes]), _list([FRACTIONS[k] for k in offer.amounts])
    axes = f"{WIDTH}={sizes}", f"{FRACTION}={amounts}"
    proposal = Proposal(offer, axes, seconds(offer), runs, str(path), command)
    write_atomically(
        path,
        f"# @package _global_\n# Chosen by plan name={name} minutes={minutes:g} cores={cores}: {offer.cells} cells in "
        f"about {proposal.seconds / 60:.1f} minutes.\n#\n#   {command}\n\nname: {name}\n\nhydra:\n  sweeper:\n"
        f"    n_trials: {offer.trials}\n    n_repeats: {offer.repeats}\n    params:\n"
        f"      {WIDTH}: {sizes}\n      {FRACTION}: {amounts}\n",
    )
    return proposal


def calibrate(cores: int) -> tuple[float, float, int]:
    """Seconds before the first run and after the last, seconds of a run per predicted one, and the runs that say so."""
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
    columns = (trials[k] for k in ("width", "data_fraction", "stage"))
    cells = (({**values, WIDTH: int(n), FRACTION: float(d)}, stage) for n, d, stage in zip(*columns, strict=True))
    predicted, seconds = sum(TASK.cost(TASK.of_stage(*cell)) for cell in cells), trials["seconds"]
    idle = max(min(times) - began - float(seconds.min()), 0.0) + max(over - max(times), 0.0)
    return idle, float(seconds.sum()) / predicted, len(trials)


def _grid(sweep: Sweep, pace: float) -> WholeGrid:
    """What each cell costs on one core, and its sizes."""
    n, d, trial, repeat = (np.empty((len(WIDTHS), len(FRACTIONS))) for _ in range(4))
    for cell in sweep.cells:
        at = WIDTHS.index(cell.keys[WIDTH]), FRACTIONS.index(cell.keys[FRACTION])
        known = cell.task.counts(cell.values)
        n[at], d[at] = np.log(known["n_params"]), np.log(known["n_seen"])
        trial[at] = pace * cell.task.cost(cell.task.of_stage(cell.values, TRIAL)) + OVERHEAD
        # Where the untuned setting is repeated, too, one more repeat is two runs.
        repeat[at] = (pace * cell.cost + OVERHEAD) * sweep.repeats(cell) / max(sweep.method.effort.n_repeats, 1)
    return WholeGrid(n, d, trial, repeat)


def _foreseen(overrides: Sequence[str]) -> Sweep:
    return forecast.foreseen(overrides, cli.conf_dir(), TASK)


def _list(values: Sequence[float]) -> str:
    return ",".join(f"{value:g}" for value in values)
