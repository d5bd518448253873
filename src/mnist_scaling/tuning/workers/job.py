"""What goes to a worker, one run, and what comes back of it: plain values that any process can read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Pruning:
    """What a worker needs to judge a trial's reports, without a storage (`tuning.cell.pruning.stopped`)."""

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
