"""Small pieces the tuning tests share: a composed config, and studies over an analytic loss."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from operator import itemgetter
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from mnist_scaling import cli, config
from mnist_scaling.config import RunConfig, from_values
from mnist_scaling.image_task import ImageTask
from mnist_scaling.study.columns import COMPLETE, INDEPENDENT, TrainResult
from mnist_scaling.tuning.cell import composition, partitioning
from mnist_scaling.tuning.cell.next_settings import Effort
from mnist_scaling.tuning.sweep.driver import Driver
from mnist_scaling.tuning.sweep.next_jobs import Method
from mnist_scaling.tuning.sweep.study_tables import join
from mnist_scaling.tuning.task import Prepared, Report, Values
from mnist_scaling.tuning.workers.job import Job, Outcome, Parcel
from mnist_scaling.tuning.workers.perform import perform

Train = Callable[[RunConfig, Report | None], TrainResult]

SAMPLER = OmegaConf.create({"_target_": "optuna.samplers.TPESampler", "n_startup_trials": 2, "multivariate": True})


@functools.lru_cache(maxsize=64)
def _composed(overrides: tuple[str, ...]) -> DictConfig:
    with initialize_config_dir(cli.conf_dir()):
        return compose("train", list(overrides), return_hydra_config=True)


def composed(overrides: Sequence[str] = ()) -> DictConfig:
    """The train config with overrides, with Hydra's own node, as a sweep composes it; each is composed once."""
    return copy.deepcopy(_composed(tuple(overrides)))


def make_cells(
    *arguments: str, most: int | None = None, listed: Sequence[Mapping[str, str]] = ({},)
) -> list[composition.Cell]:
    """Cells of a sweep's overrides, and of an explicit list."""
    space = config.flatten(composed()["search_space"])
    return composition.cells(partitioning.partition(arguments, space), composed, Trains(), most, listed)


def bowl(run: RunConfig, report: Report | None = None) -> TrainResult:
    """A stand-in for training with a known optimum: lr = 1e-2, dropout = 0; the loss falls with D."""
    from math import log10

    n = round(50_000 * run.data.fraction)
    loss = n**-0.5 * (1 + (log10(run.optim.lr) + 2) ** 2 + run.model.dropout) + 1e-6 * run.seed
    test = None if run.trial.stage == "trial" else loss
    return TrainResult(
        COMPLETE, 100, 10, 20, 70, n, n, 1.0, n // 32, 600 * n, 200 * n, 60 * n, loss, 0.1, test, test, test
    )


class Trains(ImageTask):
    """What is tuned in tests: a function of a run, which needs no images."""

    preload = ()

    def __init__(self, function: Train = bowl, price: Callable[[Values], float] = itemgetter("data.fraction")) -> None:
        self.function, self.price = function, price

    def train(self, values: Values, report: Report | None, folder: Path) -> TrainResult:
        del folder
        return self.function(from_values(values), report)

    def cost(self, values: Values) -> float:
        return self.price(values)

    def prepare(self, runs: Sequence[Values]) -> list[Prepared]:
        return [Prepared() for _ in runs]


class InProcess:
    """Workers for tests: jobs run in this process, in rounds or, where they are isolated, one at a time.

    Parameters
    ----------
    train : callable
        Trains a run.
    before : callable, optional
        Called with each job before it starts: raising plays a process that dies.
    isolates : bool
    """

    def __init__(
        self, train: Train = bowl, before: Callable[[Job], None] | None = None, isolates: bool = False
    ) -> None:
        self.train, self.before, self.isolates = train, before, isolates
        self.folder = Path()
        self.batches: list[list[str]] = []
        self._submitted: list[tuple[Job, Future[Outcome]]] = []

    def room(self) -> int | None:
        return 2 - len(self._submitted) if self.isolates else None

    def count(self) -> int | None:
        return None

    def submit(self, job: Job) -> Future[Outcome]:
        future: Future[Outcome] = Future()
        self._submitted.append((job, future))
        return future

    def flush(self) -> None:
        jobs, self._submitted = self._submitted, []
        if self.isolates:
            jobs, self._submitted = jobs[:1], jobs[1:]
        self.batches.append([job.folder for job, _ in jobs])
        lost: Exception | None = None
        for job, future in jobs:
            outcome = Outcome(None, f"the launcher ended with {type(lost).__name__}: {lost}") if lost else None
            try:
                future.set_result(outcome or self._run(job))
            except Exception as error:  # it takes what follows in its batch with it
                lost = error
                future.set_result(Outcome(None, f"the launcher ended with {type(error).__name__}: {error}"))

    def _run(self, job: Job) -> Outcome:
        if self.before:
            self.before(job)
        assert job.values is not None
        values = {**job.values, **job.settings, "trial.stage": job.stage}
        folder = self.folder / job.folder
        folder.mkdir(parents=True, exist_ok=True)
        return perform(Parcel(job, values, str(folder), {"data.dir": str(self.folder)}), Trains(self.train))

    def __enter__(self) -> InProcess:
        return self

    def __exit__(self, *error: object) -> None:
        pass


class Study:
    """A study over an analytic loss, ready to be run.

    Parameters
    ----------
    folder : Path
    workers : InProcess
    *arguments : str
        Hydra overrides of the sweep.
    n_trials, n_repeats, batch, rule, sampler, pruner, **effort
        See `Method`.
    """

    def __init__(
        self,
        folder: Path,
        workers: InProcess,
        *arguments: str,
        n_trials: int = 3,
        n_repeats: int = 2,
        batch: int = 1,
        rule: str = INDEPENDENT,
        sampler: DictConfig = SAMPLER,
        pruner: DictConfig | None = None,
        mirror: Any = None,
        **effort: Any,
    ) -> None:
        self.cells = make_cells(*arguments)
        self.workers = workers
        workers.folder = folder
        joined = join(folder, self.cells)
        method = Method(Effort(n_trials, n_repeats, batch, **effort), sampler, pruner, rule)
        self.driver = Driver(folder, self.cells, method, joined, mirror)

    def run(self) -> None:
        """Tune to the end."""
        with self.workers:
            self.driver.run(self.workers)
