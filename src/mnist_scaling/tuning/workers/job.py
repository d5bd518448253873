"""A job, which is one run, what comes back of it, and what every place with workers can do."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Self


@dataclass(frozen=True)
class Pruning:
    """What a worker needs to judge a trial's reports, without a storage (`cell.optuna_objects.stopped`)."""

    pruner: dict[str, Any]
    """Node of ``hydra/sweeper/pruner`` as plain values."""
    earlier: tuple[dict[str, Any], ...]
    """Finished trials of earlier rounds, which is all that the pruner may see beside the trial itself."""
    study: str = ""
    """The cell's name: Hyperband takes a trial's bracket from it."""


@dataclass(frozen=True)
class Job:
    """One run to launch."""

    cell: str
    """The cell's name."""
    folder: str
    """The run's folder, relative to the study's."""
    overrides: tuple[str, ...]
    """Hydra overrides of the cell."""
    settings: dict[str, Any]
    """What turns the cell's run into this one: config key to plain value, the tuned keys and the seed."""
    stage: str
    index: int
    """Place within the cell, from 0: of the trial, or of the repeat."""
    seed: int
    origin: str
    """Where the setting of a trial comes from."""
    notes: dict[str, Any] = field(default_factory=dict)
    """What the sampler noted; it goes into the record together with what the pruner notes."""
    ranges: dict[str, str] = field(default_factory=dict)
    """Tuned key to the range, as Optuna's JSON, in which the setting was asked for; it goes into the record."""
    pruning: Pruning | None = None
    """None where nothing is reported: a repeat, a study without a pruner."""
    values: Mapping[str, Any] | None = None
    """Every config key of the cell's run with its plain value (`Cell.values`). None where one value follows another
    one: then the overrides and the settings are composed, for every job."""
    cost: float = 0.0
    """Relative cost, which decides nothing but the order."""
    alone: bool = False
    """Whether it is the second attempt of a run that left no record."""


@dataclass(frozen=True)
class Outcome:
    """How a job ended."""

    record: dict[str, Any] | None
    """Content of the run's result.json, without its checksum; None when the process died or the machine is at fault."""
    error: str | None = None
    """Why there is no record; `faults.is_text` tells a fault of the machine."""
    files: dict[str, bytes] = field(default_factory=dict)
    """Further files of the run's folder, such as weights, by name: to be written before the record."""


class Workers:
    """Where jobs run: this machine's processes, a cluster's workers, or rounds of any Hydra launcher."""

    isolates = True
    """Whether a job that kills its process takes no other job with it."""

    def room(self) -> int | None:
        """How many jobs to hand over now; None for any number."""
        raise NotImplementedError

    def count(self) -> int | None:
        """Runs that go on side by side, for the time that is left; None where unknown."""
        raise NotImplementedError

    def submit(self, job: Job) -> Future[Outcome]:
        """Hand over a job; its future has an outcome whatever happens, and never an exception."""
        raise NotImplementedError

    def flush(self) -> None:
        """Run what was handed over, together, where jobs go in rounds; elsewhere nothing is left to do."""

    def close(self) -> None:
        """End whatever is running."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
