"""This machine's own workers: processes that run one job after another, and die alone."""

from __future__ import annotations

import contextlib
import copy
import functools
import os
import signal
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from types import TracebackType
from typing import Any

import cloudpickle
from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import run_job, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from mnist_scaling.tuning import faults
from mnist_scaling.tuning.job import Job

_STOP_SECONDS = 5.0


@dataclass(frozen=True)
class Application:
    """What a worker needs of the Hydra application to run any of its jobs."""

    context: HydraContext
    config: DictConfig
    task: TaskFunction


@dataclass
class _Worker:
    """A process, our end of its pipe, and the job it has."""

    process: SpawnProcess
    pipe: Connection
    job: Job | None = None


class Workers:
    """Processes of this machine, one job each at a time, handed the next as soon as one is free.

    Every process has a pipe of its own and shares no lock with another, so that one that is killed at any
    moment, even while it starts, takes nothing but its job with it. (loky breaks the whole pool then; pebble
    keeps it, but not when the process was starting.) A job's config is composed once a cell and worker;
    Hydra would compose it for every job, which takes longer than the shortest runs.

    Parameters
    ----------
    application : Application
    n : int
        Processes.
    warm_up : callable, optional
        Called by every process at once, while the sweep is still getting ready.
    """

    isolates = True

    def __init__(self, application: Application, n: int, warm_up: Callable[[], object] | None = None) -> None:
        self._n = n
        # In a file, because what is handed to a starting process goes through a pipe: should that process be
        # killed before it has read more than a pipe holds, the write would wait for it for ever.
        self._state = tempfile.NamedTemporaryFile(prefix="mnist_scaling-")  # noqa: SIM115, closed with the pool
        self._state.write(cloudpickle.dumps((application, Singleton.get_state(), warm_up)))
        self._state.flush()
        self._workers: list[_Worker] = []
        self._queue: list[Job] = []
        self._launched = 0

    def free(self) -> int | None:
        """Idle processes, and one more: the next job is ready when a process is."""
        return self._n + 1 - len(self._queue) - sum(worker.job is not None for worker in self._workers)

    def submit(self, job: Job) -> None:
        """Give a job to the first idle process."""
        self._queue.append(job)
        self._hand_out()

    def wait(self, seconds: float) -> list[tuple[Job, str | None]]:
        """Jobs that ended."""
        busy = [worker for worker in self._workers if worker.job is not None]
        wait([*(w.pipe for w in busy), *(w.process.sentinel for w in busy)], timeout=seconds)
        ended: list[tuple[Job, str | None]] = []
        for worker in busy:
            job = worker.job
            assert job is not None
            try:
                if not worker.pipe.poll() and worker.process.is_alive():
                    continue
                ended.append((job, worker.pipe.recv()))
                worker.job = None
            except (EOFError, OSError):
                worker.process.join(_STOP_SECONDS)
                ended.append((job, _death(worker.process.exitcode)))
                self._drop(worker)
        self._hand_out()
        return ended

    def __enter__(self) -> Workers:
        """Start the processes."""
        for _ in range(self._n):
            self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End all processes: idle ones by themselves, others at once."""
        for worker in list(self._workers):
            self._drop(worker)
        self._state.close()

    def _hand_out(self) -> None:
        """Give queued jobs to idle processes, started as they are needed."""
        while self._queue:
            idle = next((worker for worker in self._workers if worker.job is None), None)
            if idle is None and len(self._workers) < self._n:
                idle = self._start()
            if idle is None:
                return
            job = self._queue[0]
            task = (job.cell.overrides, job.settings, job.overrides, self._launched)
            try:
                idle.pipe.send(task)
            except OSError:  # killed while it was idle: nobody's fault
                self._drop(idle)
                continue
            idle.job = self._queue.pop(0)
            self._launched += 1

    def _start(self) -> _Worker:
        # Spawned, not forked: a forked child of a process with threads, or with CUDA, may hang.
        context = get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, self._state.name), daemon=True)
        # If the child dies during start-up, ignore the broken pipe: the first message detects it.
        with contextlib.suppress(BrokenPipeError):
            process.start()
        theirs.close()
        worker = _Worker(process, ours)
        self._workers.append(worker)
        return worker

    def _drop(self, worker: _Worker) -> None:
        """End a process for good."""
        self._workers.remove(worker)
        worker.pipe.close()
        if worker.process.pid is None:
            return
        if worker.job is None:
            worker.process.join(_STOP_SECONDS)  # its pipe is closed: it ends by itself
        if worker.process.is_alive():
            worker.process.kill()
        worker.process.join(_STOP_SECONDS)


_APPLICATION: list[Application] = []


def _serve(pipe: Connection, path: str) -> None:
    """A worker's life: jobs from its pipe until that is closed; each answered with its error, or None."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of Ctrl-C the sweep decides
    setup_globals()
    application, singletons, warm_up = cloudpickle.loads(Path(path).read_bytes())
    Singleton.set_state(singletons)
    serve(application)
    if warm_up is not None:
        warm_up()
    with contextlib.suppress(EOFError, OSError):
        while True:
            pipe.send(run(*pipe.recv()))


def serve(application: Application) -> None:
    """Make this process a worker of an application; configs composed for an earlier one are forgotten."""
    _APPLICATION[:] = [application]
    _composed.cache_clear()


@functools.lru_cache(maxsize=32)
def _composed(overrides: tuple[str, ...]) -> DictConfig:
    (app,) = _APPLICATION
    return app.context.config_loader.load_sweep_config(app.config, list(overrides))


def run(cell: tuple[str, ...], settings: dict[str, Any], overrides: list[str], number: int) -> str | None:
    """Run a job as Hydra's launchers do; its error as text, because not every exception survives a pickle."""
    try:
        cfg = copy.deepcopy(_composed(cell))
    except Exception as error:
        return faults.as_text(error)
    return run_composed(cfg, settings, overrides, number)


def run_composed(cfg: DictConfig, settings: Mapping[str, Any], overrides: list[str], number: int) -> str | None:
    """`run` with a cell's config that was composed before, which is changed.

    Plain values come last in Hydra's own composition too, so that setting them afterwards is the same.
    """
    (app,) = _APPLICATION
    try:
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
        _ = done.return_value
    except Exception as error:
        return faults.as_text(error)
    return None


def _death(code: int | None) -> str:
    """A worker's end as the error of its job; a bus error means that shared memory, or the disk under it, is full."""
    text = f"its process died with exit code {code}"
    return faults.as_text(faults.MachineError(f"{text}, a bus error")) if code == -signal.SIGBUS else text


def count(wanted: int | None) -> int:
    """Processes to start: as many as wanted, else one for every core that this process may use."""
    if wanted is not None:
        return wanted
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
