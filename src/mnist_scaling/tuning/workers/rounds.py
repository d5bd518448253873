"""Any Hydra launcher (joblib, submitit…): what was handed over is launched together, and waited for together.

Such a launcher runs the application itself, given as overrides. The job lies in a file of the run's folder, which all
of the launcher's hosts see, and its outcome comes back in another: a batch that dies loses only the runs without one,
and so does a sweep that is killed, because the next one takes in what the runs of its round have left.
"""

from __future__ import annotations

import pickle
from concurrent.futures import Future
from pathlib import Path

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher

from mnist_scaling.config import literal
from mnist_scaling.errors import InputError
from mnist_scaling.study import files
from mnist_scaling.tuning.task import Task
from mnist_scaling.tuning.workers import faults
from mnist_scaling.tuning.workers.job import Application, Job, Outcome, Packer, Parcel, Workers
from mnist_scaling.tuning.workers.perform import perform

_JOB, _OUTCOME = ".job", ".outcome"
"""Files in a run's folder; the first is gone once the job has begun."""


class Rounds(Workers):
    """The runs of an application through a launcher."""

    isolates = False

    def __init__(self, application: Application, launcher: Launcher) -> None:
        self._packer, self._launcher = Packer(application), launcher
        self._round: list[tuple[Job, Path, Future[Outcome]]] = []
        self._launched = 0

    def submit(self, job: Job) -> Future[Outcome]:
        """Put a job into the next round, unless a round whose sweep was killed has ended it."""
        future: Future[Outcome] = Future()
        parcel = self._packer.pack(job)
        if isinstance(parcel, Outcome):
            future.set_result(parcel)
            return future
        folder = Path(parcel.folder)
        left = _outcome(folder)
        if left is not None and left.record is not None and left.record["config"] == dict(parcel.values):
            future.set_result(left)
            return future
        _write(folder / _JOB, parcel)
        self._round.append((job, folder, future))
        return future

    def flush(self) -> None:
        """Launch the round, wait for all of it, and settle its futures; InputError when nothing was started."""
        jobs, self._round = self._round, []
        if not jobs:
            return
        first, self._launched = self._launched, self._launched + len(jobs)
        try:
            done = self._launcher.launch([_overrides(job) for job, _, _ in jobs], first)
            errors = [_error(one) for one in done]
        except Exception as error:
            # A dead worker takes the whole batch's returns with it. If no job has begun, the launcher is at fault.
            if all((folder / _JOB).exists() for _, folder, _ in jobs):
                raise _no_start(error) from error
            text = faults.as_text(error)
            errors = [text if faults.is_text(text) else f"the launcher ended with {text}"] * len(jobs)
        for (_, folder, future), said in zip(jobs, errors, strict=True):
            (folder / _JOB).unlink(missing_ok=True)
            future.set_result(_outcome(folder) or Outcome(None, said))


def ran_job(folder: Path, task: Task) -> bool:
    """Run the job that lies in a folder; False where none does: no launcher of a round has started the application."""
    if not (folder / _JOB).is_file():
        return False
    parcel: Parcel = pickle.loads((folder / _JOB).read_bytes())
    (folder / _JOB).unlink()
    _write(folder / _OUTCOME, perform(parcel, task))
    return True


def _overrides(job: Job) -> list[str]:
    """A run as Hydra overrides."""
    settings = {**job.settings, "hydra.sweep.subdir": job.folder}
    # The record has the whole config; Hydra's own three files would be two thirds of a study's disk space.
    settings["hydra.output_subdir"] = None
    return [*job.overrides, *(f"{key}={literal(value)}" for key, value in settings.items())]


def _write(path: Path, content: Parcel | Outcome) -> None:
    with files.replacing(path) as file:
        file.write(pickle.dumps(content))


def _outcome(folder: Path) -> Outcome | None:
    """What a job has left in its folder, which is taken out; None where it has left nothing."""
    path = folder / _OUTCOME
    if not path.is_file():
        return None
    outcome: Outcome = pickle.loads(path.read_bytes())
    path.unlink()
    return outcome


def _error(done: JobReturn) -> str | None:
    """What a job raised, as text."""
    try:
        _ = done.return_value
    except Exception as error:
        return faults.as_text(error)
    return None


def _no_start(error: Exception) -> InputError:
    reason = str(error).strip().splitlines() or [""]
    return InputError(
        f"A launcher must be able to start runs, but `hydra/launcher` ends with {type(error).__name__}: {reason[0]}; "
        "install or mend what it needs, or take another one: without `hydra/launcher` a study runs on this machine."
    )
