"""Workers of a cluster of Dask or Ray: one job per free worker, wherever that worker is."""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import threading
from collections.abc import Mapping
from concurrent.futures import CancelledError, Future
from typing import Any, Protocol
from urllib.parse import urlsplit

from mnist_scaling.errors import InputError
from mnist_scaling.tuning.workers import faults
from mnist_scaling.tuning.workers.job import Application, Job, Outcome, Packer, Parcel, Workers, loaded, packed
from mnist_scaling.tuning.workers.perform import end_when, perform

_STARTS = 2
"""How often a job is handed over whose worker was lost: it may have died before it began, and a setting that kills its
worker must not kill many."""

_CONNECT_SECONDS = 10
"""How long a scheduler may take to answer, at the start and after its connection was lost."""

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
        program = _loaded(task)
        return program if isinstance(program, Outcome) else perform(parcel, program)


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


class Dask:
    """A client of the scheduler at an address, or of a cluster of processes, or of another kind, that is started here.

    `make_cluster` makes one such as ``dask_jobqueue.SLURMCluster``. InputError tells that no scheduler answers.
    """

    def __init__(self, address: str | None, n_workers: int, make_cluster: Any = None) -> None:
        import dask

        from distributed import Client, LocalCluster

        self._cluster: Any = None
        # The scheduler would run a job whose worker died up to three times more; the sweep decides that. A scheduler
        # that runs already has a setting of its own (docs/scaling_out.md).
        with dask.config.set({"distributed.scheduler.allowed-failures": 0}):
            if make_cluster is not None:
                self._cluster = make_cluster()
                self._cluster.scale(n_workers)
                print(f"Waiting for the first of {n_workers} workers.", flush=True)
                self._cluster.wait_for_workers(1)
            elif address is None:
                self._cluster = LocalCluster(
                    n_workers=n_workers, threads_per_worker=1, processes=True, dashboard_address=None
                )
        try:
            self._client: Any = Client(self._cluster or address, timeout=_CONNECT_SECONDS, set_as_default=False)
        except OSError as error:
            where = str(address)
            raise InputError(
                f"`hydra.launcher.address` must be a Dask scheduler's that runs, but none answers at {where}: start "
                "one with `dask scheduler`, or mend the address."
            ) from faults.MachineError(f"no scheduler of Dask answers at {where} ({type(error).__name__})")
        self._address = str(address or self._cluster.scheduler_address)
        self._running: dict[Future[Any], Any] = {}

    def submit(self, task: bytes, parcel: Parcel) -> Future[Outcome]:
        """Run a job once; its name is its own, so that an equal job is no copy of it."""
        answer: Future[Outcome] = Future()

        def settle(done: Any) -> None:
            del self._running[answer]
            try:
                answer.set_result(done.result())
            except CancelledError:  # nobody cancels a task that is waited for, but a client whose scheduler is gone
                answer.set_exception(self._gone())
            except BaseException as error:
                answer.set_exception(error)

        try:
            self._running[answer] = self._client.submit(_carry_out, task, parcel, pure=False, retries=0)
            self._running[answer].add_done_callback(settle)
        except Exception as error:
            if self._client.status == "running":
                raise
            answer.set_exception(self._gone(error))
        return answer

    def workers(self) -> int:
        """Worker processes that the scheduler knows; 0 while it does not answer."""
        if self._client.status != "running":
            return 0
        try:
            return len(self._client.scheduler_info(n_workers=-1)["workers"])
        except OSError:
            return 0

    def close(self) -> None:
        """Forget what is still running, which ends it, and end a cluster that was started here."""
        if self._client.status == "running":
            self._client.cancel(list(self._running.values()))
        self._client.close()
        if self._cluster is not None:
            self._cluster.close()

    def _gone(self, cause: Exception | None = None) -> faults.MachineError:
        error = faults.MachineError(f"the connection to Dask's scheduler at {self._address} was lost")
        error.__cause__ = cause
        return error


def _carry_out(task: bytes, parcel: Parcel) -> Outcome:
    """Run a job in a worker, which ends with it once the sweep has gone."""
    from distributed import get_worker

    worker = get_worker()
    key = worker.get_current_task()

    def is_gone() -> bool:
        known = worker.state.tasks.get(key)
        return (known is None or known.state == "cancelled") and bool(worker.nanny)  # which starts another process

    over = end_when(is_gone)
    try:
        return carry_out(task, parcel)
    finally:
        over.set()


class Ray:
    """A driver of the cluster at an address, or of one that is started here with further arguments `init`.

    Ray ends a driver whose node or head is gone, and so the sweep: the same command goes on.
    """

    def __init__(self, address: str | None, n_workers: int, init: Mapping[str, Any]) -> None:
        import ray

        # "local" starts a cluster, even where RAY_ADDRESS or an earlier cluster's file names another one.
        where = {"address": "local", "num_cpus": n_workers} if address is None else {"address": address}
        options = {**where, "include_dashboard": False if address is None else None, "log_to_driver": False, **init}
        try:
            _knock(os.environ.get("RAY_ADDRESS", "auto") if address == "auto" else address or "")
            ray.init(**options)
        except (OSError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
            reason = str(error).strip().splitlines()[0]
            raise InputError(
                f"`hydra.launcher.address` must be a Ray cluster's that runs, or null to start one, but got {address}: "
                f"{reason}"
            ) from faults.MachineError(f"no Ray cluster at {address} answers: {reason}")
        except Exception as error:  # a bare one, where a busy machine takes more than 30 s to start a node
            raise faults.MachineError(f"Ray did not start: {str(error).strip()}") from error
        self._ray: Any = ray
        # A task that is tried again by Ray would be the same trial a second time; the sweep decides that.
        self._run: Any = ray.remote(num_cpus=1, max_retries=0)(carry_out)

    def submit(self, task: bytes, parcel: Parcel) -> Future[Outcome]:
        """Run a job once."""
        return self._run.remote(task, parcel).future()  # type: ignore[no-any-return]

    def workers(self) -> int:
        """Processors of the cluster; 0 once it is gone."""
        with contextlib.suppress(self._ray.exceptions.RayError):
            return int(self._ray.cluster_resources().get("CPU", 0))
        return 0

    def close(self) -> None:
        """End what is still running, and a cluster that was started here."""
        self._ray.shutdown()


def _knock(address: str) -> None:
    """OSError unless something listens at a host:port: Ray itself tries for 200 s, and then ends the process."""
    where = urlsplit(f"//{address}") if "://" not in address else None  # ray://… gives up by itself
    if where and where.port:
        socket.create_connection((where.hostname, where.port), timeout=_CONNECT_SECONDS).close()
