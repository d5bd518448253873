"""A disk to crash: every write below a folder is heard before it happens, and the folder is copied at chosen ones."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any

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

    def __str__(self) -> str:
        return f"{self.number}: {self.what}"


class Disk:
    """All writes below a folder while it is watched, in order.

    Parameters
    ----------
    folder : Path
    wanted : mapping
        From the number of a write, counted from 1, to the folder for a copy of what is there before it.
    fatal : bool
        Whether the machine dies with the first copy.

    Attributes
    ----------
    count : int
        Writes so far.
    copies : list of Moment
    """

    def __init__(self, folder: Path, wanted: Mapping[int, Path] | None = None, fatal: bool = False) -> None:
        self.folder, self._wanted, self._fatal = folder, wanted or {}, fatal
        self.count = 0
        self.copies: list[Moment] = []
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

    def _copy(self, event: str, path: str, to: Path) -> Moment:
        if self.folder.exists():
            shutil.copytree(self.folder, to)
        else:  # the first event is that this folder is made
            to.mkdir(parents=True)
        return Moment(self.count, f"{event.removeprefix('os.')} {path.removeprefix(self._text)}", to)


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
