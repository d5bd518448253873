"""One run to launch, as the overrides that turn a cell's config into it."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mnist_scaling.tuning import records
from mnist_scaling.tuning.grid import Cell


@dataclass(frozen=True)
class Job:
    """One run to launch."""

    cell: Cell
    stage: str
    index: int
    number: int
    seed: int
    params: dict[str, Any]

    @property
    def folder(self) -> Path:
        """The run's folder, relative to the study's."""
        return Path(self.cell.folder) / records.run_folder(self.stage, self.index)

    @property
    def overrides(self) -> list[str]:
        """What turns the cell's config into this run's."""
        settings = {
            **self.params,
            "seed": self.seed,
            "trial.stage": self.stage,
            "trial.study": self.cell.name,
            "trial.index": self.index,
            "trial.number": self.number,
            "trial.host": socket.gethostname(),
            "trial.owner": os.getpid(),
            "hydra.sweep.subdir": str(self.folder),
        }
        return [*self.cell.overrides, *(f"{key}={literal(value)}" for key, value in settings.items())]


def literal(value: Any) -> str:
    """A value as Hydra's override grammar reads it back."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return "'" + value.replace("'", "\\'") + "'"
    return repr(value)
