"""The file that lets a killed run go on where it was."""

from __future__ import annotations

import json
import os
import pickle
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from mnist_scaling.config import RunConfig, flatten
from mnist_scaling.study.layout import CHECKPOINT


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
        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=f".{CHECKPOINT}.")
        try:
            with os.fdopen(handle, "wb") as file:
                torch.save({**content, "run": self._run}, file)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self.path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        for left in self.path.parent.glob(f".{CHECKPOINT}.*"):  # of an attempt that was killed while it wrote
            left.unlink(missing_ok=True)

    def read(self) -> dict[str, Any] | None:
        """The file's content; None when there is none, it can't be read, or it is another run's."""
        try:
            # weights_only: tensors and plain values, so that a file never runs code.
            content: dict[str, Any] = torch.load(self.path, map_location="cpu", weights_only=True)
        except (FileNotFoundError, EOFError, RuntimeError, pickle.UnpicklingError):
            return None
        return content if content.get("run") == self._run else None


def _identity(config: RunConfig) -> dict[str, Any]:
    """All of a config that decides a run's bits; not who launched it, and not where its data lie."""
    skipped = ("trial.index", "trial.number", "trial.host", "trial.owner", "trial.study", "data.dir", "data.path")
    return {key: value for key, value in flatten(asdict(config)).items() if key not in skipped}
