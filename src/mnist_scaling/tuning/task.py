"""What a program that is tuned brings: how it trains and, if it likes, what is known before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from mnist_scaling.config import DataConfig, RunConfig
from mnist_scaling.errors import InputError
from mnist_scaling.study.result import TrainResult

Report = Callable[[int, float], bool]
"""Takes a report's number, from 1, and its loss; whether the run is to stop."""

Main = TypeVar("Main", bound=Callable[..., Any])

_ATTRIBUTE = "task"


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


class Task:
    """The program that is tuned: a subclass has `train`, and what else it wants to say. It is pickled for workers."""

    preload: tuple[str, ...] = ()
    """Modules that every run needs, which workers import while the sweep gets ready."""

    def train(self, run: RunConfig, report: Report | None, folder: Path) -> TrainResult:
        """One run: its config, what listens to its reports, and a folder for its checkpoint and further files."""
        raise NotImplementedError

    def cost(self, run: RunConfig) -> float:
        """Relative cost of a run; raises InputError where the run's configuration can't be trained."""
        del run
        return 1.0

    def prepare(self, data: DataConfig) -> DataFacts | None:
        """Fetch or check a data set before the first run needs it; what is known of it, if anything."""
        del data
        return None

    def check(self, run: RunConfig) -> None:
        """Refuse a run that this machine can't train, such as one on a device that it lacks, with an InputError."""

    def start(self, run: RunConfig) -> Start | None:
        """Check the weights that a run starts from, if any, before the first run needs them; what is known of them."""
        del run
        return None

    @property
    def program(self) -> str:
        """The module that trains, for the study's identity: runs of two programs are no one study."""
        return type(self).__module__


def tunes(task: Task) -> Callable[[Main], Main]:
    """Decorator that says what the sweeps of a Hydra application train; ``hydra.main`` goes outside it.

    Hydra passes a sweeper and its launchers nothing of an application but this function.
    """

    def attach(main: Main) -> Main:
        setattr(main, _ATTRIBUTE, task)
        return main

    return attach


def of(main: Callable[..., Any]) -> Task:
    """The task of a Hydra application.

    Raises
    ------
    InputError
        When the application has none.
    """
    task = getattr(main, _ATTRIBUTE, None)
    if not isinstance(task, Task):
        raise InputError(
            "`hydra/sweeper=cells` and `hydra/launcher=local` run an application that says how it trains, but this "
            "one does not: put `@tunes(…)` of mnist_scaling.tuning.task, with a subclass of its Task, under its "
            "`@hydra.main`."
        )
    return task
