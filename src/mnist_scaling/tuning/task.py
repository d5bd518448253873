"""The door: what a program that is tuned brings, and all that tuning knows of it.

A task turns a Hydra configuration into plain values, one per dotted key (`Task.values`), and plain values into what one
run measured (`Task.train`). Nothing else is asked of a program. What it may say besides: what a run costs, what of
its configuration changes no result, what is fetched or checked before the first run (`prepare`), and what a worker
needs that shares nothing with the sweep (`pack`, `unpack`). Our own training is one such task (`image_task`); a
function of anyone's Hydra application becomes one by `mnist_scaling.cell_task` (`app`).

A job travels as plain values, and the task as a reference to the program by its module or file, which a worker imports
once; only a function that lives in no file, such as a notebook's, is pickled whole. What makes the runs of a program
those of one study is in `study.identity`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from hydra.types import HydraContext
from omegaconf import DictConfig

from mnist_scaling.errors import InputError
from mnist_scaling.study.columns import TrainResult

Values = Mapping[str, Any]
"""Every dotted config key of a run, and its plain value."""

Report = Callable[[int, float], bool]
"""Takes a report's number, from 1, and its loss; whether the run is to stop."""

Main = TypeVar("Main", bound=Callable[..., Any])

_ATTRIBUTE = "task"


@dataclass(frozen=True)
class Prepared:
    """What is known of a cell before its first run, once what it needs was fetched and checked."""

    bound: Values = field(default_factory=dict)
    """Config keys that its runs are bound to, such as the checksum of a file: a worker refuses another."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Of its data, for study.json; empty where there is nothing to say."""
    note: str = ""
    """What a person should know before the first run."""


class Task:
    """The program that is tuned, pickled for workers: a subclass has `values`, `train`, and whatever else it says."""

    preload: tuple[str, ...] = ()
    """Modules that every run needs, which workers import while the sweep gets ready."""
    seed = "seed"
    """Config key of the seed: repeats of a setting differ in it alone."""
    no_effect: tuple[str, ...] = ("name",)
    """Config keys that change no result: a resume may change them."""
    structural: tuple[str, ...] = ()
    """Config keys on whose value it depends which other keys there are."""
    checksums: tuple[str, ...] = ()
    """Config keys of files' contents, which are known once `prepare` has opened the files."""
    cap = ""
    """Config key of the cap on a run's length: raised, it takes on the runs that it had cut short, and no others."""
    last = ""
    """Config key of the last branch of a run that measures several: repeats go no further than their setting needs."""
    meanings: Mapping[str, str] = {}
    """What the program's further columns mean, by column, for columns.json."""
    command: tuple[str, ...] = ()
    """What starts the program, for study.json."""
    predicts_seconds = False
    """Whether a cost is the seconds of a run on an idle core."""

    def begin(self, cfg: DictConfig, context: HydraContext) -> None:
        """Take in what Hydra says of a sweep, before anything else is asked."""

    def errors(self) -> contextlib.AbstractContextManager[None]:
        """What stands around a sweep to tell a user's error; our own commands have theirs."""
        return contextlib.nullcontext()

    def values(self, cfg: DictConfig) -> dict[str, Any]:
        """The values of a composed configuration, checked; raises InputError where they break a rule."""
        raise NotImplementedError

    def train(self, values: Values, report: Report | None, folder: Path) -> TrainResult:
        """One run: its values, what listens to its reports, and a folder for its files."""
        raise NotImplementedError

    def nodes(self, cfg: DictConfig) -> list[str]:
        """Top-level keys of a configuration that a run is made of."""
        return [str(key) for key in cfg if key not in ("hydra", "search_space")]

    def checked(self, values: Values) -> dict[str, Any]:
        """Values of which some were changed, checked like `values`; raises InputError where they break a rule."""
        return dict(values)

    def of_stage(self, values: Values, stage: str) -> dict[str, Any]:
        """Values of a run that is a trial or a repeat, where that makes a difference to the program."""
        return dict(values)

    def defaults(self, values: Values) -> Values:
        """The default of every key, for a run with such values."""
        return {}

    def cost(self, values: Values) -> float:
        """Relative cost of a run; raises InputError where the run's configuration can't be trained."""
        return 1.0

    def counts(self, values: Values) -> Mapping[str, float]:
        """Columns that are known of a run before it starts, such as n_params, n_seen and flops."""
        return {}

    def check(self, values: Values) -> None:
        """Refuse a run that this machine can't train, such as one on a device that it lacks, with an InputError."""

    def prepare(self, runs: Sequence[Values]) -> list[Prepared]:
        """Fetch and check, once, what the cells of a sweep need; one answer for each cell."""
        return [Prepared() for _ in runs]

    def pack(self, values: Values, far: bool) -> Mapping[str, Any]:
        """What travels with a run beside its values; `far` where workers may share no disk with the sweep."""
        return {}

    def unpack(
        self, values: Values, payload: Mapping[str, Any], is_at_home: bool, held: contextlib.ExitStack
    ) -> dict[str, Any]:
        """The values as they are at a worker, where what the run needs was fetched; `held` ends with the run."""
        return dict(values)

    @property
    def program(self) -> str:
        """What trains, for the study's identity: runs of two programs are no one study."""
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
    """The task of a Hydra application; InputError when it has none."""
    task = getattr(main, _ATTRIBUTE, None)
    if not isinstance(task, Task):
        raise InputError(
            "`hydra/sweeper=cells` and `hydra/launcher=local` run an application that says how it trains, but this "
            "one does not: put `@cell_task` of mnist_scaling under its `@hydra.main`."
        )
    return task
