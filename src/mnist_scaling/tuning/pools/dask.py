"""Dask's workers: those of a scheduler that runs already, or a cluster started on this machine."""

from __future__ import annotations

import socket
from concurrent.futures import Future
from typing import Any

from mnist_scaling.errors import InputError
from mnist_scaling.tuning.masking import masked
from mnist_scaling.tuning.pools import remote
from mnist_scaling.tuning.pools.remote import Task

_CONNECT_SECONDS = 20


class Dask:
    """A client of Dask.

    Parameters
    ----------
    address : str or None
        Of a scheduler, such as ``tcp://node1:8786``; None starts a cluster of this machine's processes.
    n_workers : int
        Processes of a cluster that is started here.
    cluster : callable, optional
        Makes a cluster of another kind, such as ``dask_jobqueue.SLURMCluster``; in place of an address.

    Raises
    ------
    InputError
        When Dask is not installed, or no scheduler answers.
    """

    def __init__(self, address: str | None, n_workers: int, cluster: Any = None) -> None:
        try:
            import dask

            from distributed import Client, LocalCluster
        except ImportError as error:
            raise remote.missing("distributed", "dask") from error
        self._cluster: Any = None
        # The scheduler would run a job whose worker died up to three times more; the sweep decides that.
        with dask.config.set({"distributed.scheduler.allowed-failures": 0}):
            if cluster is not None:
                self._cluster = cluster()
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
            raise InputError(
                f"`hydra.launcher.address` must be a Dask scheduler's that runs, but none answers at "
                f"{masked(str(address))}: start one with `dask scheduler`, or mend the address."
            ) from error
        self._running: dict[Future[str | None], Any] = {}

    def submit(self, task: Task) -> Future[str | None]:
        """Run a task once; its name is its own, so that an equal task is no copy of it."""
        answer: Future[str | None] = Future()
        running = self._client.submit(task, pure=False, retries=0, priority=task.cost)

        def settle(done: Any) -> None:
            del self._running[answer]
            try:
                answer.set_result(done.result())
            except BaseException as error:
                answer.set_exception(error)

        self._running[answer] = running
        running.add_done_callback(settle)
        return answer

    def workers(self) -> int:
        """Worker processes that the scheduler knows."""
        return len(self._client.scheduler_info(n_workers=-1)["workers"])

    def hosts(self) -> set[str]:
        """Names of the workers' hosts."""
        return set(self._client.run(socket.gethostname).values())

    def close(self) -> None:
        """Forget what is still running, and end a cluster that was started here."""
        self._client.cancel(list(self._running.values()))
        self._client.close()
        if self._cluster is not None:
            self._cluster.close()
