"""A sweep before it trains: its runs, its time, and how many workers it can keep busy.

The rows of a study must not depend on the number of workers, so nothing here changes a setting: a sentence says which
overrides would, and what they cost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

from hydra import initialize_config_dir
from hydra._internal.callbacks import Callbacks
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.types import HydraContext, RunMode
from omegaconf import OmegaConf

from mnist_scaling.study import layout, records
from mnist_scaling.study.files import DamagedFileError
from mnist_scaling.study.vocabulary import INDEPENDENT, NEIGHBOURS, REPEAT, TRIAL
from mnist_scaling.tuning.cell import transfer
from mnist_scaling.tuning.grid import search_space
from mnist_scaling.tuning.grid.composition import Cell
from mnist_scaling.tuning.grid.partitioning import Partition
from mnist_scaling.tuning.sweep.next_jobs import REPEATED
from mnist_scaling.tuning.sweep.progress import BUSY

OVERHEAD = 0.2
"""Seconds that a worker spends per run on all but training: composing, recording, waiting for its turn."""

LARGE_BATCH = 8
"""The `trials_per_batch` that is proposed where workers would be idle."""

MANY = 1.4
"""Workers per worker that can be busy, from which on something is said: about half of them were idle in replays."""

RISE = {(NEIGHBOURS, LARGE_BATCH): 0.1, (INDEPENDENT, 2): 2.2, (INDEPENDENT, LARGE_BATCH): 2.6}
"""By how much the tuned loss rises against the defaults (neighbours, 2), in per cent, on a surrogate of the quickstart:
docs/scaling_out.md, `python benchmarks/scheduling_quality.py`."""


@dataclass(frozen=True)
class Sweep:
    """A sweep that is ready to train."""

    folder: Path
    parts: Partition
    """What the overrides were taken for."""
    cells: Sequence[Cell]
    data: Sequence[str]
    """What is known of their data, in words."""
    n_trials: int
    n_repeats: int
    method: str
    """Sampler, pruner and rule of transfer."""
    most: int | None
    """Values that are kept of each axis."""
    workers: int | None
    """Runs at a time; None where the launcher decides."""
    transfer: str
    """Rule of transfer: which cells wait for which."""
    trials_per_batch: int
    repeat_control: bool = False
    """Whether the untuned setting of each cell is repeated, too."""

    def trials(self, cell: Cell) -> int:
        """Trials of a cell: with nothing to tune, one."""
        return cell.effort.get("n_trials", self.n_trials) if cell.space else 1

    def own_repeats(self, cell: Cell) -> int:
        """Repeats of a setting of a cell."""
        return cell.effort.get("n_repeats", self.n_repeats)

    def repeats(self, cell: Cell) -> int:
        """Repeats of a cell: of its selected setting, and of its untuned one unless the two are known to be the same.

        Several branches of one run may select several settings, which nobody knows before.
        """
        n_repeats = self.own_repeats(cell)
        if not (self.repeat_control and search_space.baseline(cell.space, cell.values)):
            return n_repeats
        try:
            known = records.read_cell(self.folder / cell.folder) or {}
        except DamagedFileError:  # it is written anew
            known = {}
        return n_repeats * int(known.get(REPEATED, 2))

    def left(self, cell: Cell, trials: int, repeats: int) -> tuple[int, int]:
        """Trials and repeats that a cell lacks which has so many."""
        return max(self.trials(cell) - trials, 0), max(self.repeats(cell) - repeats, 0)


def seconds(sweep: Sweep, left: dict[str, tuple[int, int]], pace: float = BUSY) -> float:
    """Predicted seconds of the runs that are left.

    (pace * predicted + OVERHEAD * runs) / workers, but no less than the longest chain of runs that wait for each other.
    """
    work, chain = _work(sweep, left, pace=pace)
    return max(work / (sweep.workers or 1), chain)


def longest_chain(cells: Sequence[Cell], rule: str, trials: Mapping[str, float], repeats: Mapping[str, float]) -> float:
    """Seconds of the longest chain of runs that wait for each other; no number of workers makes a study shorter.

    Parameters
    ----------
    cells : sequence of Cell
    rule : {"neighbours", "independent"}
    trials, repeats : mapping
        A cell's name to the seconds of its batches of trials one after another, and of its repeats.
    """
    waits = {name: [parent.name for parent in found] for name, found in transfer.parents(cells, rule).items()}
    tuned = transfer.longest_chains(waits, trials)
    return max((tuned[name] + repeats[name] for name in tuned), default=0.0)


def _work(
    sweep: Sweep,
    left: dict[str, tuple[int, int]],
    rule: str | None = None,
    batch: int | None = None,
    pace: float = BUSY,
) -> tuple[float, float]:
    """Predicted seconds of one core for runs, and for the longest chain of them that wait for each other."""
    rule, batch = rule or sweep.transfer, batch or sweep.trials_per_batch
    total, trials, repeats = 0.0, {}, {}
    for cell in sweep.cells:
        trial = pace * cell.task.cost(cell.task.of_stage(cell.values, TRIAL)) + OVERHEAD
        repeat = pace * cell.cost + OVERHEAD
        n_trials, n_repeats = left[cell.name]
        total += n_trials * trial + n_repeats * repeat
        # As if the repeats of a cell came one after another, as they do where all workers are busy.
        trials[cell.name], repeats[cell.name] = ceil(n_trials / batch) * trial, n_repeats * repeat
    return total, longest_chain(sweep.cells, rule, trials, repeats)


def idle_workers(sweep: Sweep) -> str | None:
    """What would keep more workers busy, as a sentence; None where all of them are, or nothing would.

    Work / longest chain is the most workers that can be busy on average (Brent 1974). It is predicted as if runs of
    one cell took equally long; in replays of recorded studies 0.4 to 1 of it were busy.
    """
    most = max(map(sweep.trials, sweep.cells))
    if sweep.workers is None or most == 1:
        return None
    whole = {cell.name: (sweep.trials(cell), sweep.repeats(cell)) for cell in sweep.cells}

    def busy(rule: str, batch: int) -> float:
        work, chain = _work(sweep, whole, rule, batch)
        return work / chain if chain else 1.0

    rule, batch = sweep.transfer, sweep.trials_per_batch
    now = busy(rule, batch)
    if sweep.workers < MANY * now:
        return None
    found = []
    for (other, size), rise in RISE.items():
        size = batch if size < LARGE_BATCH else max(min(size, most), batch)
        given = [f"hydra.sweeper.trials_per_batch={size}"] if size != batch else []
        given += [f"hydra.sweeper.transfer={other}"] if other != rule else []
        then = busy(other, size)
        if given and then > 1.1 * now and not (rule == INDEPENDENT and other == NEIGHBOURS):
            found.append(
                f"`{' '.join(given)}` keeps about {then:.0f} busy, for a tuned loss that is {rise:.1f} % higher"
            )
    if not found:
        return None
    return (
        f"This study keeps no more than about {max(now, 1):.0f} of {sweep.workers} workers busy, because trials wait "
        f"for others. {'; '.join(found)} (against the defaults, on the quickstart's grid: docs/scaling_out.md). They "
        "change the rows, so choose before the study begins."
    )


@dataclass(frozen=True)
class Preview:
    """What `train -m` would do with the same overrides."""

    cells: int
    finished: int
    """Cells that have all their trials and repeats."""
    runs: int
    """Runs of all cells together that have a record."""
    seconds: float
    """Predicted for the whole study."""
    left: float
    """Predicted for the runs that have no record."""
    latest: float
    """When the last record was written, in seconds since 1970; 0 before the first."""


def foreseen(overrides: Sequence[str], conf_dir: str, task: Callable[..., Any]) -> Sweep:
    """Compose a study as `train -m` does; nothing is trained, fetched or written. For the rest see `preview`."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(conf_dir):
        loader = GlobalHydra.instance().config_loader()
        cfg = loader.load_configuration("train", list(overrides), RunMode.MULTIRUN)
        context = HydraContext(config_loader=loader, callbacks=Callbacks())
        sweeper: Any = Plugins.instance().instantiate_sweeper(config=cfg, hydra_context=context, task_function=task)
        arguments = [str(text) for text in OmegaConf.to_container(cfg.hydra.overrides.task)]  # type: ignore[union-attr]
        sweep: Sweep = sweeper.foreseen(arguments)
    return sweep


def preview(overrides: Sequence[str], conf_dir: str, task: Callable[..., Any]) -> Preview:
    """Compose a study as `train -m` does, and count what its folder holds; nothing is trained, fetched or written.

    Parameters
    ----------
    overrides : sequence of str
        What would stand after ``train -m``.
    conf_dir : str
        Absolute path of conf/.
    task : callable
        A function with a task (`task.tunes`), whose prediction of a run's cost is taken.

    Raises
    ------
    InputError
        When an override is at fault, or the study's folder holds a study of another identity.
    """
    sweep = foreseen(overrides, conf_dir, task)
    wanted = {cell.name: (sweep.trials(cell), sweep.repeats(cell)) for cell in sweep.cells}
    left = {cell.name: _lacking(sweep, cell) for cell in sweep.cells}
    return Preview(
        len(sweep.cells),
        sum(1 for runs in left.values() if not any(runs)),
        sum(sum(wanted[name]) - sum(runs) for name, runs in left.items()),
        seconds(sweep, wanted),
        seconds(sweep, left),
        max((path.stat().st_mtime for path in sweep.folder.rglob(layout.RESULT)), default=0.0),
    )


def _lacking(sweep: Sweep, cell: Cell) -> tuple[int, int]:
    """Trials and repeats of a cell that have no record; one that is damaged counts here, and is made again."""
    folder = sweep.folder / cell.folder
    trials, repeats = (sum(1 for _ in folder.glob(f"{stage}-*/{layout.RESULT}")) for stage in (TRIAL, REPEAT))
    return sweep.left(cell, trials, repeats)
