"""A disk to crash: every write below a folder is heard before it happens, and the folder is copied at chosen ones."""

from __future__ import annotations

import os
import random
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any

from mnist_scaling.study import layout

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
        torn = releases_lock(event, path) and self._rng.random() < 0.5
        if torn:
            journal = to / layout.JOURNAL
            content = journal.read_bytes()
            start = content.rfind(b"\n", 0, len(content) - 1) + 1
            os.truncate(journal, self._rng.randint(start + 1, len(content) - 1))
        return Moment(self.count, f"{event.removeprefix('os.')} {path.removeprefix(self._text)}", to, torn)


def releases_lock(event: str, path: str) -> bool:
    """Whether a write gives the journal's lock back."""
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
