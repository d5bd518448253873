"""The default storage on disk: Optuna's journal, one JSON object with a checksum per line, checked before it is opened.

Optuna drops a line that it can't read, or stops at it. When a line is dropped, the numbers of all later trials shift,
and the study goes on with other rows. So a damaged journal is never opened.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.storages.journal._file import get_lock_file
from optuna.storages.journal._storage import JournalOperation

from mnist_scaling.study import files

_ENTRY = b'{"op_code":'
"""How every entry begins."""

_GRACE_SECONDS = 5
"""How long a sweep waits for the lock at its start; in its course Optuna's half a minute holds."""

_OPERATIONS = {int(operation) for operation in JournalOperation}


class DamagedJournalError(Exception):
    """A line of a journal is no entry.

    Attributes
    ----------
    line : int
        Its number, from 1.
    """

    def __init__(self, line: int) -> None:
        super().__init__(line)
        self.line = line


class _Lock(JournalFileOpenLock):
    """Optuna's lock, for a process that was stopped for so long that another one took the lock away from it.

    Its entry is whole all the same, because entries are appended; only the release has nothing left to do.
    """

    def release(self) -> None:
        with contextlib.suppress(RuntimeError):
            super().release()


class _Backend(JournalFileBackend):
    """Optuna's file of entries, which leaves no torn one behind and says which file is damaged."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), lock_obj=_Lock(str(path)))
        self._path = path

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        try:
            super().append_logs([files.sealed(entry) for entry in logs])
        except OSError:
            with contextlib.suppress(OSError):
                self._cut_torn_end()
            raise

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        try:
            for entry in super().read_logs(log_number_from):
                if not _is_entry(entry):
                    raise ValueError("no entry")
                yield entry
        except ValueError as error:
            raise OSError(errno.EIO, "a line of the journal is damaged", str(self._path)) from error

    def _cut_torn_end(self) -> None:
        """Cut off half an entry at the end, while other processes read what is in front of it."""
        with get_lock_file(self._lock):
            content = self._path.read_bytes()
            os.truncate(self._path, content.rfind(b"\n") + 1)


def open_journal(path: Path) -> JournalStorage:
    """Optuna's storage in that file, which is made when there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return JournalStorage(_Backend(path))


def mend(path: Path) -> None:
    """Take torn entries out of a journal: a kill or a full disk leaves half of one, and the next one behind it.

    The process that wrote half an entry was told that the write had failed, or was killed, so no finished run is lost
    with it. A whole entry that follows on the same line stays.

    Raises
    ------
    DamagedJournalError
        When any other line is no entry, which no process of ours wrote.
    """
    if not path.exists():
        return
    # Only a sweep that was killed holds the lock for so long, and the sweep that resumes it is this one.
    with get_lock_file(_Lock(str(path), grace_period=_GRACE_SECONDS)):
        content = path.read_bytes()
        mended = b"".join(entry + b"\n" for entry in _entries(content))
        if content.startswith(mended):
            os.truncate(path, len(mended))  # which a full disk allows
        else:
            files.write_atomically(path, mended.decode())


def set_aside(path: Path) -> Path:
    """Rename a damaged journal, so that a new one can take its place; its new path."""
    n = 1
    while (aside := path.with_name(f"{path.name}.damaged-{n}")).exists():
        n += 1
    return path.rename(aside)


def _entries(content: bytes) -> Iterator[bytes]:
    """Every whole entry."""
    *lines, _torn = content.split(b"\n")
    for number, line in enumerate(lines, start=1):
        start = 0
        while not _is_whole(line[start:]):
            start = line.find(_ENTRY, start + 1)
            if start < 0:
                raise DamagedJournalError(number)
        # Only the beginnings of other entries may stand in front of an entry.
        if start and not all(_is_torn(part) for part in _beginnings(line[:start])):
            raise DamagedJournalError(number)
        yield line[start:]


def _beginnings(text: bytes) -> list[bytes]:
    """What stands in front of an entry, cut before each beginning of one."""
    first, *more = text.split(_ENTRY)
    return [*([first] if first else []), *(_ENTRY + part for part in more)]


def _is_torn(part: bytes) -> bool:
    begins = part.startswith(_ENTRY) or _ENTRY.startswith(part)
    return begins and not _is_whole(part)


def _is_whole(line: bytes) -> bool:
    try:
        return files.is_unbroken(line) and _is_entry(json.loads(line))
    except ValueError:  # of JSON, or of UTF-8
        return False


def _is_entry(content: Any) -> bool:
    if not isinstance(content, dict) or not isinstance(content.get("op_code"), int):
        return False
    return content["op_code"] in _OPERATIONS and "worker_id" in content
