"""Launchers, Hydra plugins: every core of this machine, Dask, Ray. Imported by every Hydra app, so it is light."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from mnist_scaling.errors import InputError

GPU_MEMORY = 2**31
"""Bytes of a GPU's memory that each process on it is given room for: CUDA's own part, and a small network's run."""

_NVIDIA = Path("/dev/nvidiactl")
"""What Linux has where there is a GPU of NVIDIA's."""

if TYPE_CHECKING:
    from mnist_scaling.tuning.task import Values
    from mnist_scaling.tuning.workers.cluster import ClusterClient
    from mnist_scaling.tuning.workers.job import Application, Workers


class LocalLauncher(Launcher):
    """Worker processes on this machine; parameters are documented in conf/hydra/launcher/local.yaml."""

    def __init__(self, n_workers: int | None = None) -> None:
        if n_workers is not None and (not isinstance(n_workers, int) or n_workers < 1):
            raise InputError(
                "`hydra.launcher.n_workers` must be a whole number of 1 or more, or null for one per core, but got "
                f"{n_workers}."
            )
        self.n_workers = n_workers

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what the workers will need."""
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def count(self) -> int:
        """Processes: as many as were asked for, else one per core, as far as the GPUs have room for them."""
        from mnist_scaling.tuning.workers import local

        if self.n_workers is not None:
            return self.n_workers
        if not self.gpus:
            return local.cores()
        import torch

        devices = range(torch.cuda.device_count())
        room = sum(int(torch.cuda.get_device_properties(i).total_memory) // GPU_MEMORY for i in devices)
        return max(1, min(local.cores(), room))

    def check(self, runs: Sequence[Values]) -> None:
        """Refuse, before anything is trained, what this machine can't train."""
        for run in runs:
            self.application().task.check(run)

    def expected_workers(self) -> int | None:
        """Workers before there are any; None where only a cluster that runs already knows."""
        return self.count()

    def workers(self) -> Workers:
        """The processes."""
        from mnist_scaling.tuning.workers.local import LocalWorkers

        return LocalWorkers(self.application(), self.count(), self.gpus)

    def application(self) -> Application:
        """What the workers run."""
        from mnist_scaling.tuning.workers.job import Application

        return Application(self.hydra_context, self.config, self.task_function)

    @functools.cached_property
    def gpus(self) -> list[str]:
        """The GPUs that the runs of this study may train on, as CUDA_VISIBLE_DEVICES names them.

        torch is asked only where there seems to be one, because its import takes a second.
        """
        named = os.environ.get("CUDA_VISIBLE_DEVICES")
        if str(self.config.get("device", "auto")) not in ("auto", "cuda") or not _NVIDIA.exists() or named == "":
            return []
        import torch

        if not torch.cuda.is_available():
            return []
        return named.split(",") if named else [str(i) for i in range(torch.cuda.device_count())]

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Refuse a sweeper that runs batches: ours takes the `workers`, and hands them one job after another."""
        raise InputError(
            "This launcher must be run by `hydra/sweeper=cells`, but another sweeper calls it: leave `hydra/sweeper` "
            "out, or take another `hydra/launcher`."
        )


class _ClusterLauncher(LocalLauncher):
    """What Dask and Ray have in common; parameters are documented in conf/hydra/launcher/, `own` are the engine's."""

    package, extra = "", ""
    """What it needs, and the extra of this package that brings it."""

    def __init__(self, address: str | None = None, n_workers: int | None = None, **own: Any) -> None:
        super().__init__(n_workers=n_workers)
        self.address, self.own = address, own

    def check(self, runs: Sequence[Values]) -> None:
        """Refuse a cluster whose package is not installed; which devices its workers have, only they know."""
        if find_spec(self.package) is None:
            raise InputError(
                f"`hydra/launcher={self.extra}` needs the package {self.package}, which is not installed: run "
                f"`pip install 'mnist-scaling[{self.extra}]'`."
            )

    def expected_workers(self) -> int | None:
        """Those of a cluster that is started here, or as many as were named."""
        return self.count() if self.address is None or self.n_workers is not None else None

    def workers(self) -> Workers:
        """The cluster's workers."""
        from mnist_scaling.tuning.workers.cluster import ClusterWorkers

        self.check(())
        return ClusterWorkers(self.application(), self.client())

    def client(self) -> ClusterClient:
        """What carries jobs to them."""
        raise NotImplementedError


class DaskLauncher(_ClusterLauncher):
    """Workers of Dask; `cluster` is a node of the kind that is started."""

    package, extra = "distributed", "dask"

    def client(self) -> ClusterClient:
        """A client of the scheduler."""
        from mnist_scaling.tuning.workers.cluster import Dask

        kind = self.own.get("cluster")
        return Dask(self.address, self.count(), None if kind is None else functools.partial(instantiate, kind))


class RayLauncher(_ClusterLauncher):
    """Workers of Ray; `init` are further arguments of ray.init."""

    package, extra = "ray", "ray"

    def client(self) -> ClusterClient:
        """A driver of the cluster."""
        from mnist_scaling.tuning.workers.cluster import Ray

        options: Any = OmegaConf.to_container(OmegaConf.create(self.own.get("init") or {}), resolve=True)
        return Ray(self.address, self.count(), options)
