"""Ray's workers: those of a cluster that runs already, or one started on this machine."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

from mnist_scaling.errors import InputError
from mnist_scaling.tuning.workers import cluster
from mnist_scaling.tuning.workers.faults import MachineError
from mnist_scaling.tuning.workers.job import Outcome, Parcel


class Ray:
    """A driver of the cluster at an address, or of one that is started here with further arguments `init`.

    Ray ends a driver whose node or head is gone, and so the sweep: the same command goes on.
    """

    def __init__(self, address: str | None, n_workers: int, init: Mapping[str, Any]) -> None:
        try:
            import ray
        except ImportError as error:
            raise cluster.missing("ray", "ray") from error
        # "local" starts a cluster, even where RAY_ADDRESS or an earlier cluster's file names another one.
        where = {"address": "local", "num_cpus": n_workers} if address is None else {"address": address}
        options = {**where, "include_dashboard": False if address is None else None, "log_to_driver": False, **init}
        try:
            ray.init(**options)
        except (ConnectionError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
            reason = str(error).strip().splitlines()[0]
            raise InputError(
                f"`hydra.launcher.address` must be a Ray cluster's that runs, or null to start one, but got {address}: "
                f"{reason}"
            ) from MachineError(f"no Ray cluster at {address} answers: {reason}")
        self._ray: Any = ray
        # A task that is tried again by Ray would be the same trial a second time; the sweep decides that.
        self._run: Any = ray.remote(num_cpus=1, max_retries=0)(cluster.carry_out)

    def submit(self, task: bytes, parcel: Parcel) -> Future[Outcome]:
        """Run a job once."""
        found: Future[Outcome] = self._run.remote(task, parcel).future()
        return found

    def workers(self) -> int:
        """Processors of the cluster; 0 once it is gone."""
        with contextlib.suppress(self._ray.exceptions.RayError):
            return int(self._ray.cluster_resources().get("CPU", 0))
        return 0

    def close(self) -> None:
        """End what is still running, and a cluster that was started here."""
        self._ray.shutdown()
