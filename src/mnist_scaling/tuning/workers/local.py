"""This machine's own workers: processes that run one job after another, and die alone."""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from types import TracebackType

import cloudpickle
from hydra.core.singleton import Singleton
from hydra.core.utils import setup_globals

from mnist_scaling.tuning.workers import faults, hydra_job
from mnist_scaling.tuning.workers.hydra_job import Application
from mnist_scaling.tuning.workers.job import Job

_STOP_SECONDS = 5.0


@dataclass
class _Worker:
    """A process, our end of its pipe, and the job that it has, by its number."""

    process: SpawnProcess
    pipe: Connection
    place: int
    jobs: dict[int, Job] = field(default_factory=dict)


class Workers:
    """Processes of this machine, one job each at a time, handed the next as soon as it is free.

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
    gpus : sequence of str
        One for each process, in turn; none leaves that to CUDA.
    """

    isolates = True

    def __init__(
        self,
        application: Application,
        n: int,
        warm_up: Callable[[], object] | None = None,
        gpus: Sequence[str] = (),
    ) -> None:
        self._n, self._gpus = n, gpus
        # In a file, because what is handed to a starting process goes through a pipe: should that process be
        # killed before it has read more than a pipe holds, the write would wait for it for ever.
        self._state = tempfile.NamedTemporaryFile(prefix="mnist_scaling-")  # noqa: SIM115, closed with the pool
        self._state.write(cloudpickle.dumps((application, Singleton.get_state(), warm_up)))
        self._state.flush()
        self._workers: list[_Worker] = []
        self._queue: list[Job] = []
        self._launched = 0

    def free(self) -> int | None:
        """Room in the processes, and one more: the next job is ready when a process is."""
        return self._n + 1 - len(self._queue) - sum(len(worker.jobs) for worker in self._workers)

    def workers(self) -> int:
        """Processes."""
        return self._n

    def submit(self, job: Job) -> None:
        """Give a job to the first idle process."""
        self._queue.append(job)
        self._hand_out()

    def wait(self, seconds: float) -> list[tuple[Job, str | None]]:
        """Jobs that ended."""
        busy = [worker for worker in self._workers if worker.jobs]
        wait([*(w.pipe for w in busy), *(w.process.sentinel for w in busy)], timeout=seconds)
        ended: list[tuple[Job, str | None]] = []
        for worker in busy:
            try:
                while worker.jobs:
                    if not worker.pipe.poll():
                        # What it sent before it died is read first.
                        if worker.process.is_alive() or worker.pipe.poll():
                            break
                        raise EOFError
                    number, error = worker.pipe.recv()
                    ended.append((worker.jobs.pop(number), error))
            except (EOFError, OSError):
                worker.process.join(_STOP_SECONDS)
                ended += [(job, _death(worker.process.exitcode)) for job in worker.jobs.values()]
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
        """Give queued jobs to processes with room, started as they are needed."""
        while self._queue:
            job = self._queue[0]
            worker = next((worker for worker in self._workers if not worker.jobs), None)
            if worker is None and len(self._workers) < self._n:
                worker = self._start()
            if worker is None:
                return
            task = (job.cell.overrides, job.settings, job.overrides, self._launched)
            try:
                worker.pipe.send(task)
            except OSError:  # killed while it was idle: nobody's fault
                self._drop(worker)
                continue
            worker.jobs[self._launched] = self._queue.pop(0)
            self._launched += 1

    def _start(self) -> _Worker:
        # Spawned, not forked: a forked child of a process with threads, or with CUDA, may hang.
        context = get_context("spawn")
        ours, theirs = context.Pipe()
        place = min(set(range(self._n)) - {worker.place for worker in self._workers})
        gpu = self._gpus[place % len(self._gpus)] if self._gpus else None
        process = context.Process(target=_serve, args=(theirs, self._state.name, gpu), daemon=True)
        # If the child dies during start-up, ignore the broken pipe: the first message detects it.
        with contextlib.suppress(BrokenPipeError):
            process.start()
        theirs.close()
        worker = _Worker(process, ours, place)
        self._workers.append(worker)
        return worker

    def _drop(self, worker: _Worker) -> None:
        """End a process for good."""
        self._workers.remove(worker)
        worker.pipe.close()
        if worker.process.pid is None:
            return
        if not worker.jobs:
            worker.process.join(_STOP_SECONDS)  # its pipe is closed: it ends by itself
        if worker.process.is_alive():
            worker.process.kill()
        worker.process.join(_STOP_SECONDS)


def _serve(pipe: Connection, path: str, gpu: str | None) -> None:
    """A worker's life: jobs from its pipe until that is closed, each answered with its number and its error if any."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of Ctrl-C the sweep decides
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu  # read when CUDA is first used
    setup_globals()
    application, singletons, warm_up = cloudpickle.loads(Path(path).read_bytes())
    Singleton.set_state(singletons)
    hydra_job.serve(application)
    if warm_up is not None:
        warm_up()
    with contextlib.suppress(EOFError, OSError):
        while True:
            task = pipe.recv()
            pipe.send((task[-1], hydra_job.run(*task)))


def _death(code: int | None) -> str:
    """A worker's end as the error of its job; a bus error means that shared memory, or the disk under it, is full."""
    text = f"its process died with exit code {code}"
    return faults.as_text(faults.MachineError(f"{text}, a bus error")) if code == -signal.SIGBUS else text


def count(wanted: int | None) -> int:
    """Processes to start: as many as wanted, else one for every core that this process may use."""
    if wanted is not None:
        return wanted
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
