"""One run to launch, as the overrides that turn a cell's config into it."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.types import Quote, QuotedString

from mnist_scaling.study import layout
from mnist_scaling.study.vocabulary import SAMPLER
from mnist_scaling.tuning.grid.partitioning import Cell

if TYPE_CHECKING:
    from mnist_scaling.tuning.stored.study_copy import StudyCopy


@dataclass(frozen=True)
class Job:
    """One run to launch."""

    cell: Cell
    stage: str
    index: int
    number: int
    seed: int
    params: dict[str, Any]
    study: str
    """Name of the cell's study in its storage."""
    origin: str = SAMPLER
    """Where the setting of a trial comes from."""
    alone: bool = False
    """Whether it is the second attempt of a run that left no record."""
    study_copy: Callable[[], StudyCopy] | None = field(default=None, compare=False, repr=False)
    """The cell's study as it is now, for a trial whose worker can't reach the storage; None for a repeat, which asks
    nothing of it."""

    @property
    def folder(self) -> Path:
        """The run's folder, relative to the study's."""
        return Path(self.cell.folder) / layout.run_folder(self.stage, self.index)

    @property
    def settings(self) -> dict[str, Any]:
        """What turns the cell's config into this run's: config key to plain value."""
        return {
            **self.params,
            "seed": self.seed,
            "trial.stage": self.stage,
            "trial.study": self.study,
            "trial.index": self.index,
            "trial.number": self.number,
            "trial.origin": self.origin,
            "trial.host": socket.gethostname(),
            "trial.owner": os.getpid(),
            "hydra.sweep.subdir": str(self.folder),
            # The record has the whole config; Hydra's own three files would be two thirds of a study's disk space.
            "hydra.output_subdir": None,
        }

    @property
    def overrides(self) -> list[str]:
        """The whole run as Hydra overrides."""
        return [*self.cell.overrides, *(f"{key}={literal(value)}" for key, value in self.settings.items())]


def literal(value: Any) -> str:
    """A value as Hydra's override grammar reads it back."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return QuotedString(value, Quote.single).with_quotes()
    return repr(value)
