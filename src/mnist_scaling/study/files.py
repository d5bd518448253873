"""Files that are replaced as a whole, and JSON that is checked when it is read."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import sys
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from mnist_scaling.errors import InputError

CHECKSUM, COMPACT = "crc32", (",", ":")
"""Key of a checksum, and the separators of the JSON that it is of."""

DAMAGED = ".damaged"
"""Suffix of a file that could not be read and was set aside."""


class DamagedFileError(InputError):
    """A file that can't be read as what it should be, and the reason."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path, self.reason = path, reason
        super().__init__(
            f"{path} must be JSON with all its keys, but is damaged ({reason}): run the step that writes it again."
        )


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file to write, which replaces the one at `path` when the block ends and vanishes when the block raises.

    A reader, or a crash at any moment, sees the old file or the new one. The mode of the new file follows the umask.

    Notes
    -----
    The content reaches the disk before the name does (fsync), so that a power cut leaves no empty file. The folder
    itself is not synchronised: a power cut may take a run of the last seconds with it, which is then made again.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def remove_leftovers(path: Path) -> None:
    """Delete temporary files that killed writers of `path` left; call it only when no other process can be writing."""
    for left in path.parent.glob(f".{path.name}.*"):
        left.unlink(missing_ok=True)


def write_atomically(path: Path, text: str) -> None:
    """Replace the text file at `path`, as `replacing` does, unless it holds that text already."""
    if path.is_file() and path.read_bytes() == text.encode():
        return
    with replacing(path) as file:
        file.write(text.encode())


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write an object as JSON, atomically; NaN and infinities are refused, because they are not JSON."""
    write_atomically(path, json.dumps(content, allow_nan=False, indent=1) + "\n")


def write_sealed(path: Path, content: Mapping[str, Any]) -> None:
    """Write an object on one line of JSON, whose last entry is the CRC-32 of the others; `read_json` compares it."""
    sealed = {**content, CHECKSUM: zlib.crc32(json.dumps(content, separators=COMPACT).encode())}
    write_atomically(path, json.dumps(sealed, allow_nan=False, separators=COMPACT) + "\n")


def checksum(content: bytes) -> str:
    """What tells a file from one that was edited since."""
    return hashlib.sha256(content).hexdigest()


def is_unbroken(line: bytes) -> bool:
    """Whether the JSON of one object is as `write_sealed` wrote it."""
    head, _, checksum = line.strip().rpartition(f',"{CHECKSUM}":'.encode())
    return checksum == b"%d}" % zlib.crc32(head + b"}")


def read_json(path: Path, is_sealed: bool = False) -> dict[str, Any] | None:
    """The object in a JSON file, or None where there is no file; DamagedFileError where it holds anything else.

    A sealed one must be as `write_sealed` wrote it.
    """
    try:
        text = path.read_bytes()
        content = json.loads(text, parse_constant=_refuse)
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as error:  # bytes that are no text are a ValueError too
        raise DamagedFileError(path, f"not JSON: {error}") from error
    if not isinstance(content, dict):
        raise DamagedFileError(path, f"it must hold a JSON object, but holds {type(content).__name__}")
    if is_sealed and not is_unbroken(text):
        raise DamagedFileError(path, "its checksum is not that of its content")
    return content


def set_aside(error: DamagedFileError, remedy: str) -> None:
    """Move a damaged file out of the way, beside itself, and say so on stderr, with what happens in its place."""
    kept = error.path.with_name(error.path.name + DAMAGED)
    error.path.replace(kept)
    print(f"Warning: {error.path} is damaged ({error.reason}). It is kept as {kept.name}, {remedy}.", file=sys.stderr)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON number")
