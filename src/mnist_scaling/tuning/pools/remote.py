"""Workers of a cluster engine (Dask, Ray) as a pool: one job per free worker, each answered through a future."""

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
from mnist_scaling.tuning import faults
from mnist_scaling.tuning.job import Job
from mnist_scaling.tuning.pools import local
from mnist_scaling.tuning.pools.local import Application

_STARTS = 5
"""How often a job is handed over that its worker's death kept from starting."""

_ONE_AT_A_TIME = threading.Lock()
"""Hydra's state belongs to the process, so that a worker with several threads still runs one job at a time."""


class Engine(Protocol):
    """What carries jobs to workers: a client of Dask or of Ray."""

    def submit(self, task: Task) -> Future[str | None]:
        """Run a task once on any worker; the future has the job's error as text, or None.

        It raises `faults.MachineError` when the cluster itself is gone, and another error when the worker is.
        """
        ...

    def workers(self) -> int:
        """Workers there are at the moment; 0 once the cluster is gone."""
        ...

    def hosts(self) -> set[str]:
        """Names of the hosts of the workers."""
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
    """

    def __init__(self, application: bytes, job: Job, number: int) -> None:
        self._application = application
        # The sweep's process may be another host's: a cluster's worker that outlives it is told so by its storage.
        self._settings = {**job.settings, "trial.owner": None}
        self._cell, self._overrides, self._number = job.cell.overrides, job.overrides, number
        self._folder = os.getcwd()  # noqa: PTH109, a plain string travels

    def __call__(self) -> str | None:
        """Run the job here, in a worker; its error as text."""
        with _ONE_AT_A_TIME:
            try:
                _load(hashlib.sha256(self._application).hexdigest(), _Opaque(self._application))
                os.chdir(self._folder)
            except Exception as error:
                return faults.as_text(error)
            return local.run(self._cell, self._settings, self._overrides, self._number)


class _Opaque:
    """Bytes that are equal to all others, so that a cache is asked by their checksum."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Opaque)

    def __hash__(self) -> int:
        return 0


@functools.lru_cache(maxsize=1)
def _load(checksum: str, application: _Opaque) -> None:
    """Make this process a worker of an application."""
    del checksum
    setup_globals()
    unpickled, singletons = cloudpickle.loads(application.data)
    Singleton.set_state(singletons)
    local.serve(unpickled)


class Remote:
    """A cluster's workers that share the study's folder with the sweep.

    Parameters
    ----------
    application : Application
    engine : Engine
        Opened by the caller, and closed with the pool.
    folder : Path
        The study's.
    one_host : bool
        Whether the study's storage is a file that only one host may write to.

    Raises
    ------
    InputError
        When workers are on other hosts and the storage is a journal.
    """

    isolates = True

    def __init__(self, application: Application, engine: Engine, folder: Path, one_host: bool) -> None:
        self._application = cloudpickle.dumps((application, Singleton.get_state()))
        self._engine, self._folder = engine, folder
        self._jobs: dict[Future[str | None], tuple[Job, int]] = {}
        self._launched = 0
        others = sorted(engine.hosts() - {socket.gethostname()})
        if one_host and others:
            engine.close()
            raise InputError(
                "A storage that workers of several hosts write to must be a database, because a file on a network "
                f"file system can be damaged by two writers, but there are workers on {', '.join(others)} and "
                "the storage is a file: give `hydra.sweeper.storage=postgresql+psycopg://…`."
            )

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
                ended.append((job, future.result()))
            except faults.MachineError as error:  # the cluster is gone: the sweep is resumed, or ends
                ended.append((job, faults.as_text(error)))
            except Exception as error:  # the engine's own: what a job raises comes as text
                if starts < _STARTS and not (self._folder / job.folder).exists():
                    self._start(job, starts + 1)  # its worker died of something else before the job began
                else:
                    ended.append((job, f"its worker was lost: {faults.as_text(error)}"))
        return ended

    def _start(self, job: Job, starts: int) -> None:
        folder = self._folder / job.folder
        if folder.is_dir() and not any(folder.iterdir()):  # what an earlier attempt has left is none of this one's
            folder.rmdir()
        future = self._engine.submit(Task(self._application, job, self._launched))
        self._launched += 1
        self._jobs[future] = job, starts

    def __enter__(self) -> Remote:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End what is running."""
        self._engine.close()


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
