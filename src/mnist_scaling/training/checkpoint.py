"""The file that lets a killed run go on where it was."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from mnist_scaling.config import RunConfig, defaults_like, flatten
from mnist_scaling.study import files
from mnist_scaling.study.files import DamagedFileError
from mnist_scaling.study.layout import CHECKPOINT

_MAGIC = b"mnist_scaling checkpoint, SHA-256 of what follows this line: "
"""How the file begins. The checksum in hexadecimal digits and a line feed follow, then what `torch.save` writes."""


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
        self._defaults = _identity(defaults_like(config))

    def write(self, content: dict[str, Any]) -> None:
        """Replace the file; a kill at any moment leaves the old one or the new one."""
        memory = io.BytesIO()
        torch.save({**content, "run": self._run}, memory)
        with files.replacing(self.path) as file:
            file.write(_header(memory.getbuffer()))
            file.write(memory.getbuffer())
        files.remove_leftovers(self.path)  # of an attempt that was killed while it wrote

    def read(self) -> dict[str, Any] | None:
        """The file's content; None when there is none or it is another run's.

        A damaged file is set aside with a sentence on stderr, and the run starts afresh.
        """
        try:
            found = self.path.read_bytes()
        except FileNotFoundError:
            return None
        try:
            content = _content(self.path, found)
        except DamagedFileError as error:
            files.set_aside(error, "and the run starts afresh")
            return None
        # A key that was added since the file was written is at its default there.
        return content if self._defaults | json.loads(content["run"]) == json.loads(self._run) else None


def _header(content: bytes | memoryview) -> bytes:
    return _MAGIC + hashlib.sha256(content).hexdigest().encode() + b"\n"


def _content(path: Path, found: bytes) -> dict[str, Any]:
    """What was saved in a file of these bytes.

    Raises
    ------
    DamagedFileError
        When a byte differs from what was written, or the file holds no checkpoint.
    """
    size = len(_header(b""))
    if found[:size] != _header(memoryview(found)[size:]):
        raise DamagedFileError(path, "its checksum is not that of its content")
    try:
        # weights_only admits tensors and plain values, so that a file never runs code.
        content = torch.load(io.BytesIO(found[size:]), map_location="cpu", weights_only=True)
    except (EOFError, RuntimeError, pickle.UnpicklingError) as error:
        raise DamagedFileError(path, f"it holds no checkpoint: {type(error).__name__}") from error
    if not isinstance(content, dict) or not isinstance(content.get("run"), str):
        raise DamagedFileError(path, "it holds no checkpoint")
    return content


def _identity(config: RunConfig) -> dict[str, Any]:
    """All of a config that decides a run's bits; not who launched it, and not where its data lie."""
    skipped = ("trial.index", "trial.number", "trial.host", "trial.owner", "trial.study", "data.dir", "data.path")
    return {key: value for key, value in flatten(asdict(config)).items() if key not in skipped}
