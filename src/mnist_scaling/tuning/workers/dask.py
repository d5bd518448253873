"""Dask's workers: those of a scheduler that runs already, or a cluster started on this machine."""

from __future__ import annotations

from concurrent.futures import CancelledError, Future
from typing import Any

from mnist_scaling.errors import InputError
from mnist_scaling.tuning.workers import cluster
from mnist_scaling.tuning.workers.faults import MachineError
from mnist_scaling.tuning.workers.job import Outcome, Parcel
from mnist_scaling.tuning.workers.perform import end_when

_CONNECT_SECONDS = 10
"""How long a scheduler may take to answer, at the start and after its connection was lost."""


class Dask:
    """A client of the scheduler at an address, or of a cluster of processes, or of another kind, that is started here.

    `make_cluster` makes one such as ``dask_jobqueue.SLURMCluster``. InputError tells that Dask is not installed, or
    that no scheduler answers.
    """

    def __init__(self, address: str | None, n_workers: int, make_cluster: Any = None) -> None:
        try:
            import dask

            from distributed import Client, LocalCluster
        except ImportError as error:
            raise cluster.missing("distributed", "dask") from error
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
            ) from MachineError(f"no scheduler of Dask answers at {where} ({type(error).__name__})")
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

    def _gone(self, cause: Exception | None = None) -> MachineError:
        error = MachineError(f"the connection to Dask's scheduler at {self._address} was lost")
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
        return cluster.carry_out(task, parcel)
    finally:
        over.set()
