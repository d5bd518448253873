"""Launchers of clusters, Hydra plugins: Dask, Ray and Slurm. Imported by every Hydra app, so it is light."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.utils import JobReturn
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from mnist_scaling.errors import InputError
from mnist_scaling.tuning.launcher import LocalLauncher

if TYPE_CHECKING:
    from mnist_scaling.tuning.workers.remote import Engine, Remote


class _ClusterLauncher(LocalLauncher):
    """What Dask, Ray and Slurm have in common; parameters are documented in conf/hydra/launcher/."""

    def __init__(self, address: str | None = None, n_workers: int | None = None) -> None:
        super().__init__(n_workers=n_workers, warm_up=False)
        self.address = address

    def workers(self) -> Remote:  # type: ignore[override]
        """The cluster's workers as a pool."""
        from mnist_scaling.tuning.stored.storage import is_file
        from mnist_scaling.tuning.workers import hydra_job, remote

        application = hydra_job.Application(self.hydra_context, self.config, self.task_function)
        folder = Path(str(self.config.hydra.sweep.dir))
        return remote.Remote(application, self._engine(), folder, is_file(self.config.hydra.sweeper.get("storage")))

    def expected_workers(self) -> int | None:
        """Those of a cluster that is started here, or as many as were named."""
        return self.count() if self.address is None or self.n_workers is not None else None

    def _engine(self) -> Engine:
        raise NotImplementedError

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Refuse a sweeper other than this project's.

        Raises
        ------
        InputError
            Always.
        """
        raise InputError(
            "This launcher must be run by `hydra/sweeper=cells`, but another sweeper calls it: leave `hydra/sweeper` "
            "out, or take another `hydra/launcher`."
        )


class DaskLauncher(_ClusterLauncher):
    """Workers of Dask."""

    def __init__(
        self, address: str | None = None, n_workers: int | None = None, cluster: DictConfig | None = None
    ) -> None:
        super().__init__(address, n_workers)
        self.cluster = cluster

    def _engine(self) -> Engine:
        from mnist_scaling.tuning.workers.dask import Dask

        cluster = None if self.cluster is None else functools.partial(instantiate, self.cluster)
        return Dask(self.address, self.count(), cluster)


class RayLauncher(_ClusterLauncher):
    """Workers of Ray."""

    def __init__(
        self, address: str | None = None, n_workers: int | None = None, init: DictConfig | dict[str, Any] | None = None
    ) -> None:
        super().__init__(address, n_workers)
        self.init = init

    def _engine(self) -> Engine:
        from mnist_scaling.tuning.workers import remote
        from mnist_scaling.tuning.workers.ray import Ray

        return Ray(self.address, self.count(), remote.options(self.init))


class SlurmLauncher(_ClusterLauncher):
    """Jobs of Slurm."""

    def __init__(self, max_jobs: int, ask_seconds: float, **options: Any) -> None:
        if not isinstance(max_jobs, int) or max_jobs < 1:
            raise InputError(f"`hydra.launcher.max_jobs` must be a whole number of 1 or more, but got {max_jobs}.")
        super().__init__(n_workers=max_jobs)
        self.ask_seconds, self.options = ask_seconds, options

    def _engine(self) -> Engine:
        from mnist_scaling.tuning.workers import remote
        from mnist_scaling.tuning.workers.slurm import Slurm

        given = {key: value for key, value in self.options.items() if value is not None}
        options = remote.options(OmegaConf.create(given))
        return Slurm(Path(str(self.config.hydra.sweep.dir)), self.count(), self.ask_seconds, options)
