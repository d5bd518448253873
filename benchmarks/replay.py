"""A study replayed on a simulated clock: the shipped tuner orders the jobs, and nothing is trained.

`tuning.tuner.Tuner` and `tuning.cell_tuner.CellTuner` decide what is handed over when, as in a sweep. In place of
workers, of records on disk and, unless a benchmark asks for the shipped ones, of Optuna studies stand small objects in
memory, so that a study of a thousand runs is replayed in a fraction of a second. Benchmarks share this module; it is
no command.
"""

from __future__ import annotations

import heapq
import itertools
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from mnist_scaling import cli, config
from mnist_scaling.config import RunConfig
from mnist_scaling.study.columns import column_of
from mnist_scaling.study.records import WANTED
from mnist_scaling.study.vocabulary import COMPLETE, TRIAL
from mnist_scaling.tuning.cell.cell_study import Ask
from mnist_scaling.tuning.cell.cell_tuner import CellTuner, Effort
from mnist_scaling.tuning.grid import partitioning
from mnist_scaling.tuning.grid.partitioning import Cell
from mnist_scaling.tuning.sweep.ledger import Ledger
from mnist_scaling.tuning.sweep.tuner import Tuner
from mnist_scaling.tuning.workers.job import Job

Seconds = Callable[[Job], float]
"""How long a job takes."""

Loss = Callable[[Job], float]
"""The validation loss of a run."""


def composed(overrides: Sequence[str] = ()) -> DictConfig:
    """The train config, with Hydra's own node."""
    with initialize_config_dir(cli.conf_dir()):
        return compose("train", list(overrides), return_hydra_config=True)


def cells(cost: Callable[[RunConfig], float], *axes: str) -> list[Cell]:
    """The cells of a sweep.

    Parameters
    ----------
    cost : callable
        Predicted seconds of a run.
    *axes : str
        Overrides such as ``model.width=8,16``.
    """
    space = config.flatten(composed()["search_space"])
    return partitioning.cells(partitioning.partition(axes, space), composed, cost)


@dataclass(frozen=True)
class Outcome:
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


class _Study:
    """In place of `CellStudy`: it counts trials, and its settings are all the same."""

    widened: Mapping[str, Any] = {}
    plan: Mapping[str, Any] = {}
    study_name = ""

    def __init__(self, cell: Cell) -> None:
        self.cell, self.space, self.study = cell, cell.space, self
        self.neighbour_trials: Any = None
        self.opened, self._asked, self._told = False, 0, 0

    def open(self, transferred: Sequence[Mapping[str, Any]] = ()) -> None:
        self.opened = True

    def counted(self) -> int:
        return self._told

    def next_index(self) -> int:
        return self._asked

    def untouched_from(self, index: int) -> bool:
        return self._asked <= index

    def ask(self, together: int = 1) -> Ask:
        self._asked += 1
        return Ask(self._asked - 1, self._asked - 1, {}, "")

    def tell(self, *told: Any, **options: Any) -> None:
        self._told += 1


class _Ledger(Ledger):
    """Rows in memory: every run is complete."""

    def __init__(self, folder: Path, loss: Loss) -> None:
        super().__init__(folder)
        self.loss = loss

    def put(self, job: Job) -> None:
        row = {column_of(key): job.params.get(key) for key in job.cell.space}
        row |= {WANTED: [], "state": COMPLETE, "seed": job.seed}
        row |= {"stage": job.stage, "number": job.index, "val_loss": self.loss(job)}
        path = self.folder / job.folder
        self._cells.setdefault(path.parent, {})[path] = row

    def row(self, job: Job) -> dict[str, Any] | None:
        path = self.folder / job.folder
        return self._cells.get(path.parent, {}).get(path)

    def make_room(self, job: Job) -> None:
        pass


