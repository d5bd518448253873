"""A job, which is one run: as the sweep asks for it, as it travels to any worker, and what comes back of it."""

from __future__ import annotations

import copy
import os
import socket
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import cloudpickle
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from mnist_scaling.errors import InputError
from mnist_scaling.tuning import task
from mnist_scaling.tuning.task import Task
from mnist_scaling.tuning.workers import faults

if TYPE_CHECKING:
    from mnist_scaling.tuning.cell.trial import Trial


@dataclass(frozen=True)
class Pruning:
    """What a worker needs to judge a trial's reports (`cell.optuna_objects.stopped`)."""

    pruner: dict[str, Any]
    """Node of ``hydra/sweeper/pruner`` as plain values."""
    earlier: tuple[Trial, ...]
    """Finished trials of earlier rounds, which is all that the pruner may see beside the trial itself; without their
    settings, which no pruner looks at."""
    cell: str = ""
    """Its name: Hyperband takes a trial's bracket from it."""


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
    """Number within the cell, from 0: of the trial, or of the repeat."""
    seed: int
    origin: str = ""
    """Where the setting of a trial comes from; a repeat's is selected."""
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
    is_second_attempt: bool = False
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


def packed(task: Task) -> bytes:
    """A task as it travels; InputError when it can't: it lies in no file, and holds what has no meaning elsewhere."""
    try:
        return cloudpickle.dumps(task)
    except Exception as error:
        raise InputError(
            f"A task must be able to travel to workers, but {task.program} can't be pickled "
            f"({type(error).__name__}: {error}): put its function into a file, at the top, where workers import it."
        ) from error


def loaded(task: bytes) -> Task | Outcome:
    """A task that has travelled; an outcome in its place, for every job, where this worker can't import it."""
    try:
        return cloudpickle.loads(task)  # type: ignore[no-any-return]
    except Exception as error:
        return Outcome(None, faults.as_text(error))


class Workers:
    """Where jobs run: this machine's processes, a cluster's workers, or rounds of any Hydra launcher."""

    isolates = True
    """Whether a job that kills its process takes no other job with it."""

    def room(self) -> int | None:
        """How many jobs to hand over now; None for any number, as where a launcher has its own queue."""
        return None

    def count(self) -> int | None:
        """Runs that go on side by side, for the time that is left; None where unknown."""
        return None

    def submit(self, job: Job) -> Future[Outcome]:
        """Hand over a job; its future has an outcome whatever happens, and never an exception."""
        raise NotImplementedError

    def flush(self) -> None:
        """Run what was handed over, where jobs go in rounds; elsewhere nothing is to do."""

    def close(self) -> None:
        """End whatever is running."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


@dataclass(frozen=True)
class Application:
    """The Hydra application whose runs these are."""

    context: HydraContext
    config: DictConfig
    main: TaskFunction

    @property
    def task(self) -> Task:
        """What it trains."""
        return task.of(self.main)

    @property
    def folder(self) -> Path:
        """The study's folder, absolute."""
        return Path(str(self.config.hydra.sweep.dir)).absolute()


@dataclass(frozen=True)
class Parcel:
    """A job as it travels: with everything that a worker needs which shares nothing with the sweep but the program."""

    job: Job
    values: Mapping[str, Any]
    """Every config key of the run."""
    folder: str
    """The run's own, absolute, as the sweep has made it."""
    payload: Mapping[str, Any]
    """What else the program needs there (`Task.pack`)."""
    host: str = field(default_factory=socket.gethostname)
    """The sweep's."""
    owner: int | None = None
    """Process of the sweep, with which a worker on its host is to end; None where a cluster sees to that."""

    @property
    def is_at_home(self) -> bool:
        """Whether this process is on the sweep's host."""
        return self.host == socket.gethostname()


class Packer:
    """Makes parcels of an application's jobs; `far` workers may be on other hosts, and outlive the sweep."""

    def __init__(self, application: Application, far: bool = False) -> None:
        self._application, self._far, self._folder = application, far, application.folder
        self._task = application.task
        self._composed: dict[tuple[str, ...], DictConfig] = {}

    def pack(self, job: Job) -> Parcel | Outcome:
        """A job with all of its values; its folder is made. What keeps it from that is the job's outcome."""
        try:
            return self._pack(job)
        except Exception as error:  # a rule that a setting breaks, weights that are gone, a disk that is full
            return Outcome(None, faults.as_text(error))

    def _pack(self, job: Job) -> Parcel:
        values = self._task.of_stage(self._values(job), job.stage)
        folder = self._folder / job.folder
        folder.mkdir(parents=True, exist_ok=True)
        payload = self._task.pack(values, self._far)
        owner = None if self._far else os.getpid()
        # What the values are made of stays here.
        return Parcel(replace(job, overrides=(), values=None), values, str(folder), payload, owner=owner)

    def _values(self, job: Job) -> dict[str, Any]:
        """Plain values take their place in the cell's own; where one follows another, the whole run is composed."""
        if job.values is not None:
            return {**job.values, **job.settings}
        if job.overrides not in self._composed:
            app = self._application
            self._composed[job.overrides] = app.context.config_loader.load_sweep_config(app.config, [*job.overrides])
        cfg = copy.deepcopy(self._composed[job.overrides])
        with open_dict(cfg):
            for key, value in job.settings.items():
                OmegaConf.update(cfg, key, value)
        return self._task.values(cfg)
