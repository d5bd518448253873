"""Workers to crash: they take turns in one process, in random order, and are killed at random writes."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from mnist_scaling.tuning.stored.channel import Channel
from omegaconf import DictConfig

from mnist_scaling.config import RunConfig, with_values
from mnist_scaling.tuning.workers import execution
from mnist_scaling.tuning.workers.job import Job

from . import analytic_training
from .simulated_disk import Disk, Killed, releases_lock


class _Worker(threading.Thread):
    """A job that runs while it has its turn, from one report to the next.

    Parameters
    ----------
    job : Job
    lifetime : int or None
        Writes after which it is killed.
    """

    def __init__(self, job: Job, lifetime: int | None) -> None:
        super().__init__(daemon=True)
        self.job, self.lifetime = job, lifetime
        self.killed = self.done = self.ended = False
        self.work: Callable[[], None] = lambda: None
        self.error: BaseException | None = None
        self._mine, self._others = threading.Semaphore(0), threading.Semaphore(0)

    def step(self) -> None:
        """Let it run up to its next pause."""
        if not self.is_alive():
            self.start()
        self._mine.release()
        self._others.acquire()

    def pause(self) -> None:
        """Leave the turn to others; called by the job."""
        self._others.release()
        self._mine.acquire()
        if self.ended:
            raise Killed

    def end(self) -> None:
        """Die with the machine."""
        self.ended = True
        if self.is_alive():
            self.step()
            self.join()

    def run(self) -> None:
        """Work; called by the thread."""
        self._mine.acquire()
        try:
            self.work()
        except BaseException as error:
            self.error = error
        self.done = True
        self._others.release()

    def before_write(self, event: str, path: str) -> None:
        """Die here, if it is time; a dead process writes nothing more."""
        if self.lifetime is None:
            return
        self.lifetime -= 1
        # What stands for the lock's expiry, without which all wait for 30 seconds.
        unlocks = releases_lock(event, path) or event == "os.remove"
        if self.lifetime <= 0 and not unlocks:
            self.killed = True
            raise Killed


class Workers:
    """A pool of workers in this process, which take turns in random order.

    Parameters
    ----------
    folder : Path
        The study's.
    pruner : DictConfig or None
    rng : random.Random
        Decides whose turn it is, and who is killed when.
    disk : Disk
    started : callable
        Called with each run and its folder.
    deadly : bool
        Whether some workers are killed; their second attempts never are.
    n : int
        Workers.
    """

    isolates = True

    def __init__(
        self,
        folder: Path,
        pruner: DictConfig | None,
        rng: random.Random,
        disk: Disk,
        started: Callable[[RunConfig, Path], None],
        deadly: bool,
        n: int = 3,
    ) -> None:
        self._folder, self._pruner, self._rng, self._started = folder, pruner, rng, started
        self._deadly, self._n = deadly, n
        self._queue: list[Job] = []
        self._busy: list[_Worker] = []
        self.killed = 0
        disk.before_write = self._before_write

    def free(self) -> int | None:
        """As many as `pools.local.Workers` takes."""
        return self._n + 1 - len(self._queue) - len(self._busy)

    def workers(self) -> int | None:
        return None

    def submit(self, job: Job) -> None:
        """Put a job behind the others."""
        self._queue.append(job)

    def wait(self, seconds: float) -> list[tuple[Job, str | None]]:
        """Let workers take turns until one of them is done."""
        del seconds
        while True:
            while self._queue and len(self._busy) < self._n:
                self._busy.append(self._start(self._queue.pop(0)))
            worker = self._rng.choice(self._busy)
            worker.step()
            if worker.done:
                break
        self._busy.remove(worker)
        worker.join()
        self.killed += worker.killed
        if worker.error is not None and not worker.killed:
            raise worker.error
        return [(worker.job, "its process died" if worker.killed else None)]

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._busy:
            worker.end()

    def _start(self, job: Job) -> _Worker:
        dies = self._deadly and not job.alone and self._rng.random() < 0.15
        worker = _Worker(job, self._rng.randint(1, 40) if dies else None)
        settings = {key: value for key, value in job.settings.items() if not key.startswith("hydra.")}
        run = with_values(job.cell.run, settings)
        trainer = analytic_training.trainer(self._started, worker.pause)
        folder = self._folder / job.folder

        def work() -> None:
            folder.mkdir(parents=True, exist_ok=True)
            execution.work(run, folder, Channel(run.trial, None, self._folder, self._pruner), trainer)

        worker.work = work
        return worker

    def _before_write(self, event: str, path: str) -> None:
        worker = threading.current_thread()
        if isinstance(worker, _Worker):
            worker.before_write(event, path)
