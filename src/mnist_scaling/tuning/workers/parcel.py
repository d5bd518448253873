"""A job as it travels: everything that a worker needs which shares nothing with the sweep but the program."""

from __future__ import annotations

import copy
import os
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from mnist_scaling import config
from mnist_scaling.config import RunConfig
from mnist_scaling.study import layout
from mnist_scaling.tuning import task
from mnist_scaling.tuning.task import Task
from mnist_scaling.tuning.workers import faults
from mnist_scaling.tuning.workers.job import Job, Outcome

_PLACES = ("data.dir", "data.path", "init_from")
"""Config keys that name a place, which may be another one at a worker; a record has the sweep's."""


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
    """A job, and what goes with it."""

    job: Job
    values: Mapping[str, Any]
    """Every config key of the run."""
    folder: str
    """The run's own, absolute, as the sweep has made it."""
    places: Mapping[str, str]
    """Config keys of `_PLACES` with the sweep's absolute paths."""
    weights: bytes | None = None
    """The file of the weights that the run starts from, for a worker that may not find it."""
    host: str = field(default_factory=socket.gethostname)
    """The sweep's."""
    owner: int | None = None
    """Process of the sweep, with which a worker on its host is to end; None where an engine sees to that."""

    @property
    def is_at_home(self) -> bool:
        """Whether this process is on the sweep's host."""
        return self.host == socket.gethostname()


class Packer:
    """Makes parcels of an application's jobs.

    Parameters
    ----------
    application : Application
    far : bool
        Whether workers may be on other hosts, and outlive the sweep.
    """

    def __init__(self, application: Application, far: bool = False) -> None:
        self._application, self._far, self._folder = application, far, application.folder
        self._composed: dict[tuple[str, ...], tuple[DictConfig, dict[str, Any] | None]] = {}

    def pack(self, job: Job) -> Parcel | Outcome:
        """A job with all of its values; its folder is made. What keeps it from that is the job's outcome."""
        try:
            return self._pack(job)
        except Exception as error:  # a rule that a setting breaks, weights that are gone, a disk that is full
            return Outcome(None, faults.as_text(error))

    def _pack(self, job: Job) -> Parcel:
        values = {**self._values(job), "trial.stage": job.stage}
        folder = self._folder / job.folder
        folder.mkdir(parents=True, exist_ok=True)
        places = {key: str(Path(values[key]).absolute()) for key in _PLACES if values.get(key) is not None}
        weights = None
        if self._far and "init_from" in places:
            weights = (Path(places["init_from"]) / layout.WEIGHTS).read_bytes()
        owner = None if self._far else os.getpid()
        # What the values are made of stays here.
        return Parcel(replace(job, overrides=(), values=None), values, str(folder), places, weights, owner=owner)

    def _values(self, job: Job) -> dict[str, Any]:
        """Plain values take their place in the cell's own; where one follows another, the whole run is composed."""
        if job.values is not None:
            return {**job.values, **job.settings}
        cfg, values = self._cell(job.overrides)
        if values is not None:
            return {**values, **job.settings}
        cfg = copy.deepcopy(cfg)
        with open_dict(cfg):
            for key, value in job.settings.items():
                OmegaConf.update(cfg, key, value)
        return _flat(cfg)

    def _cell(self, overrides: tuple[str, ...]) -> tuple[DictConfig, dict[str, Any] | None]:
        """A cell's config, composed once, and its run's values; None where one follows another."""
        if overrides not in self._composed:
            app = self._application
            cfg = app.context.config_loader.load_sweep_config(app.config, list(overrides))
            own = OmegaConf.masked_copy(cfg, [f.name for f in fields(RunConfig) if f.name in cfg])
            follows = "${" in str(OmegaConf.to_container(own, resolve=False))
            self._composed[overrides] = cfg, None if follows else _flat(cfg)
        return self._composed[overrides]


def _flat(cfg: DictConfig) -> dict[str, Any]:
    return config.flatten(asdict(config.build(RunConfig, cfg)))
