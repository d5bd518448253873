"""Small pieces the tuning tests share: a composed config, and studies over an analytic loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from mnist_scaling import cli, config
from mnist_scaling.config import RunConfig
from mnist_scaling.study.result import TrainResult
from mnist_scaling.study.vocabulary import COMPLETE, INDEPENDENT
from mnist_scaling.tuning.cell import cell_study
from mnist_scaling.tuning.cell.cell_tuner import Effort
from mnist_scaling.tuning.grid import partitioning
from mnist_scaling.tuning.stored.channel import Channel
from mnist_scaling.tuning.stored.storage import open_storage
from mnist_scaling.tuning.sweep import tuner
from mnist_scaling.tuning.trainer import Report, Trainer
from mnist_scaling.tuning.workers import execution
from mnist_scaling.tuning.workers.rounds import Rounds

PATIENCE = 60.0
"""Seconds to wait for a database."""

SAMPLER = OmegaConf.create({"_target_": "optuna.samplers.TPESampler", "n_startup_trials": 2, "multivariate": True})


def composed(overrides: Sequence[str] = ()) -> DictConfig:
    """The train config with overrides, with Hydra's own node, as a sweep composes it."""
    with initialize_config_dir(cli.conf_dir()):
        return compose("train", list(overrides), return_hydra_config=True)


def make_cells(
    *arguments: str, most: int | None = None, listed: Sequence[Mapping[str, str]] = ({},)
) -> list[partitioning.Cell]:
    """Cells of a sweep's overrides, and of an explicit list."""
    space = config.flatten(composed()["search_space"])
    return partitioning.cells(
        partitioning.partition(arguments, space), composed, lambda run: run.data.fraction, most, listed
    )


def bowl(run: RunConfig, report: Report | None = None) -> TrainResult:
    """A stand-in for training with a known optimum: lr = 1e-2, dropout = 0; the loss falls with D."""
    from math import log10

    n = round(50_000 * run.data.fraction)
    loss = n**-0.5 * (1 + (log10(run.optim.lr) + 2) ** 2 + run.model.dropout) + 1e-6 * run.seed
    test = None if run.trial.stage == "trial" else loss
    return TrainResult(
        COMPLETE, 100, 10, 20, 70, n, n, 1.0, n // 32, 600 * n, 200 * n, 60 * n, loss, 0.1, test, test, test
    )


def trains_by(train: execution.Train = bowl) -> Trainer:
    """A trainer whose runs are `train`."""
    return Trainer(
        train=lambda run, report, folder: train(run, report),
        cost=lambda run: run.data.fraction,
        prepare=lambda data: None,
        warm_up=lambda: None,
    )


class InProcess:
    """A launcher for tests: composes each job's config from its overrides, as Hydra's basic launcher does.

    It runs the shipped worker on whatever `train` is given; `before` can raise to play a dying process.
    """

    def __init__(
        self,
        folder: Path,
        train: execution.Train = bowl,
        before: Callable[[RunConfig], None] | None = None,
        pruner: DictConfig | None = None,
        storage: str | None = None,
    ) -> None:
        self.folder, self.train, self.before, self.pruner, self.storage = folder, train, before, pruner, storage
        self.batches: list[list[str]] = []

    def __call__(self, jobs: Sequence[Sequence[str]]) -> None:
        self.batches.append([])
        for overrides in jobs:
            parsed = OverridesParser.create().parse_overrides(list(overrides))
            subdir = next(str(o.value()) for o in parsed if o.key_or_group == "hydra.sweep.subdir")
            run = config.build(RunConfig, composed([o for o in overrides if not o.startswith("hydra.")]))
            self.batches[-1].append(subdir)
            (self.folder / subdir).mkdir(parents=True, exist_ok=True)
            if self.before:
                self.before(run)
            channel = Channel(run.trial, self.storage, self.folder, self.pruner, PATIENCE)
            execution.work(run, self.folder / subdir, channel, trains_by(self.train))


def make_tuner(
    folder: Path,
    launch: Any,
    *arguments: str,
    n_trials: int = 3,
    n_repeats: int = 2,
    batch: int = 1,
    rule: str = INDEPENDENT,
    url: str | None = None,
    **effort: Any,
) -> tuner.Tuner:
    """A tuner over a grid, on the default storage in `folder` or another one."""
    storage = open_storage(url, folder, PATIENCE)
    cells = make_cells(*arguments)
    joined = tuner.join(folder, cells)
    studies = [cell_study.CellStudy(cell, storage, SAMPLER) for cell in cells]
    tried = Effort(n_trials, n_repeats, batch, **effort)
    return tuner.Tuner(folder, studies, Rounds(launch, folder), tried, rule, joined)
