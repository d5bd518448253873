"""Any Hydra launcher as a pool: what was handed over is launched together, and waited for together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

from mnist_scaling.tuning.job import Job

Launch = Callable[[Sequence[Sequence[str]]], None]
"""Runs jobs, given as lists of Hydra overrides, and returns when all have ended or died."""


class Rounds:
    """Any Hydra launcher: what was handed over is launched together, and waited for together.

    Parameters
    ----------
    launch : callable
    folder : Path
        The study's, to tell a launcher that started nothing.
    """

    isolates = False

    def __init__(self, launch: Launch, folder: Path) -> None:
        self._launch, self._folder = launch, folder
        self._jobs: list[Job] = []

    def free(self) -> int | None:
        """Any number: the launcher has its own queue."""
        return None

    def submit(self, job: Job) -> None:
        """Put a job into the next round."""
        self._jobs.append(job)

    def wait(self, seconds: float) -> list[tuple[Job, str | None]]:
        """Run the round."""
        del seconds  # a launcher says nothing before its batch is done
        jobs, self._jobs = self._jobs, []
        reason = None
        try:
            self._launch([job.overrides for job in jobs])
        except Exception as error:
            # A dead worker takes the whole batch's returns with it; records tell what was done, and of a run
            # without one this is all that is known. If no run has as much as its folder, the launcher is at fault.
            if not any((self._folder / job.folder).exists() for job in jobs):
                raise
            reason = f"the launcher ended with {type(error).__name__}: {error}"
        return [(job, reason) for job in jobs]

    def __enter__(self) -> Rounds:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass
