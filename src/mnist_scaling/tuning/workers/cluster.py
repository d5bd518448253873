"""Workers of a cluster (Dask, Ray): one job per free worker, wherever that worker is."""

from __future__ import annotations

import functools
import threading
from concurrent.futures import Future
from typing import Protocol

from mnist_scaling.errors import InputError
from mnist_scaling.tuning.workers import faults
from mnist_scaling.tuning.workers.job import Application, Job, Outcome, Packer, Parcel, Workers, loaded, packed
from mnist_scaling.tuning.workers.perform import perform

_STARTS = 2
"""How often a job is handed over whose worker was lost: it may have died before it began, and a setting that kills its
worker must not kill many."""

_ONE_AT_A_TIME = threading.Lock()
"""torch's random state belongs to the process, so that a worker with several threads still runs one job at a time."""


class ClusterClient(Protocol):
    """What carries jobs to a cluster's workers: a client of Dask or of Ray."""

    def submit(self, task: bytes, parcel: Parcel) -> Future[Outcome]:
        """Have some worker `carry_out` a job, once.

        The future raises `faults.MachineError` when the cluster itself is gone, and another error when the worker is.
        """
        ...

    def workers(self) -> int:
        """Workers there are at the moment; 0 once the cluster is gone."""
        ...

    def close(self) -> None:
        """End what is still running and what was started here."""
        ...


def carry_out(task: bytes, parcel: Parcel) -> Outcome:
    """Run a job here, in a worker."""
    with _ONE_AT_A_TIME:
        found = _loaded(task)
        return found if isinstance(found, Outcome) else perform(parcel, found)


_loaded = functools.lru_cache(maxsize=1)(loaded)


class ClusterWorkers(Workers):
    """A cluster's workers, whether or not they share the study's folder with the sweep; they close the client."""

    def __init__(self, application: Application, client: ClusterClient) -> None:
        self._task = packed(application.task)
        self._packer, self._client = Packer(application, far=True), client
        self._open: set[Future[Outcome]] = set()

    def room(self) -> int:
        """Workers without a job: a job that waited at a worker would die with the worker's own one."""
        return self.count() - len(self._open)

    def count(self) -> int:
        """Those of the cluster."""
        return max(self._client.workers(), 1)

    def submit(self, job: Job) -> Future[Outcome]:
        """Hand a job to the client."""
        future: Future[Outcome] = Future()
        self._open.add(future)
        future.add_done_callback(self._open.discard)
        parcel = self._packer.pack(job)
        if isinstance(parcel, Outcome):
            future.set_result(parcel)
        else:
            self._start(future, parcel, 1)
        return future

    def _start(self, future: Future[Outcome], parcel: Parcel, starts: int) -> None:
        def settle(done: Future[Outcome]) -> None:
            error = done.exception()
            if error is None:
                future.set_result(done.result())
            elif isinstance(error, faults.MachineError):  # the cluster is gone: the sweep is resumed, or ends
                future.set_result(Outcome(None, faults.as_text(error)))
            elif starts < _STARTS:
                self._start(future, parcel, starts + 1)
            else:
                future.set_result(Outcome(None, f"its worker was lost: {faults.as_text(error)}"))

        try:
            self._client.submit(self._task, parcel).add_done_callback(settle)
        except Exception as error:
            future.set_result(Outcome(None, faults.as_text(error)))

    def close(self) -> None:
        """End what is running, and the client."""
        self._client.close()


def missing(package: str, extra: str) -> InputError:
    """The sentence for a cluster whose package is not installed."""
    return InputError(
        f"`hydra/launcher={extra}` needs the package {package}, which is not installed: run "
        f"`pip install 'mnist-scaling[{extra}]'`."
    )
