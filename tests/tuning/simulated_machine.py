"""A machine to crash: a disk that is copied at chosen writes, and workers that take turns and may be killed."""

from __future__ import annotations

import os
import random
import shutil
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any

from omegaconf import DictConfig

from mnist_scaling.config import RunConfig, with_values
from mnist_scaling.study import layout
from mnist_scaling.tuning import execution
from mnist_scaling.tuning.channel import Channel
from mnist_scaling.tuning.job import Job

from . import analytic_training

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

_CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.truncate", "os.link", "os.symlink")
"""Audit events that change files, beside ``open``; see https://docs.python.org/3/library/audit_events.html."""


class Killed(BaseException):
    """The end of a process, which no code may catch; whatever cleans up all the same can't write any more."""


@dataclass(frozen=True)
class Moment:
    """A copy of the disk at a moment."""

    number: int
    """Writes that were begun by then, the one that this comes before included."""
    what: str
    """The write that it comes before."""
    folder: Path
    torn: bool

    def __str__(self) -> str:
        return f"{self.number}: {self.what}{' (torn)' if self.torn else ''}"


class Disk:
    """All writes below a folder while it is watched, in order.

    Parameters
    ----------
    folder : Path
    wanted : mapping
        From the number of a write, counted from 1, to the folder for a copy of what is there before it.
    fatal : bool
        Whether the machine dies with the first copy.
    rng : random.Random
        Tears lines.

    Attributes
    ----------
    count : int
        Writes so far.
    copies : list of Moment
    """

    def __init__(
        self,
        folder: Path,
        wanted: Mapping[int, Path] | None = None,
        fatal: bool = False,
        rng: random.Random | None = None,
    ) -> None:
        self.folder, self._wanted, self._fatal, self._rng = folder, wanted or {}, fatal, rng or random.Random(0)
        self.count = 0
        self.copies: list[Moment] = []
        self.before_write: Callable[[str, str], None] = lambda event, path: None
        self._text = str(folder)
        self._busy = False

    def __enter__(self) -> Disk:
        _install()
        _watched.append(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _watched.remove(self)

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Take in an event before it happens."""
        if self._busy or not isinstance(arguments[0], str | Path):
            return
        path = str(arguments[0])
        if not path.startswith(self._text) and path.startswith("/"):
            return
        if self._fatal and self.copies:
            raise Killed
        self.count += 1
        if self.count in self._wanted:
            self._busy = True
            try:
                self.copies.append(self._copy(event, path, self._wanted[self.count]))
            finally:
                self._busy = False
            if self._fatal:
                raise Killed
        self.before_write(event, path)

    def _copy(self, event: str, path: str, to: Path) -> Moment:
        shutil.copytree(self.folder, to)
        # A lock is released when its line has been written: the moment to tear it.
        torn = _releases_lock(event, path) and self._rng.random() < 0.5
        if torn:
            journal = to / layout.JOURNAL
            content = journal.read_bytes()
            start = content.rfind(b"\n", 0, len(content) - 1) + 1
            os.truncate(journal, self._rng.randint(start + 1, len(content) - 1))
        return Moment(self.count, f"{event.removeprefix('os.')} {path.removeprefix(self._text)}", to, torn)


def _releases_lock(event: str, path: str) -> bool:
    return event == "os.rename" and path.endswith(f"{layout.JOURNAL}.lock")


_watched: list[Disk] = []


@cache
def _install() -> None:
    """Listen to the interpreter; once, because an audit hook can't be taken back."""
    sys.addaudithook(_hear)


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    if not _watched or not (event in _CHANGES or (event == "open" and arguments[2] & _WRITING)):
        return
    for disk in _watched:
        disk.hear(event, arguments)


class _Worker(threading.Thread):
    """A job that runs while it has its turn, from one report to the next.

    Parameters
    ----------
    job : Job
    lifetime : int or None
        Writes after which it is killed.
    """

    def __init__(self, job: Job, lifetime: int | None) -> None:
        super().__init__(daemon=True)
        self.job, self.lifetime = job, lifetime
        self.killed = self.done = self.ended = False
        self.work: Callable[[], None] = lambda: None
        self.error: BaseException | None = None
        self._mine, self._others = threading.Semaphore(0), threading.Semaphore(0)

    def step(self) -> None:
        """Let it run up to its next pause."""
        if not self.is_alive():
            self.start()
        self._mine.release()
        self._others.acquire()

    def pause(self) -> None:
        """Leave the turn to others; called by the job."""
        self._others.release()
        self._mine.acquire()
        if self.ended:
            raise Killed

    def end(self) -> None:
        """Die with the machine."""
        self.ended = True
        if self.is_alive():
            self.step()
            self.join()

    def run(self) -> None:
        """Work; called by the thread."""
        self._mine.acquire()
        try:
            self.work()
        except BaseException as error:
            self.error = error
        self.done = True
        self._others.release()

    def before_write(self, event: str, path: str) -> None:
        """Die here, if it is time; a dead process writes nothing more."""
        if self.lifetime is None:
            return
        self.lifetime -= 1
        # What stands for the lock's expiry, without which all wait for 30 seconds.
        unlocks = _releases_lock(event, path) or event == "os.remove"
        if self.lifetime <= 0 and not unlocks:
            self.killed = True
            raise Killed


class Workers:
    """A pool of workers in this process, which take turns in random order.

    Parameters
    ----------
    folder : Path
        The study's.
    pruner : DictConfig or None
    rng : random.Random
        Decides whose turn it is, and who is killed when.
    disk : Disk
    started : callable
        Called with each run and its folder.
    deadly : bool
        Whether some workers are killed; their second attempts never are.
    n : int
        Workers.
    """

    isolates = True

    def __init__(
        self,
        folder: Path,
        pruner: DictConfig | None,
        rng: random.Random,
        disk: Disk,
        started: Callable[[RunConfig, Path], None],
        deadly: bool,
        n: int = 3,
    ) -> None:
        self._folder, self._pruner, self._rng, self._started = folder, pruner, rng, started
        self._deadly, self._n = deadly, n
        self._queue: list[Job] = []
        self._busy: list[_Worker] = []
        self.killed = 0
        self.together = analytic_training.trainer(started, lambda: None).can_train_together
        disk.before_write = self._before_write

    def free(self) -> int | None:
        """As many as `pools.local.Workers` takes."""
        return self._n + 1 - len(self._queue) - len(self._busy)

    def submit(self, job: Job) -> None:
        """Put a job behind the others."""
        self._queue.append(job)

    def wait(self, seconds: float) -> list[tuple[Job, str | None]]:
        """Let workers take turns until one of them is done."""
        del seconds
        while True:
            while self._queue and len(self._busy) < self._n:
                self._busy.append(self._start(self._queue.pop(0)))
            worker = self._rng.choice(self._busy)
            worker.step()
            if worker.done:
                break
        self._busy.remove(worker)
        worker.join()
        self.killed += worker.killed
        if worker.error is not None and not worker.killed:
            raise worker.error
        return [(worker.job, "its process died" if worker.killed else None)]

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._busy:
            worker.end()

    def _start(self, job: Job) -> _Worker:
        dies = self._deadly and not job.alone and self._rng.random() < 0.15
        worker = _Worker(job, self._rng.randint(1, 40) if dies else None)
        settings = {key: value for key, value in job.settings.items() if not key.startswith("hydra.")}
        run = with_values(job.cell.run, settings)
        trainer = analytic_training.trainer(self._started, worker.pause)
        folder = self._folder / job.folder

        def work() -> None:
            folder.mkdir(parents=True, exist_ok=True)
            execution.work(run, folder, Channel(run.trial, None, self._folder, self._pruner), trainer)

        worker.work = work
        return worker

    def _before_write(self, event: str, path: str) -> None:
        worker = threading.current_thread()
        if isinstance(worker, _Worker):
            worker.before_write(event, path)
