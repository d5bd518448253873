"""Any Hydra launcher as a pool: what was handed over is launched together, and waited for together."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

from mnist_scaling.errors import InputError
from mnist_scaling.tuning.workers import faults
from mnist_scaling.tuning.workers.job import Job

Launch = Callable[[Sequence[Sequence[str]]], Sequence[str | None] | None]
"""Runs jobs, given as lists of Hydra overrides, and returns when all have ended or died: their errors, where known."""


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

    def workers(self) -> int | None:
        """Unknown: it is the launcher's."""
        return None

    def submit(self, job: Job) -> None:
        """Put a job into the next round."""
        self._jobs.append(job)

    def wait(self, seconds: float) -> list[tuple[Job, str | None]]:
        """Run the round.

        Raises
        ------
        InputError
            When the launcher has started nothing.
        """
        del seconds  # a launcher says nothing before its batch is done
        jobs, self._jobs = self._jobs, []
        for job in jobs:
            with contextlib.suppress(OSError):  # what an earlier attempt has left in it is none of ours
                (self._folder / job.folder).rmdir()
        try:
            errors = self._launch([job.overrides for job in jobs]) or [None] * len(jobs)
        except Exception as error:
            # A dead worker takes the whole batch's returns with it; records tell what was done, and of a run
            # without one this is all that is known. If no run has as much as its folder, the launcher is at fault.
            if not any((self._folder / job.folder).exists() for job in jobs):
                raise _no_start(error) from error
            text = faults.as_text(error)
            errors = [text if faults.is_text(text) else f"the launcher ended with {text}"] * len(jobs)
        return list(zip(jobs, errors, strict=True))

    def __enter__(self) -> Rounds:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


def _no_start(error: Exception) -> InputError:
    reason = str(error).strip().splitlines() or [""]
    return InputError(
        f"A launcher must be able to start runs, but `hydra/launcher` ends with {type(error).__name__}: {reason[0]}; "
        "install or mend what it needs, or take another one: without `hydra/launcher` a study runs on this machine."
    )
