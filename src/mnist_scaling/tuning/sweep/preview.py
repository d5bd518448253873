"""A study before it runs: how many cells it has, how many of them are finished, what the others will cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from hydra import initialize_config_dir
from hydra._internal.callbacks import Callbacks
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.types import HydraContext, RunMode
from omegaconf import OmegaConf

from mnist_scaling.study import layout
from mnist_scaling.study.vocabulary import REPEAT, TRIAL
from mnist_scaling.tuning.grid.partitioning import Cell
from mnist_scaling.tuning.sweep import announcement
from mnist_scaling.tuning.sweep.announcement import Sweep


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
    GlobalHydra.instance().clear()
    with initialize_config_dir(conf_dir):
        loader = GlobalHydra.instance().config_loader()
        cfg = loader.load_configuration("train", list(overrides), RunMode.MULTIRUN)
        context = HydraContext(config_loader=loader, callbacks=Callbacks())
        sweeper: Any = Plugins.instance().instantiate_sweeper(config=cfg, hydra_context=context, task_function=task)
        arguments = [str(text) for text in OmegaConf.to_container(cfg.hydra.overrides.task)]  # type: ignore[union-attr]
        sweep: Sweep = sweeper.foreseen(arguments)
    wanted = {cell.name: (sweep.trials, sweep.n_repeats) for cell in sweep.cells}
    left = {cell.name: _left(sweep, cell) for cell in sweep.cells}
    return Preview(
        len(sweep.cells),
        sum(1 for runs in left.values() if not any(runs)),
        sum(sum(wanted[name]) - sum(runs) for name, runs in left.items()),
        announcement.seconds(sweep, wanted),
        announcement.seconds(sweep, left),
        max((path.stat().st_mtime for path in sweep.folder.rglob(layout.RESULT)), default=0.0),
    )


def _left(sweep: Sweep, cell: Cell) -> tuple[int, int]:
    """Trials and repeats of a cell that have no record; one that is damaged counts here, and is made again."""
    folder = sweep.folder / cell.folder
    done = {stage: sum(1 for _ in folder.glob(f"{stage}-*/{layout.RESULT}")) for stage in (TRIAL, REPEAT)}
    return max(sweep.trials - done[TRIAL], 0), max(sweep.n_repeats - done[REPEAT], 0)
