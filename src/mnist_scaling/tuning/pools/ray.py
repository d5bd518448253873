"""Ray's workers: those of a cluster that runs already, or one started on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

from mnist_scaling.errors import InputError
from mnist_scaling.tuning.pools import remote
from mnist_scaling.tuning.pools.remote import Task


class Ray:
    """A driver of Ray.

    Parameters
    ----------
    address : str or None
        ``auto`` or a cluster's address; None starts one on this machine.
    n_workers : int
        Processors of a cluster that is started here.
    init : mapping
        Further arguments of ``ray.init``.

    Raises
    ------
    InputError
        When Ray is not installed or no cluster answers.
    """

    def __init__(self, address: str | None, n_workers: int, init: Mapping[str, Any]) -> None:
        try:
            import ray
        except ImportError as error:
            raise remote.missing("ray", "ray") from error
        self._ray: Any = ray
        # "local" starts a cluster, even where RAY_ADDRESS or an earlier cluster's file names another one.
        where = {"address": "local", "num_cpus": n_workers} if address is None else {"address": address}
        try:
            ray.init(**where, include_dashboard=False if address is None else None, log_to_driver=False, **init)
        except (ConnectionError, ValueError, RuntimeError) as error:
            reason = str(error).strip().splitlines()[0]
            raise InputError(
                f"`hydra.launcher.address` must be a Ray cluster's that runs, or null to start one, but got {address}: "
                f"{reason}"
            ) from error
        # A task that is tried again by Ray would be the same trial a second time; the sweep decides that.
        self._run: Any = ray.remote(num_cpus=1, max_retries=0)(_call)
        self._running: dict[Future[str | None], Any] = {}

    def submit(self, task: Task) -> Future[str | None]:
        """Run a task once."""
        running = self._run.remote(task)
        answer: Future[str | None] = running.future()
        self._running = {future: ref for future, ref in self._running.items() if not future.done()}
        self._running[answer] = running
        return answer

    def workers(self) -> int:
        """Processors of the cluster."""
        return int(self._ray.cluster_resources().get("CPU", 0))

    def hosts(self) -> set[str]:
        """Names of the nodes' hosts."""
        return {str(node["NodeManagerHostname"]) for node in self._ray.nodes() if node["Alive"]}

    def close(self) -> None:
        """End what is still running, and a cluster that was started here."""
        for ref in self._running.values():
            self._ray.cancel(ref, force=True)
        self._ray.shutdown()


def _call(task: Task) -> object:
    return task()
