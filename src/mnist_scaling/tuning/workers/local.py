"""This machine's own workers: processes that run one job after another, and die alone."""

from __future__ import annotations

import contextlib
import importlib
import os
import queue
import signal
import sys
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing import forkserver, get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Self

from mnist_scaling.tuning.workers import faults
from mnist_scaling.tuning.workers.job import Application, Job, Outcome, Packer, Parcel, Workers, loaded, packed
from mnist_scaling.tuning.workers.perform import perform

_STOP_SECONDS = 5.0

# A forked child of a process with threads, or with CUDA, may hang: on Linux a server without either imports torch once
# and forks the processes. macOS takes no fork after its frameworks are loaded, and Windows none at all.
_IS_FORKED = sys.platform == "linux"
_CONTEXT = get_context("forkserver") if _IS_FORKED else get_context("spawn")


class LocalWorkers(Workers):
    """Processes of this machine, one job each at a time, handed the next as soon as it is free; GPUs are taken in turn.

    Every process has a pipe and a thread of its own and shares no lock with another, so that one that is killed at any
    moment, even while it starts, takes nothing but its job with it (docs/architecture.md says what other pools do).
    """

    def __init__(self, application: Application, n: int, gpus: Sequence[str] = ()) -> None:
        task = packed(application.task)
        self._preload = application.task.preload
        self._packer = Packer(application)
        self._processes = [_Process(task, self._preload, gpus[i % len(gpus)] if gpus else None) for i in range(n)]
        self._idle: queue.SimpleQueue[_Process] = queue.SimpleQueue()
        self._threads = ThreadPoolExecutor(n, thread_name_prefix="worker")
        self._open: set[Future[Outcome]] = set()

    def room(self) -> int:
        """Room in the processes, and one more: the next job is ready when a process is."""
        return len(self._processes) + 1 - len(self._open)

    def count(self) -> int:
        """Processes."""
        return len(self._processes)

    def submit(self, job: Job) -> Future[Outcome]:
        """Give a job to the first idle process."""
        future = self._threads.submit(self._run, self._packer.pack(job))
        self._open.add(future)
        future.add_done_callback(self._open.discard)
        return future

    def _run(self, parcel: Parcel | Outcome) -> Outcome:
        if isinstance(parcel, Outcome):
            return parcel
        process = self._idle.get()
        try:
            return process.run(parcel)
        finally:
            self._idle.put(process)

    def __enter__(self) -> Self:
        """Import what runs need, in the background, while the sweep gets ready."""
        if _IS_FORKED:
            forkserver.set_forkserver_preload([__name__, *self._preload])
            forkserver.ensure_running()
        for process in self._processes:
            if not _IS_FORKED:
                process.start()
            self._idle.put(process)
        return self

    def close(self) -> None:
        """End all processes: idle ones by themselves, others at once."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for process in self._processes:
            process.close()
        self._threads.shutdown()
        for process in self._processes:
            process.end()


class _Process:
    """A worker that imports `preload` and trains by a pickled task, in a process that takes the place of one that died.

    `gpu` is as CUDA_VISIBLE_DEVICES names it.
    """

    def __init__(self, task: bytes, preload: Sequence[str], gpu: str | None) -> None:
        self._task, self._arguments = task, (preload, gpu)
        self._busy = self._closed = False
        self._process: BaseProcess | None = None
        self._pipe: Connection

    def start(self) -> None:
        """Start the process."""
        self._pipe, theirs = _CONTEXT.Pipe()
        self._process = _CONTEXT.Process(target=_serve, args=(theirs, *self._arguments), daemon=True)
        # If the child dies during start-up, ignore the broken pipe: the first job detects it.
        with contextlib.suppress(BrokenPipeError):
            self._process.start()
        theirs.close()
        with contextlib.suppress(OSError):
            self._pipe.send_bytes(self._task)

    def run(self, parcel: Parcel) -> Outcome:
        """What became of a job."""
        self._busy = True
        try:
            while not self._sent(parcel):
                if self._closed:
                    return Outcome(None, "the sweep ended before it began")
                self.end()
                self.start()
            return self._pipe.recv()  # type: ignore[no-any-return]
        except (EOFError, OSError):
            assert self._process is not None
            self._process.join(_STOP_SECONDS)
            return Outcome(None, _death(self._process.exitcode))
        finally:
            self._busy = False

    def _sent(self, parcel: Parcel) -> bool:
        """Hand over a job; not to a process that was killed while it was idle, which is nobody's fault."""
        if self._closed or self._process is None or not self._process.is_alive():
            return False
        try:
            self._pipe.send(parcel)
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Take no further job: an idle process ends by itself, and one that works is killed."""
        self._closed = True
        if self._process is None:
            return
        if self._busy:
            self._process.kill()
        else:
            self._pipe.close()

    def end(self) -> None:
        """End the process for good."""
        if self._process is None or self._process.pid is None:
            return
        self._pipe.close()
        self._process.join(_STOP_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join(_STOP_SECONDS)


def _serve(pipe: Connection, preload: Sequence[str], gpu: str | None) -> None:
    """A worker's life: jobs from its pipe until that is closed, each answered with its outcome."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of Ctrl-C the sweep decides
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu  # read when CUDA is first used
    with contextlib.suppress(EOFError, OSError):
        for module in preload:
            importlib.import_module(module)
        task = loaded(pipe.recv_bytes())
        while True:
            parcel = pipe.recv()
            pipe.send(task if isinstance(task, Outcome) else perform(parcel, task))


def _death(code: int | None) -> str:
    """A worker's end as the error of its job; a bus error means that shared memory, or the disk under it, is full."""
    text = f"its process died with exit code {code}"
    if code == 1:  # what happens in a run is in its record, so this happened before: while the program was imported
        why = "what it printed says why (a program must start under `if __name__ == '__main__':`)"
        return faults.as_text(faults.MachineError(f"{text}, while it imported the program: {why}"))
    return faults.as_text(faults.MachineError(f"{text}, a bus error")) if code == -signal.SIGBUS else text


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
