"""The default launcher, a Hydra plugin: every core of this machine. Imported by every Hydra app, so it is light."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from mnist_scaling.errors import InputError
from mnist_scaling.tuning import trainer

PER_GPU = 4
"""Processes that share a GPU unless `n_workers` says otherwise: each has a CUDA context of its own, of some hundred
megabytes, and a kernel of one waits while another's runs. The number was chosen, not measured."""

_NVIDIA = Path("/proc/driver/nvidia/gpus")
"""Where Linux lists NVIDIA's GPUs."""

if TYPE_CHECKING:
    from mnist_scaling.tuning.pools.local import Workers


class LocalLauncher(Launcher):
    """Worker processes on this machine; parameters are documented in conf/hydra/launcher/local.yaml.

    The sweeper of this project takes its `workers` and hands them one job after another; for a sweeper
    that runs batches it is Hydra's joblib launcher.
    """

    def __init__(self, n_workers: int | None = None, warm_up: bool = True) -> None:
        if n_workers is not None and (not isinstance(n_workers, int) or n_workers < 1):
            raise InputError(
                f"`hydra.launcher.n_workers` must be a whole number of 1 or more, or null for one per core, but got "
                f"{n_workers}."
            )
        self.n_workers, self.warm_up = n_workers, warm_up

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what the workers will need."""
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def count(self) -> int:
        """Runs at a time."""
        from mnist_scaling.tuning.pools import local

        if self.n_workers is None and _may_use_a_gpu(str(self.config.get("device"))):
            return min(local.count(None), PER_GPU)
        return local.count(self.n_workers)

    def workers(self) -> Workers:
        """The pool of processes."""
        from mnist_scaling.tuning.pools import local

        warm_up = trainer.of(self.task_function).warm_up if self.warm_up else None
        application = local.Application(self.hydra_context, self.config, self.task_function)
        return local.Workers(application, self.count(), warm_up)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run a batch for a sweeper other than this project's, by Hydra's joblib launcher."""
        from hydra_plugins.hydra_joblib_launcher.joblib_launcher import JoblibLauncher

        launcher = JoblibLauncher(n_jobs=self.n_workers or -1, backend="loky", batch_size=1)
        launcher.setup(hydra_context=self.hydra_context, task_function=self.task_function, config=self.config)
        return launcher.launch(job_overrides, initial_job_idx)


def _may_use_a_gpu(device: str) -> bool:
    """Whether runs of `device` train on a GPU; torch is asked only where there is one, because it takes a second."""
    if device == "cuda":
        return True
    if device != "auto" or not _NVIDIA.is_dir():
        return False
    import torch

    return torch.cuda.is_available()
