"""A study replayed on a simulated clock: the shipped driver orders the jobs, and nothing is trained.

`tuning.sweep.driver.Driver` and `CellState` decide what is handed over when, as in a sweep. In place of workers and of
records on disk stand small objects in memory. Benchmarks share this module; it is no command.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any
from unittest import mock

import optuna
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from mnist_scaling import cli, config
from mnist_scaling.study import records
from mnist_scaling.study.columns import COMPLETE, NOTES, RANGES, TRIAL
from mnist_scaling.tuning.cell import composition, partitioning
from mnist_scaling.tuning.cell.composition import Cell
from mnist_scaling.tuning.cell.next_settings import Effort
from mnist_scaling.tuning.sweep import driver
from mnist_scaling.tuning.sweep.announcement import CellLeft, StudyProgress
from mnist_scaling.tuning.sweep.ledger import Ledger
from mnist_scaling.tuning.sweep.next_jobs import CellState, Method
from mnist_scaling.tuning.task import Task
from mnist_scaling.tuning.workers.job import Job, Outcome

Seconds = Callable[[Job], float]
"""How long a job takes."""

Loss = Callable[[Job], float]
"""The validation loss of a run."""


def composed(overrides: Sequence[str] = ()) -> DictConfig:
    """The train config, with Hydra's own node."""
    with initialize_config_dir(cli.conf_dir()):
        return compose("train", list(overrides), return_hydra_config=True)


def cells(task: Task, *axes: str) -> list[Cell]:
    """The cells of a sweep.

    Parameters
    ----------
    task : Task
        Predicts the seconds of a run.
    *axes : str
        Overrides such as ``model.width=8,16``.
    """
    space = config.flatten(composed()["search_space"])
    return composition.cells(partitioning.partition(axes, space), composed, task)


@dataclass(frozen=True)
class Replayed:
    """What a replay came to, in seconds."""

    makespan: float
    work: float
    """Seconds of all jobs together."""
    longest: float
    """Seconds of the longest job."""
    workers: int
    parents: float
    """Seconds of workers that were idle while trials waited for a cheaper cell to be tuned."""
    rounds: float
    """The same, while further trials of a cell waited for those of its round."""

    @property
    def ideal(self) -> float:
        """No schedule is shorter than the work shared out evenly, nor than the longest job."""
        return max(self.work / self.workers, self.longest)

    @property
    def idle(self) -> float:
        """Share of the workers' seconds without a job."""
        return 1 - self.work / (self.workers * self.makespan)


class _Memory(Ledger):
    """Records in memory."""

    def _write(self, folder: Path, record: Mapping[str, Any]) -> None:
        cell = self._cells[folder.parent]
        self._note(folder, record)
        self.rows[folder] = records.row(record, cell.axes, cell.space)


@dataclass
class Pool:
    """Workers that take no real time: `flush` turns the clock to the end of the next job."""

    n: int
    seconds: Seconds
    loss: Loss = lambda job: 1.0
    isolates = True
    clock: float = 0.0
    work: float = 0.0
    longest: float = 0.0
    running: list[tuple[float, int, Job, Future[Outcome]]] = field(default_factory=list)
    queue: deque[tuple[Job, Future[Outcome]]] = field(default_factory=deque)
    passing: Callable[[float, int], None] = lambda seconds, idle: None
    _order: Iterator[int] = field(default_factory=itertools.count)

    def room(self) -> int | None:
        """A job per free worker; what is given beyond that waits for the next free one."""
        return self.n - len(self.running) - len(self.queue)

    def count(self) -> int | None:
        return self.n

    def submit(self, job: Job) -> Future[Outcome]:
        future: Future[Outcome] = Future()
        self.queue.append((job, future))
        self._start()
        return future

    def _start(self) -> None:
        while self.queue and len(self.running) < self.n:
            job, future = self.queue.popleft()
            seconds = self.seconds(job)
            self.work += seconds
            self.longest = max(self.longest, seconds)
            heapq.heappush(self.running, (self.clock + seconds, next(self._order), job, future))

    def flush(self) -> None:
        end, _, job, future = self.running[0]
        self.passing(end - self.clock, self.n - len(self.running))
        heapq.heappop(self.running)
        self.clock = end
        self._start()
        future.set_result(Outcome(self.record(job)))

    def record(self, job: Job) -> dict[str, Any]:
        return record_of(job, self.loss(job))

    def __enter__(self) -> Pool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


def record_of(job: Job, loss: float, **result: Any) -> dict[str, Any]:
    """The record of a run that came to its end."""
    assert job.values is not None
    record = {"stage": job.stage, "number": job.index, "seed": job.seed, "origin": job.origin, "state": COMPLETE}
    record |= {"seconds": 1.0, "error": None, "config": {**job.values, **job.settings}}
    return record | {"result": {"val_loss": loss, **result}, NOTES: job.notes, RANGES: job.ranges}


class _Replay(driver.Driver):
    """The shipped driver without tables, progress and importances, which take none of the workers' time."""

    def replay(self, pool: Pool) -> None:
        self._workers = pool
        self.progress = StudyProgress({name: CellLeft(0, 0, 0.0) for name in self.cells})
        while self._fill():
            self._settle(self._ended())

    def waiting(self, effort: Effort) -> tuple[int, int]:
        """Trials that idle workers could begin, were it not for parents, and were it not for their own round."""
        parents = rounds = 0
        for name, cell in self.cells.items():
            asked = sum(job.stage == TRIAL for job in cell.running)
            if not all(parent.trials_done for parent in self.parents[name]):
                parents += min(effort.trials_per_batch, effort.n_trials)
            elif asked:
                rounds += cell.trials_left - asked
        return parents, rounds

    def _show(self, job: Job) -> None:
        pass


RANDOM = OmegaConf.create({"_target_": "optuna.samplers.RandomSampler"})


def replay(
    given: Sequence[Cell],
    workers: int,
    seconds: Seconds,
    effort: Effort,
    rule: str,
    sampler: DictConfig = RANDOM,
    loss: Loss = lambda job: 1.0,
) -> tuple[Replayed, Ledger]:
    """Replay a study; what came of the clock, and the rows of its runs.

    Parameters
    ----------
    given : sequence of Cell
    workers : int
    seconds : callable
    effort : Effort
    rule : {"neighbours", "independent"}
    sampler : DictConfig
        Node of the ``hydra/sweeper/sampler`` group.
    loss : callable
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    pool = Pool(workers, seconds, loss)
    lost = [0.0, 0.0]
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as patched:
        patched.enter_context(mock.patch.object(driver, "Ledger", _Memory))
        for unneeded in ("complete_description", "describe"):
            patched.enter_context(mock.patch.object(CellState, unneeded, return_value=None))
        swept = _Replay(Path(name), given, Method(effort, sampler, None, rule))

        def passing(seconds: float, idle: int) -> None:
            if idle and seconds:
                for place, waiting in enumerate(swept.waiting(effort)):
                    taken = min(waiting, idle)
                    lost[place] += taken * seconds
                    idle -= taken

        pool.passing = passing
        swept.replay(pool)
    return Replayed(pool.clock, pool.work, pool.longest, workers, *lost), swept.ledger
