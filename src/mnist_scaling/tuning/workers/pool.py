"""What a pool is to the tuner: a place where the jobs of a study run."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol

from mnist_scaling.tuning.workers.job import Job


class Pool(Protocol):
    """Runs jobs; what a job did is in its record, not in what the pool returns."""

    isolates: bool
    """Whether a job that kills its process takes no other job with it."""

    def free(self) -> int | None:
        """How many jobs to hand over now; None for any number."""
        ...

    def workers(self) -> int | None:
        """Runs that go on side by side without slowing each other, for the time that is left; None where unknown."""
        ...

    def submit(self, job: Job) -> None:
        """Hand over a job."""
        ...

    def wait(self, seconds: float) -> list[tuple[Job, str | None]]:
        """Jobs that ended, or died, each with its error if it left one; may be empty after `seconds`."""
        ...

    def __enter__(self) -> Pool:
        """Ready for jobs."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """No job is running any more."""
        ...
