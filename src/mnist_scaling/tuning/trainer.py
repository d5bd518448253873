"""What tuning needs of training, as one object that a command hands over: tuning imports no part of training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from mnist_scaling.config import DataConfig, RunConfig
from mnist_scaling.errors import InputError
from mnist_scaling.study.result import TrainResult

Report = Callable[[int, float], bool]
"""Takes a report's number and its loss; whether the run is to stop."""

Task = TypeVar("Task", bound=Callable[..., Any])

_ATTRIBUTE = "trainer"


@dataclass(frozen=True)
class DataFacts:
    """What is known of a data set before the first run on it."""

    name: str
    """Value of `data.name`."""
    image_shape: tuple[int, ...]
    """Channels, height, width."""
    classes: int
    n_train: int
    """Training images that a share of 1 has."""
    n_validation: int
    n_test: int
    sha256: str | None = None
    """Checksum of a file of one's own; a named data set is checked against published ones."""


@dataclass(frozen=True)
class Start:
    """What is known of the weights that a run starts from."""

    sha256: str
    note: str = ""
    """What of them is not taken over, in words."""


@dataclass(frozen=True)
class Trainer:
    """Everything of training that a sweep calls; its functions import what is heavy when they are called."""

    train: Callable[[RunConfig, Report | None, Path], TrainResult]
    """One run: its config, what listens to its reports, and the folder for its checkpoint."""
    cost: Callable[[RunConfig], float]
    """Relative cost of a run; raises InputError where the run's configuration can't be trained."""
    prepare: Callable[[DataConfig], DataFacts | None]
    """Fetches or checks a data set before the first run needs it; what is known of it, if anything."""
    warm_up: Callable[[], object]
    """Imports what every run needs, while the sweep gets ready."""
    start: Callable[[RunConfig], Start | None] = lambda run: None
    """Checks the weights that a run starts from, if any, before the first run needs them; what is known of them."""


def uses(trainer: Trainer) -> Callable[[Task], Task]:
    """Decorator that hands a trainer to the sweeps of a Hydra application; ``hydra.main`` goes outside it.

    Hydra passes a sweeper and its launchers nothing of an application but this function.
    """

    def attach(task: Task) -> Task:
        setattr(task, _ATTRIBUTE, trainer)
        return task

    return attach


def of(task: Callable[..., Any]) -> Trainer:
    """The trainer of a Hydra application.

    Raises
    ------
    InputError
        When the application has none.
    """
    trainer = getattr(task, _ATTRIBUTE, None)
    if not isinstance(trainer, Trainer):
        raise InputError(
            "`hydra/sweeper=cells` and `hydra/launcher=local` run an application that says how it trains, but this "
            "one does not: put `@trainer.uses(Trainer(…))` of mnist_scaling.tuning under its `@hydra.main`."
        )
    return trainer
