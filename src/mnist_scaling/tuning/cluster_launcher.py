"""Launchers of clusters, Hydra plugins: Dask and Ray. Imported by every Hydra app, so it is light."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from mnist_scaling.tuning.launcher import LocalLauncher

if TYPE_CHECKING:
    from mnist_scaling.tuning.task import Values
    from mnist_scaling.tuning.workers.cluster import ClusterClient
    from mnist_scaling.tuning.workers.job import Workers


class _ClusterLauncher(LocalLauncher):
    """What Dask and Ray have in common; parameters are documented in conf/hydra/launcher/."""

    package, extra = "", ""
    """What it needs, and the extra of this package that brings it."""

    def __init__(self, address: str | None = None, n_workers: int | None = None) -> None:
        super().__init__(n_workers=n_workers)
        self.address = address

    def workers(self) -> Workers:
        """The cluster's workers."""
        from mnist_scaling.tuning.workers.cluster import ClusterWorkers

        return ClusterWorkers(self.application(), self._client())

    def check(self, runs: Sequence[Values]) -> None:
        """Refuse a cluster whose package is not installed; which devices its workers have, only they know."""
        if find_spec(self.package) is None:
            from mnist_scaling.tuning.workers import cluster

            raise cluster.missing(self.package, self.extra)

    def expected_workers(self) -> int | None:
        """Those of a cluster that is started here, or as many as were named."""
        return self.count() if self.address is None or self.n_workers is not None else None

    def _client(self) -> ClusterClient:
        raise NotImplementedError


class DaskLauncher(_ClusterLauncher):
    """Workers of Dask."""

    package, extra = "distributed", "dask"

    def __init__(
        self, address: str | None = None, n_workers: int | None = None, cluster: DictConfig | None = None
    ) -> None:
        super().__init__(address, n_workers)
        self.cluster = cluster

    def _client(self) -> ClusterClient:
        from mnist_scaling.tuning.workers.cluster import Dask

        cluster = None if self.cluster is None else functools.partial(instantiate, self.cluster)
        return Dask(self.address, self.count(), cluster)


class RayLauncher(_ClusterLauncher):
    """Workers of Ray."""

    package, extra = "ray", "ray"

    def __init__(
        self, address: str | None = None, n_workers: int | None = None, init: DictConfig | dict[str, Any] | None = None
    ) -> None:
        super().__init__(address, n_workers)
        self.init = init

    def _client(self) -> ClusterClient:
        from mnist_scaling.tuning.workers.cluster import Ray

        options: Any = OmegaConf.to_container(OmegaConf.create(self.init or {}), resolve=True)
        return Ray(self.address, self.count(), options)
