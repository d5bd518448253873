"""Workers of a cluster engine (Dask, Ray, Slurm) as a pool: one job per free worker, each answered through a future."""

from __future__ import annotations

import functools
import hashlib
import os
import socket
import threading
from concurrent.futures import FIRST_COMPLETED, Future, wait
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import cloudpickle
from hydra.core.singleton import Singleton
from hydra.core.utils import setup_globals

from mnist_scaling.errors import InputError
from mnist_scaling.study import files
from mnist_scaling.tuning import trainer
from mnist_scaling.tuning.grid.partitioning import Cell
from mnist_scaling.tuning.workers import apart, faults, hydra_job
from mnist_scaling.tuning.workers.apart import Answer, Luggage, Token
from mnist_scaling.tuning.workers.hydra_job import Application
from mnist_scaling.tuning.workers.job import Job

_STARTS = 5
"""How often a job is handed over that its worker's death kept from starting."""

_STARTS_APART = 2
"""The same where no shared folder shows whether it had started: a setting that kills its worker must not kill many."""

_ONE_AT_A_TIME = threading.Lock()
"""Hydra's state belongs to the process, so that a worker with several threads still runs one job at a time."""


class Engine(Protocol):
    """What carries jobs to workers: a client of Dask, of Ray or of Slurm."""

    def submit(self, task: Task) -> Future[Any]:
        """Run a task once on any worker; the future has the task's `Answer`.

        It raises `faults.MachineError` when the cluster itself is gone, and another error when the worker is.
        """
        ...

    def workers(self) -> int:
        """Workers there are at the moment; 0 once the cluster is gone."""
        ...

    def close(self) -> None:
        """End what is still running and what was started here."""
        ...


class Task:
    """A job as it travels: the application once, pickled; then what differs from job to job.

    Parameters
    ----------
    application : bytes
        Pickle of an `Application` and Hydra's singletons.
    job : Job
    number : int
        Hydra's number of the job.
    token : Token
        By which the worker knows that it shares the study's folder.
    luggage : Luggage or None
        For a worker that need not share it.
    """

    def __init__(self, application: bytes, job: Job, number: int, token: Token, luggage: Luggage | None) -> None:
        self._application, self._token, self._luggage = application, token, luggage
        # The sweep's process may be another host's: a cluster's worker that outlives it is told so by its storage.
        self._settings = {**job.settings, "trial.owner": None}
        self._cell, self._overrides, self._number = job.cell.overrides, job.overrides, number
        self._folder = os.getcwd()  # noqa: PTH109, a plain string travels

    def __call__(self) -> Answer:
        """Run the job here, in a worker."""
        if self._luggage is None and (reason := self._token.why_apart()) is not None:
            return Answer(apart=reason)
        with _ONE_AT_A_TIME:
            try:
                application = _load(hashlib.sha256(self._application).hexdigest(), _Opaque(self._application))
                if self._luggage is not None:
                    trains = trainer.of(application.task)
                    return self._luggage.run(trains, self._settings, self._overrides, self._number)
                os.chdir(self._folder)
            except Exception as error:
                return Answer(faults.as_text(error))
            return Answer(hydra_job.run(self._cell, self._settings, self._overrides, self._number))


