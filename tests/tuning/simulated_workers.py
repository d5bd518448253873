"""Workers for the crash simulator: jobs end in random order, and some of their processes die."""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

from mnist_scaling.config import from_values
from mnist_scaling.study import layout
from mnist_scaling.study.columns import TrainResult
from mnist_scaling.tuning.task import Report, Values
from mnist_scaling.tuning.workers.job import Job, Outcome, Parcel
from mnist_scaling.tuning.workers.perform import perform

from . import analytic_training
from .helpers import Trains

DYING = 0.15
"""Share of first attempts whose process dies."""


class Analytic(Trains):
    """Training that is a formula; `started` is called with the folder of each run."""

    def __init__(self, started: Callable[[Path], None]) -> None:
        super().__init__()
        self._started = started

    def train(self, values: Values, report: Report | None, folder: Path) -> TrainResult:
        self._started(folder)
        return analytic_training.train(from_values(values), report)


class Workers:
    """So many jobs at a time, of which any may be the next to end.

    Parameters
    ----------
    folder : Path
        The study's.
    rng : random.Random
        Which job ends next, and which processes die.
    started : callable
        Called with the folder of each run.
    deadly : bool
        Whether some processes die; those of second attempts never do.
    n : int
    """

    isolates = True

    def __init__(
        self, folder: Path, rng: random.Random, started: Callable[[Path], None], deadly: bool, n: int = 3
    ) -> None:
        self._folder, self._rng, self._task = folder, rng, Analytic(started)
        self._deadly, self._n = deadly, n
        self._jobs: list[tuple[Job, Future[Outcome]]] = []
        self.killed = 0
        self.recorded = 0
        """Runs whose record a worker wrote, which is the sweep's to do."""

    def room(self) -> int | None:
        """As much as the workers of this machine have: one job waits."""
        return self._n + 1 - len(self._jobs)

    def count(self) -> int | None:
        return None

    def submit(self, job: Job) -> Future[Outcome]:
        """Put a job behind the others."""
        future: Future[Outcome] = Future()
        self._jobs.append((job, future))
        return future

    def flush(self) -> None:
        """End one of the jobs that are under way."""
        job, future = self._jobs.pop(self._rng.randrange(min(self._n, len(self._jobs))))
        if self._deadly and not job.is_second_attempt and self._rng.random() < DYING:
            self.killed += 1
            future.set_result(Outcome(None, "its process died"))
            return
        assert job.values is not None
        folder = self._folder / job.folder
        folder.mkdir(parents=True, exist_ok=True)
        values = {**job.values, **job.settings, "trial.stage": job.stage}
        outcome = perform(Parcel(job, values, str(folder), {"data.dir": str(self._folder)}), self._task)
        self.recorded += (folder / layout.RESULT).exists()
        future.set_result(outcome)

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *error: object) -> None:
        pass
