"""Files of tensors and plain values, with a checksum and never code; one of them lets a killed run go on."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from mnist_scaling.config import RunConfig, flatten
from mnist_scaling.study import files
from mnist_scaling.study.files import DamagedFileError
from mnist_scaling.study.layout import CHECKPOINT


def header(kind: str, content: bytes | memoryview) -> bytes:
    """How a file of a kind begins: a line with the SHA-256 of what `torch.save` wrote, which follows."""
    digest = hashlib.sha256(content).hexdigest()
    return f"mnist_scaling {kind}, SHA-256 of what follows this line: {digest}\n".encode()


def write_tensors(path: Path, kind: str, content: dict[str, Any]) -> None:
    """Replace the file; a kill at any moment leaves the old one or the new one."""
    memory = io.BytesIO()
    torch.save(content, memory)
    with files.replacing(path) as file:
        file.write(header(kind, memory.getbuffer()))
        file.write(memory.getbuffer())
    files.remove_leftovers(path)  # of an attempt that was killed while it wrote


def read_tensors(path: Path, kind: str) -> dict[str, Any]:
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


KIND = "checkpoint"
"""What the file says that it is."""


class Checkpoint:
    """The checkpoint file of one run; whoever keeps the run's record deletes it.

    Parameters
    ----------
    folder : Path
        The run's own.
    config : RunConfig
        The run: a checkpoint of another one is not read.
    """

    def __init__(self, folder: Path, config: RunConfig) -> None:
        self.path = folder / CHECKPOINT
        self._run = json.dumps(_identity(config), sort_keys=True)

    def write(self, content: dict[str, Any]) -> None:
        """Replace the file; a kill at any moment leaves the old one or the new one."""
        write_tensors(self.path, KIND, {**content, "run": self._run})

    def read(self) -> dict[str, Any] | None:
        """The file's content; None when there is none or it is another run's.

        A damaged file is set aside with a sentence on stderr, and the run starts afresh.
        """
        try:
            content = read_tensors(self.path, KIND)
        except FileNotFoundError:
            return None
        except DamagedFileError as error:
            files.set_aside(error, "and the run starts afresh")
            return None
        return content if content.get("run") == self._run else None


def _identity(config: RunConfig) -> dict[str, Any]:
    """All of a config that decides a run's bits; not who launched it, and not where its data lie."""
    identity = flatten(asdict(config))
    for key in ("data.dir", "data.path", "init_from", "save_weights"):
        del identity[key]
    return identity
