"""A job, run as Hydra's launchers run one, in whatever process has become a worker of the application."""

from __future__ import annotations

import copy
import functools
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import run_job
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from mnist_scaling import config
from mnist_scaling.config import RunConfig
from mnist_scaling.tuning import trainer
from mnist_scaling.tuning.workers import execution, faults


@dataclass(frozen=True)
class Application:
    """What a worker needs of the Hydra application to run any of its jobs."""

    context: HydraContext
    config: DictConfig
    task: TaskFunction


_APPLICATION: list[Application] = []


def serve(application: Application) -> None:
    """Make this process a worker of an application; configs composed for an earlier one are forgotten."""
    _APPLICATION[:] = [application]
    _composed.cache_clear()
    _cell_run.cache_clear()


@functools.lru_cache(maxsize=32)
def _composed(overrides: tuple[str, ...]) -> DictConfig:
    (app,) = _APPLICATION
    return app.context.config_loader.load_sweep_config(app.config, list(overrides))


def run(cell: tuple[str, ...], settings: dict[str, Any], overrides: list[str], number: int) -> str | None:
    """Run a job in this worker; its error as text, because not every exception survives a pickle.

    A cell's run is built once, and a job's values take their place in it. Hydra's own way to run a job composes, copies
    and builds for each; its callbacks and its logging to a file in the run's folder belong to that way.
    """
    (app,) = _APPLICATION
    try:
        found = _cell_run(cell)
        if found is None:  # a key may follow a tuned one
            cfg = copy.deepcopy(_composed(cell))
            _make_job(cfg, settings, overrides, number)
            found = config.build(RunConfig, cfg), cfg.hydra
        one, hydra = found
        folder = Path(hydra.sweep.dir, settings["hydra.sweep.subdir"]).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        own = {key: value for key, value in settings.items() if not key.startswith("hydra.")}
        execution.task(config.with_values(one, own), hydra, folder)(trainer.of(app.task))
    except Exception as error:
        return faults.as_text(error)
    return None


def run_composed(cfg: DictConfig, settings: Mapping[str, Any], overrides: list[str], number: int) -> str | None:
    """Run a job as Hydra's launchers do, with a cell's config that was composed before, and is changed."""
    (app,) = _APPLICATION
    try:
        _make_job(cfg, settings, overrides, number)
        done = run_job(
            task_function=app.task,
            config=cfg,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
            hydra_context=app.context,
        )
        _ = done.return_value
    except Exception as error:
        return faults.as_text(error)
    return None


@functools.lru_cache(maxsize=64)
def _cell_run(overrides: tuple[str, ...]) -> tuple[RunConfig, Any] | None:
    """A cell's run and Hydra's part of its configuration; None where a key's value follows another one's.

    Building a run from a configuration takes a hundred times as long as replacing some of its values.
    """
    cfg = _composed(overrides)
    own = OmegaConf.masked_copy(cfg, [f.name for f in fields(RunConfig) if f.name in cfg])
    if "${" in OmegaConf.to_yaml(own):
        return None
    HydraConfig.instance().set_config(cfg)
    return config.build(RunConfig, cfg), cfg.hydra


def _make_job(cfg: DictConfig, settings: Mapping[str, Any], overrides: list[str], number: int) -> None:
    """Make a cell's configuration a job's, and Hydra's global state too.

    Plain values come last in Hydra's own composition too, so that setting them afterwards is the same.
    """
    with open_dict(cfg):
        for key, value in settings.items():
            OmegaConf.update(cfg, key, value)
        cfg.hydra.overrides.task = overrides
        cfg.hydra.job.id, cfg.hydra.job.num = f"{cfg.hydra.job.name}_{number}", number
    HydraConfig.instance().set_config(cfg)
