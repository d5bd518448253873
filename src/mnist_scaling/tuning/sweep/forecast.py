"""A sweep before it trains: its runs, and its time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

from hydra import initialize, initialize_config_dir
from hydra._internal.callbacks import Callbacks
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.types import HydraContext, RunMode
from omegaconf import OmegaConf

from mnist_scaling.study import layout, records
from mnist_scaling.study.columns import REPEAT, TRIAL
from mnist_scaling.study.files import DamagedFileError
from mnist_scaling.tuning.cell import search_space
from mnist_scaling.tuning.cell.composition import Cell
from mnist_scaling.tuning.cell.partitioning import Partition
from mnist_scaling.tuning.sweep.next_jobs import REPEATED, Method, longest_chains, parents
from mnist_scaling.tuning.task import Task, tunes

BUSY = 1.9
"""Seconds that a run takes per predicted second (`Task.cost`) while every core is busy: LOG.md, 2026-11-24."""

OVERHEAD = 0.2
"""Seconds that a worker spends per run on all but training: composing, recording, waiting for its turn."""


@dataclass(frozen=True)
class Sweep:
    """A sweep that is ready to train."""

    folder: Path
    parts: Partition
    """What the overrides were taken for."""
    cells: Sequence[Cell]
    method: Method
    workers: int | None
    """Runs at a time; None where the launcher decides."""

    def trials(self, cell: Cell) -> int:
        """Trials of a cell."""
        return self.method.effort.of(cell).n_trials

    def repeats(self, cell: Cell) -> int:
        """Repeats of a cell: of its selected setting, and of its untuned one unless the two are known to be the same.

        Several branches of one run may select several settings, which nobody knows before.
        """
        n_repeats = self.method.effort.of(cell).n_repeats
        if not (self.method.effort.repeat_control and search_space.baseline(cell.space, cell.values)):
            return n_repeats
        try:
            known = records.read_cell(self.folder / cell.folder) or {}
        except DamagedFileError:  # it is written anew
            known = {}
        return n_repeats * int(known.get(REPEATED, 2))

    def left(self, cell: Cell, trials: int, repeats: int) -> tuple[int, int]:
        """Trials and repeats that a cell lacks which has so many."""
        return max(self.trials(cell) - trials, 0), max(self.repeats(cell) - repeats, 0)


def seconds(sweep: Sweep, left: Mapping[str, tuple[int, int]], pace: float = BUSY) -> float:
    """Predicted seconds of the runs that are left: trials and repeats of each cell, by its name.

    (pace * predicted + OVERHEAD * runs) / workers, but no less than the longest chain of runs that wait for each other.
    """
    work, trials, repeats = 0.0, {}, {}
    for cell in sweep.cells:
        trial = pace * cell.task.cost(cell.task.of_stage(cell.values, TRIAL)) + OVERHEAD
        n_trials, n_repeats = left[cell.name]
        # As if the repeats of a cell came one after another, as they do where all workers are busy.
        repeats[cell.name] = n_repeats * (pace * cell.cost + OVERHEAD)
        trials[cell.name] = ceil(n_trials / sweep.method.effort.trials_per_batch) * trial
        work += n_trials * trial + repeats[cell.name]
    return max(work / (sweep.workers or 1), longest_chain(sweep.cells, sweep.method.transfer, trials, repeats))


def longest_chain(cells: Sequence[Cell], rule: str, trials: Mapping[str, float], repeats: Mapping[str, float]) -> float:
    """Seconds of the longest chain of runs that wait for each other; no number of workers makes a study shorter.

    By a cell's name, `trials` has the seconds of its batches one after another, `repeats` those of its repeats.
    """
    waits = {name: [parent.name for parent in cheaper] for name, cheaper in parents(cells, rule).items()}
    tuned = longest_chains(waits, trials)
    return max((tuned[name] + repeats[name] for name in tuned), default=0.0)


@dataclass(frozen=True)
class Preview:
    """What `train -m` would do with the same overrides."""

    cells: int
    finished: int
    """Cells that have all their trials and repeats."""
    left: float
    """Predicted seconds of the runs that have no record."""
    latest: float
    """When the last record was written, in seconds since 1970; 0 before the first."""


@contextlib.contextmanager
def sweeper_of(
    config: str, overrides: Sequence[str], task: Task, conf_dir: str | None = None
) -> Iterator[tuple[Any, list[str]]]:
    """The sweeper that `-m` with these overrides would start, and the overrides that are its runs' own.

    The name of the `config` is one in `conf_dir`, an absolute path, or in Hydra's store.
    """
    GlobalHydra.instance().clear()
    with initialize() if conf_dir is None else initialize_config_dir(conf_dir):
        loader = GlobalHydra.instance().config_loader()
        cfg = loader.load_configuration(config, list(overrides), RunMode.MULTIRUN)
        context = HydraContext(config_loader=loader, callbacks=Callbacks())
        main = tunes(task)(lambda cfg: None)
        sweeper = Plugins.instance().instantiate_sweeper(config=cfg, hydra_context=context, task_function=main)
        yield sweeper, [str(text) for text in OmegaConf.to_container(cfg.hydra.overrides.task)]  # type: ignore[union-attr]


def foreseen(overrides: Sequence[str], conf_dir: str, task: Task) -> Sweep:
    """Compose a study as `train -m` does; nothing is trained, fetched or written. For the rest see `preview`."""
    with sweeper_of("train", overrides, task, conf_dir) as (sweeper, arguments):
        return sweeper.foreseen(arguments)  # type: ignore[no-any-return]


def preview(overrides: Sequence[str], conf_dir: str, task: Task) -> Preview:
    """Compose a study as `train -m` does, and count what its folder holds; nothing is trained, fetched or written.

    It raises InputError when an override is at fault, or the study's folder holds a study of another identity.
    """
    sweep = foreseen(overrides, conf_dir, task)
    left = {}
    for cell in sweep.cells:
        folder = sweep.folder / cell.folder
        # A damaged record counts here, and is made again.
        n_trials, n_repeats = (sum(1 for _ in folder.glob(f"{s}-*/{layout.RESULT}")) for s in (TRIAL, REPEAT))
        left[cell.name] = sweep.left(cell, n_trials, n_repeats)
    latest = max((path.stat().st_mtime for path in sweep.folder.rglob(layout.RESULT)), default=0.0)
    finished = sum(not any(runs) for runs in left.values())
    return Preview(len(sweep.cells), finished, seconds(sweep, left), latest)
