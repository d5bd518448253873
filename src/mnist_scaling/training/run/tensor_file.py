"""Files of tensors and plain values: replaced as a whole, with a checksum, and never code."""

from __future__ import annotations

import hashlib
import io
import pickle
from pathlib import Path
from typing import Any

import torch

from mnist_scaling.study import files
from mnist_scaling.study.files import DamagedFileError


def header(kind: str, content: bytes | memoryview) -> bytes:
    """How a file of a kind begins: a line with the SHA-256 of what `torch.save` wrote, which follows."""
    digest = hashlib.sha256(content).hexdigest()
    return f"mnist_scaling {kind}, SHA-256 of what follows this line: {digest}\n".encode()


def write(path: Path, kind: str, content: dict[str, Any]) -> None:
    """Replace the file; a kill at any moment leaves the old one or the new one."""
    memory = io.BytesIO()
    torch.save(content, memory)
    with files.replacing(path) as file:
        file.write(header(kind, memory.getbuffer()))
        file.write(memory.getbuffer())
    files.remove_leftovers(path)  # of an attempt that was killed while it wrote


def read(path: Path, kind: str) -> dict[str, Any]:
    """What was written.

    Raises
    ------
    FileNotFoundError
        When there is no such file.
    DamagedFileError
        When a byte differs from what was written, or the file is of another kind.
    """
    found = path.read_bytes()
    size = len(header(kind, b""))
    if found[:size] != header(kind, memoryview(found)[size:]):
        raise DamagedFileError(path, "its checksum is not that of its content")
    try:
        # weights_only admits tensors and plain values, so that a file never runs code.
        content = torch.load(io.BytesIO(found[size:]), map_location="cpu", weights_only=True)
    except (EOFError, RuntimeError, pickle.UnpicklingError) as error:
        raise DamagedFileError(path, f"it holds no {kind}: {type(error).__name__}") from error
    if not isinstance(content, dict):
        raise DamagedFileError(path, f"it holds no {kind}")
    return content