class _Opaque:
    """Bytes that are equal to all others, so that a cache is asked by their checksum."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Opaque)

    def __hash__(self) -> int:
        return 0


@functools.lru_cache(maxsize=1)
def _load(checksum: str, application: _Opaque) -> Application:
    """Make this process a worker of an application."""
    del checksum
    setup_globals()
    unpickled: Application
    unpickled, singletons = cloudpickle.loads(application.data)
    Singleton.set_state(singletons)
    hydra_job.serve(unpickled)
    return unpickled


class Remote:
    """A cluster's workers, whether or not they share the study's folder with the sweep.

    A job is first handed over as one that writes into that folder. The first worker that can't do so says why, and
    from then on every job takes along what it needs, and its records come back through its future (`apart`).

    Parameters
    ----------
    application : Application
    engine : Engine
        Opened by the caller, and closed with the pool.
    folder : Path
        The study's.
    one_host : bool
        Whether the study's storage is a file that only one host may write to.
    """

    isolates = True

    def __init__(self, application: Application, engine: Engine, folder: Path, one_host: bool) -> None:
        self._pickled = cloudpickle.dumps((application, Singleton.get_state()))
        self._application, self._engine, self._folder = application, engine, folder
        self._token = Token(folder.absolute(), only_host=socket.gethostname() if one_host else None)
        self._jobs: dict[Future[Any], tuple[Job, int]] = {}
        self._configs: dict[tuple[str, ...], bytes] = {}
        self._launched = 0
        self._apart, self._said = False, False

    def free(self) -> int | None:
        """Workers without a job: a job that waited at a worker would die with the worker's own one."""
        return max(self._engine.workers(), 1) - len(self._jobs)

    def workers(self) -> int:
        """Those of the engine."""
        return max(self._engine.workers(), 1)

    def submit(self, job: Job) -> None:
        """Hand a job to the engine."""
        self._start(job, 1)

    def wait(self, seconds: float) -> list[tuple[Job, str | None]]:
        """Jobs that ended."""
        done, _ = wait(self._jobs, timeout=seconds, return_when=FIRST_COMPLETED)
        ended: list[tuple[Job, str | None]] = []
        for future in done:
            job, starts = self._jobs.pop(future)
            try:
                answer: Answer = future.result()
            except faults.MachineError as error:  # the cluster is gone: the sweep is resumed, or ends
                ended.append((job, faults.as_text(error)))
                continue
            except Exception as error:  # the engine's own: what a job raises comes as text
                if self._may_start_again(job, starts):
                    self._start(job, starts + 1)
                else:
                    ended.append((job, f"its worker was lost: {faults.as_text(error)}"))
                continue
            self._say(answer)
            if answer.apart is not None:
                self._apart = True
                self._start(job, starts)
                continue
            apart.keep(job, answer, self._folder)
            ended.append((job, answer.error))
        return ended

    def _may_start_again(self, job: Job, starts: int) -> bool:
        """Whether the worker may have died of something else before the job began."""
        if self._apart:
            return starts < _STARTS_APART
        return starts < _STARTS and not (self._folder / job.folder).exists()

    def _start(self, job: Job, starts: int) -> None:
        folder = self._folder / job.folder
        if folder.is_dir() and not any(folder.iterdir()):  # what an earlier attempt has left is none of this one's
            folder.rmdir()
        if not self._launched:
            files.write_atomically(self._token.path, self._token.text)
        luggage = Luggage.of(job, self._config(job.cell)) if self._apart else None
        future = self._engine.submit(Task(self._pickled, job, self._launched, self._token, luggage))
        self._launched += 1
        self._jobs[future] = job, starts

    def _config(self, cell: Cell) -> bytes:
        """A cell's config, composed here."""
        if cell.overrides not in self._configs:
            app = self._application
            composed = app.context.config_loader.load_sweep_config(app.config, list(cell.overrides))
            self._configs[cell.overrides] = cloudpickle.dumps(composed)
        return self._configs[cell.overrides]

    def _say(self, answer: Answer) -> None:
        """Say once of each which way records take."""
        if answer.apart is not None and not self._apart:
            print(f"Note: {answer.apart}, so that records come back to this sweep, which writes them.")
        elif not (self._said or self._apart):
            print(f"Note: the workers share {self._token.folder} and write their records there.")
        self._said = True

    def __enter__(self) -> Remote:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End what is running."""
        self._engine.close()
        if self._launched:  # else the file may be that of a sweep beside which this one was refused
            self._token.path.unlink(missing_ok=True)


def missing(package: str, extra: str) -> InputError:
    """The sentence for an engine whose package is not installed."""
    return InputError(
        f"`hydra/launcher={extra}` needs the package {package}, which is not installed: run "
        f"`pip install 'mnist-scaling[{extra}]'`."
    )


def options(node: Any) -> dict[str, Any]:
    """Keyword arguments from a node of the configuration."""
    from omegaconf import OmegaConf

    found: Any = {} if node is None else OmegaConf.to_container(node, resolve=True)
    return dict(found)
