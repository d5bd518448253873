"""A function of anyone's Hydra application as a task."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping
from math import isfinite
from pathlib import Path
from typing import Any

from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf

from mnist_scaling import cli
from mnist_scaling.app import place as places
from mnist_scaling.app.measured import EndOfRun, Reports, ended, measured, number
from mnist_scaling.app.values import config_of, in_hydra, values_of
from mnist_scaling.errors import InputError, nearest, printable
from mnist_scaling.study import layout
from mnist_scaling.study.result import TrainResult
from mnist_scaling.tuning.task import Report, Task, Values
from mnist_scaling.tuning.workers import faults


class AppTask(Task):
    """A function of a configuration that returns a loss, or a dict with a loss and further numbers.

    Parameters
    ----------
    function : callable
        ``function(cfg, report)``.
    loss : str
        Key of the loss that is tuned.
    seed : str
        Config key of the seed.
    cost : callable, optional
        ``cost(cfg)``: relative cost of a run, so that dear cells follow cheap ones.
    columns : mapping
        What further columns mean, for columns.json.
    """

    command = ("python", *sys.argv[:1])

    def __init__(
        self,
        function: Callable[..., Any],
        loss: str = "val_loss",
        seed: str = "seed",
        cost: Callable[[DictConfig], float] | None = None,
        columns: Mapping[str, str] = {},
    ) -> None:
        self.function, self.loss, self.seed, self.meanings = function, loss, seed, dict(columns)
        self._cost = cost
        self._defaults: Values = {}
        self._hydra: DictConfig | None = None

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Where it is found, and what Hydra has said of the sweep; whole only where it lies in no file."""
        place = places.place_of(self.function, self)
        if place is None:
            return super().__reduce_ex__(protocol)
        return _found, (place, self._hydra)

    @property
    def program(self) -> str:
        """The script or module, and the function."""
        return places.name_of(self.function)

    def begin(self, cfg: DictConfig, context: HydraContext) -> None:
        """Keep what Hydra says of the sweep, and the application's own defaults."""
        self._hydra = OmegaConf.masked_copy(cfg, "hydra")
        if "${now" in str(OmegaConf.to_container(cfg.hydra.sweep, resolve=False)["dir"]):  # type: ignore[call-overload, index]
            raise InputError(
                "A study must have a folder that a resume finds again, but the application's `hydra.sweep.dir` holds "
                "the time: add 'hydra.sweep.dir=multirun/${name}' to the command, or to its configuration."
            )
        with contextlib.suppress(Exception):  # a default that must be given: then every value is told as a setting
            self._defaults = self.values(context.config_loader.load_sweep_config(cfg, []))

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """Tell a user's error in one sentence: no command of ours stands around an application."""
        try:
            yield
        except (InputError, faults.SetUpError) as error:
            print(f"Error: {printable(str(error))}", file=sys.stderr)
            raise SystemExit(1) from None
        except KeyboardInterrupt:
            print("\nInterrupted. Every run that has ended is kept; the same command resumes.", file=sys.stderr)
            raise SystemExit(cli.INTERRUPTED) from None

    def values(self, cfg: DictConfig) -> dict[str, Any]:
        """Every key; what only a run can resolve stays as it is written."""
        values = values_of(OmegaConf.masked_copy(cfg, self.nodes(cfg)))
        if not isinstance(values.get(self.seed), int):
            has = f"it is {values[self.seed]!r}" if self.seed in values else "there is none"
            near = nearest(self.seed, values, "")
            raise InputError(
                f"`{self.seed}` must be a whole number in the application's configuration, because the repeats of a "
                f"setting differ in it alone, but {has}: add `{self.seed}: 0`, or name the key by "
                f"cell_task(seed=…). {near}".strip()
            )
        return values

    def defaults(self, values: Values) -> Values:
        """The application's own configuration without overrides."""
        del values
        return self._defaults

    def cost(self, values: Values) -> float:
        """What the application says, if it says anything."""
        if self._cost is None:
            return 1.0
        found = number("cost's value", self._cost(config_of(values)))
        if not (isfinite(found) and found > 0):
            raise InputError(f"`cost` must give a positive number, but gave {found}: give a relative cost of the run.")
        return found

    def train(self, values: Values, report: Report | None, folder: Path) -> TrainResult:
        """One run of the function; what it prints goes into its folder."""
        reports = Reports(report)
        output = folder / layout.OUTPUT
        with (
            output.open("w", encoding="utf-8", errors="replace", buffering=1) as file,
            in_hydra(self._hydra, config_of(values), folder) as cfg,
            contextlib.redirect_stdout(file),
            contextlib.redirect_stderr(file),
        ):
            try:
                return self.measured(self.function(cfg, reports), reports)
            except EndOfRun as end:
                return ended(end.state, reports)
            except SystemExit as end:
                raise RuntimeError(f"the run called sys.exit({end.code!r})") from None
            finally:
                file.flush()
                if not output.stat().st_size:
                    output.unlink()

    def measured(self, found: Any, reports: Reports) -> TrainResult:
        """What the function returned, checked."""
        return measured(found, self.loss, self.function.__name__, reports)


def _found(place: places.Place, hydra: DictConfig | None) -> AppTask:
    """The task at a place, in a worker.

    Raises
    ------
    MachineError
        When the application can't be imported there.
    """
    try:
        task = places.task_at(place)
    except Exception as error:
        raise faults.MachineError(
            f"a worker can't import the application {place.module}, {place.file} "
            f"({type(error).__name__}: {error}): give the workers the same folder, or install it there"
        ) from None
    assert isinstance(task, AppTask)
    task._hydra = hydra
    return task
