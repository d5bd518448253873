"""A cluster on a simulated clock: the shipped tuner runs a whole study on it in seconds, with losses by a formula.

What is ours is real: grid, cells, asks, storage, records, tables, the order of jobs. What is simulated is the time
that passes while workers train, and the loss that comes out. Benchmarks share this module; it is no command.
"""

from __future__ import annotations

import contextlib
import heapq
import io
import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from optuna.storages import BaseStorage

from mnist_scaling import cli, config
from mnist_scaling.config import RunConfig, with_values
from mnist_scaling.study.result import TrainResult
from mnist_scaling.study.vocabulary import COMPLETE, TRIAL
from mnist_scaling.tuning import execution, grid, tuner
from mnist_scaling.tuning.cell_study import CellStudy
from mnist_scaling.tuning.cell_tuner import Effort
from mnist_scaling.tuning.job import Job

Train = Callable[[RunConfig, Any], TrainResult]


class Cluster:
    """A pool whose workers take no real time: `wait` turns the clock to the end of the next job.

    Like `pools.remote`, it takes a job only where a worker is free.

    Parameters
    ----------
    folder : Path
        The study's.
    workers : int
    seconds : callable
        How long a job takes.
    train : callable
        A run's result.

    Attributes
    ----------
    clock : float
        Seconds since the start.
    busy : float
        Seconds of all jobs so far.
    passing : callable
        Called before the clock turns, with the seconds that pass and the workers that are idle meanwhile.
    """

    isolates = True

    def __init__(self, folder: Path, workers: int, seconds: Callable[[Job], float], train: Train) -> None:
        self._folder, self._workers, self._seconds, self._train = folder, workers, seconds, train
        self._order = itertools.count()
        self._running: list[tuple[float, int, Job]] = []
        self.clock = self.busy = 0.0
        self.passing: Callable[[float, int], None] = lambda seconds, idle: None

    def free(self) -> int | None:
        return self._workers - len(self._running)

    def submit(self, job: Job) -> None:
        seconds = self._seconds(job)
        self.busy += seconds
        heapq.heappush(self._running, (self.clock + seconds, next(self._order), job))

    def wait(self, seconds: float) -> list[tuple[Job, str | None]]:
        del seconds
        end, _, job = heapq.heappop(self._running)
        self.passing(end - self.clock, self._workers - len(self._running) - 1)
        self.clock = end
        for part in job.parts:
            settings = {key: value for key, value in part.settings.items() if not key.startswith("hydra.")}
            run = with_values(job.cell.run, settings)
            execution.write_record(self._folder / part.folder, execution.measure(run, self._train))
        return [(job, None)]

    def __enter__(self) -> Cluster:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


def composed(overrides: Sequence[str] = ()) -> DictConfig:
    """The train config, with Hydra's own node."""
    with initialize_config_dir(cli.conf_dir()):
        return compose("train", list(overrides), return_hydra_config=True)


def cells(cost: Callable[[RunConfig], float], *axes: str) -> list[grid.Cell]:
    """The cells of a sweep.

    Parameters
    ----------
    cost : callable
        Predicted seconds of a run.
    *axes : str
        Overrides such as ``model.width=8,16``.
    """
    space = config.flatten(composed()["search_space"])
    return grid.cells(grid.partition(axes, space), composed, cost)


def bowl(run: RunConfig, report: Any = None) -> TrainResult:
    """A result of the right shape, whose loss is a bowl in the learning rate with noise."""
    del report
    n = round(50_000 * run.data.fraction)
    noise = np.random.default_rng([run.seed, *np.float64(run.optim.lr).tobytes()]).normal(0, 0.02)
    loss = float(n**-0.3 * (1 + np.log10(run.optim.lr / 1e-2) ** 2) * np.exp(noise))
    test = None if run.trial.stage == TRIAL else loss
    return TrainResult(
        COMPLETE, 100, 10, 20, 70, n, n, 1.0, n // 32, 600 * n, 200 * n, 60 * n, loss, 0.1, test, test, test
    )


def make_tuner(
    folder: Path,
    given: Sequence[grid.Cell],
    cluster: Cluster,
    effort: Effort,
    rule: str,
    storage: BaseStorage,
    sampler: DictConfig,
) -> tuner.Tuner:
    """The shipped tuner of a study, ready to run on a cluster."""
    joined = tuner.join(folder, given)
    studies = [CellStudy(cell, storage, sampler) for cell in given]
    return tuner.Tuner(folder, studies, cluster, effort, rule, joined)


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Without the progress bar."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield
