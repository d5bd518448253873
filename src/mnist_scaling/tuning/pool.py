"""Where the jobs of a study run: this machine's own workers, or rounds of any Hydra launcher."""

from __future__ import annotations

import copy
import functools
import os
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import cloudpickle
from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import run_job, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict
from pebble import ProcessExpired, ProcessPool

from mnist_scaling.tuning.job import Job

Launch = Callable[[Sequence[Sequence[str]]], None]
"""Runs jobs, given as lists of Hydra overrides, and returns when all have ended or died."""


class Pool(Protocol):
    """Runs jobs; what a job did is in its record, not in what the pool returns."""

    isolates: bool
    """Whether a job that kills its process takes no other job with it."""

    def free(self) -> int | None:
        """How many jobs to hand over now; None for any number."""
        ...

    def submit(self, job: Job) -> None:
        """Hand over a job."""
        ...

    def wait(self, seconds: float) -> list[tuple[Job, str | None]]:
        """Jobs that ended, or died, each with its error if it left one; may be empty after `seconds`."""
        ...

    def __enter__(self) -> Pool:
        """Ready for jobs."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """No job is running any more."""
        ...


class Rounds:
    """Any Hydra launcher: what was handed over is launched together, and waited for together.

    Parameters
    ----------
    launch : callable
    folder : Path
        The study's, to tell a launcher that started nothing.
    """

    isolates = False

    def __init__(self, launch: Launch, folder: Path) -> None:
        self._launch, self._folder = launch, folder
        self._jobs: list[Job] = []

    def free(self) -> int | None:
        """Any number: the launcher has its own queue."""
        return None

    def submit(self, job: Job) -> None:
        """Put a job into the next round."""
        self._jobs.append(job)

    def wait(self, seconds: float) -> list[tuple[Job, str | None]]:
        """Run the round."""
        del seconds  # a launcher says nothing before its batch is done
        jobs, self._jobs = self._jobs, []
        try:
            self._launch([job.overrides for job in jobs])
        except Exception:
            # A dead worker takes the whole batch's returns with it; records tell what was done.
            # If no run has as much as its folder, the launcher itself is at fault.
            if not any((self._folder / job.folder).exists() for job in jobs):
                raise
        return [(job, None) for job in jobs]

    def __enter__(self) -> Rounds:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


@dataclass(frozen=True)
class Application:
    """What a worker needs of the Hydra application to run any of its jobs."""

    context: HydraContext
    config: DictConfig
    task: TaskFunction


class Workers:
    """Processes of this machine, one job each at a time, handed the next as soon as one is free.

    A job's config is composed once a cell and worker; Hydra would compose it for every job, which takes
    longer than the shortest runs.

    Parameters
    ----------
    application : Application
    n : int
        Processes.
    """

    isolates = True

    def __init__(self, application: Application, n: int) -> None:
        self._n = n
        # In a file, because what is handed to a starting process goes through a pipe: should that process be
        # killed before it has read more than a pipe holds, the write would wait for it for ever.
        self._state = tempfile.NamedTemporaryFile(prefix="mnist_scaling-")  # noqa: SIM115, closed with the pool
        self._state.write(cloudpickle.dumps((application, Singleton.get_state())))
        self._state.flush()
        # Spawned, not forked: a forked child of a process with threads, or with CUDA, may hang.
        self._pool = ProcessPool(n, context=get_context("spawn"), initializer=_start, initargs=[self._state.name])
        self._running: dict[Future[str | None], Job] = {}
        self._launched = 0

    def free(self) -> int | None:
        """Idle processes, and one more: the next job is ready when a process is."""
        return self._n + 1 - len(self._running)

    def submit(self, job: Job) -> None:
        """Give a job to the first idle process."""
        future = self._pool.schedule(_run, args=[job.cell.overrides, job.settings, job.overrides, self._launched])
        self._running[future] = job
        self._launched += 1

    def wait(self, seconds: float) -> list[tuple[Job, str | None]]:
        """Jobs that ended."""
        done, _ = wait(self._running, timeout=seconds, return_when=FIRST_COMPLETED)
        # In the order of submission, so that nothing depends on a set's.
        ended = [future for future in self._running if future in done]
        return [(self._running.pop(future), _error(future)) for future in ended]

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._pool.close()
        else:
            self._pool.stop()
        self._pool.join()
        self._state.close()


def _error(future: Future[str | None]) -> str | None:
    try:
        return future.result()
    except ProcessExpired as error:
        return f"its process died with exit code {error.exitcode}"
    except Exception as error:  # pickling, memory: whatever it is, it is this job's
        return f"{type(error).__name__}: {error}"


_APPLICATION: list[Application] = []


def _start(path: str) -> None:
    """First thing in a worker: what `Application` holds, and Hydra's own globals."""
    setup_globals()
    application, singletons = cloudpickle.loads(Path(path).read_bytes())
    Singleton.set_state(singletons)
    _APPLICATION[:] = [application]


@functools.lru_cache(maxsize=32)
def _composed(overrides: tuple[str, ...]) -> DictConfig:
    (app,) = _APPLICATION
    return app.context.config_loader.load_sweep_config(app.config, list(overrides))


def _run(cell: tuple[str, ...], settings: dict[str, Any], overrides: list[str], number: int) -> str | None:
    """Run a job as Hydra's launchers do; its error as text, because not every exception survives a pickle.

    Plain values come last in Hydra's own composition too, so that setting them afterwards is the same.
    """
    (app,) = _APPLICATION
    cfg = copy.deepcopy(_composed(cell))
    with open_dict(cfg):
        for key, value in settings.items():
            OmegaConf.update(cfg, key, value)
        cfg.hydra.overrides.task = overrides
        cfg.hydra.job.id, cfg.hydra.job.num = f"{cfg.hydra.job.name}_{number}", number
    HydraConfig.instance().set_config(cfg)
    done = run_job(
        task_function=app.task,
        config=cfg,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
        hydra_context=app.context,
    )
    try:
        _ = done.return_value
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None


def n_workers(wanted: int | None) -> int:
    """Processes to start: as many as wanted, else one for every core that this process may use."""
    if wanted is not None:
        return wanted
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
