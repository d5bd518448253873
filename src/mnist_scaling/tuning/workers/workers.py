"""What a place where jobs run is to the sweep, whatever stands behind it."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol

from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from mnist_scaling.tuning import task
from mnist_scaling.tuning.task import Task
from mnist_scaling.tuning.workers.job import Job, Outcome


@dataclass(frozen=True)
class Application:
    """The Hydra application whose runs these are."""

    context: HydraContext
    config: DictConfig
    main: TaskFunction

    @property
    def task(self) -> Task:
        """What it trains."""
        return task.of(self.main)

    @property
    def folder(self) -> Path:
        """The study's folder, absolute."""
        return Path(str(self.config.hydra.sweep.dir)).absolute()


class Workers(Protocol):
    """Runs jobs: this machine's processes, an engine's workers, or rounds of any Hydra launcher."""

    isolates: bool
    """Whether a job that kills its process takes no other job with it."""

    def room(self) -> int | None:
        """How many jobs to hand over now; None for any number."""
        ...

    def count(self) -> int | None:
        """Runs that go on side by side, for the time that is left; None where unknown."""
        ...

    def submit(self, job: Job) -> Future[Outcome]:
        """Hand over a job; its future has an outcome whatever happens, and never an exception."""
        ...

    def flush(self) -> None:
        """Run what was handed over, together, where jobs go in rounds; elsewhere nothing is left to do."""
        ...

    def __enter__(self) -> Workers:
        """Ready for jobs."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """No job is running any more."""
        ...