@dataclass
class Pool:
    """Workers that take no real time: `wait` turns the clock to the end of the next job.

    Like `pools.remote`, it asks for a job per free worker. What it is given beyond that waits for the next free one.
    """

    n: int
    seconds: Seconds
    isolates = True
    clock: float = 0.0
    work: float = 0.0
    longest: float = 0.0
    running: list[tuple[float, int, Job]] = field(default_factory=list)
    queue: deque[Job] = field(default_factory=deque)
    passing: Callable[[float, int], None] = lambda seconds, idle: None
    ended: Callable[[Job], None] = lambda job: None
    _order: Iterator[int] = field(default_factory=itertools.count)

    def free(self) -> int | None:
        return self.n - len(self.running) - len(self.queue)

    def workers(self) -> int | None:
        return self.n

    def submit(self, job: Job) -> None:
        self.queue.append(job)
        self._start()

    def _start(self) -> None:
        while self.queue and len(self.running) < self.n:
            job = self.queue.popleft()
            seconds = self.seconds(job)
            self.work += seconds
            self.longest = max(self.longest, seconds)
            heapq.heappush(self.running, (self.clock + seconds, next(self._order), job))

    def wait(self, seconds: float) -> list[tuple[Job, str | None]]:
        del seconds
        end, _, job = self.running[0]
        self.passing(end - self.clock, self.n - len(self.running))
        heapq.heappop(self.running)
        self.clock = end
        self._start()
        for part in (job,):
            self.ended(part)
        return [(job, None)]

    def __enter__(self) -> Pool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


class _Replay(Tuner):
    """The shipped tuner without tables, progress and importances, which take none of the workers' time."""

    def run(self) -> None:
        while self._fill():
            self._settle(self._wait())

    def waiting(self) -> tuple[int, int]:
        """Trials that idle workers could begin, were it not for parents, and were it not for their own round."""
        parents = rounds = 0
        for cell in self.cells.values():
            asked = sum(job.stage == TRIAL for job in cell.running)
            if not cell.study.opened:
                parents += min(self.effort.trials_per_batch, self.effort.n_trials)
            elif asked:
                rounds += cell.trials_left - asked
        return parents, rounds

    def _certify(self, cell: Any) -> None:
        pass

    def _show(self, job: Job) -> None:
        pass


def _ended(cell: CellTuner, ledger: _Ledger, job: Job) -> None:
    """`CellTuner.ended`, where no record lies on disk."""
    cell.running = [other for other in cell.running if (other.stage, other.index) != (job.stage, job.index)]
    if job.stage == TRIAL:
        cell.study.study.tell(job.number, ledger.loss(job))
        cell._left = None


def replay(
    given: Sequence[Cell],
    workers: int,
    seconds: Seconds,
    effort: Effort,
    rule: str,
    make_study: Callable[[Cell], Any] = _Study,
    loss: Loss = lambda job: 1.0,
) -> tuple[Outcome, Ledger]:
    """Replay a study; what came of the clock, and the rows of its runs.

    Parameters
    ----------
    given : sequence of Cell
    workers : int
    seconds : callable
    effort : Effort
        Without `widen` where the studies are not Optuna's.
    rule : {"neighbours", "independent"}
    make_study : callable
        A cell's study, such as the shipped `CellStudy`; one that only counts its trials unless given.
    loss : callable
    """
    pool = Pool(workers, seconds)
    lost = [0.0, 0.0]
    with tempfile.TemporaryDirectory() as name:
        tuner = _Replay(Path(name), [make_study(cell) for cell in given], pool, effort, rule)
        ledger = tuner.ledger = _Ledger(Path(name), loss)
        for cell in tuner.cells.values():
            cell._ledger = ledger
            cell.ended = partial(_ended, cell, ledger)  # type: ignore[method-assign]
            cell.write = lambda **more: None  # type: ignore[method-assign]

        def passing(seconds: float, idle: int) -> None:
            if idle and seconds:
                for place, waiting in enumerate(tuner.waiting()):
                    taken = min(waiting, idle)
                    lost[place] += taken * seconds
                    idle -= taken

        pool.passing, pool.ended = passing, ledger.put
        tuner.run()
    return Outcome(pool.clock, pool.work, pool.longest, workers, *lost), ledger
