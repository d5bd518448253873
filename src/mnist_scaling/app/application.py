"""Anyone's Hydra application as a task, and the decorator that makes it one: `mnist_scaling.cell_task`.

@hydra.main(config_path="conf", config_name="train", version_base=None)
@cell_task
def main(cfg, report):
    ...
    return {"val_loss": …, "test_loss": …, "n_params": …, "n_seen": …, "flops": …}
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from math import isfinite
from operator import attrgetter
from pathlib import Path
from typing import Any

import yaml
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf

from mnist_scaling import cli
from mnist_scaling.app import travel
from mnist_scaling.app.measured import NUMBERS, EndOfRun, Reports, ended, measured, number
from mnist_scaling.app.travel import config_of, in_hydra, values_of
from mnist_scaling.errors import InputError, nearest, printable
from mnist_scaling.study import layout
from mnist_scaling.study.columns import TrainResult
from mnist_scaling.tuning.task import Report, Task, Values, tunes
from mnist_scaling.tuning.workers import faults, rounds


class AppTask(Task):
    """A function of a configuration that returns a loss, or a dict with a loss and further numbers: see `cell_task`."""

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
        self._enums: dict[str, Enum] = {}

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Where it is found, and what Hydra has said of the sweep; whole only where it lies in no file."""
        place = travel.place_of(self.function, self)
        if place is None:
            return super().__reduce_ex__(protocol)
        return _task_at, (place, self._hydra)

    @property
    def program(self) -> str:
        """The script or module, and the function."""
        return travel.name_of(self.function)

    def begin(self, cfg: DictConfig, context: HydraContext) -> None:
        """Keep what Hydra says of the sweep, and the application's own defaults."""
        cli.note_repeated([*cfg.hydra.overrides.hydra, *cfg.hydra.overrides.task])
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
        except InputError as error:
            print(f"Error: {printable(str(error))}", file=sys.stderr)
            raise SystemExit(1) from None
        except KeyboardInterrupt:
            print("\nInterrupted. Every run that has ended is kept; the same command resumes.", file=sys.stderr)
            raise SystemExit(cli.INTERRUPTED) from None

    def values(self, cfg: DictConfig) -> dict[str, Any]:
        """Every key; what only a run can resolve stays as it is written."""
        values = values_of(OmegaConf.masked_copy(cfg, self.nodes(cfg)), self._enums)
        if not isinstance(values.get(self.seed), int):
            has = f"it is {values[self.seed]!r}" if self.seed in values else "there is none"
            near = nearest(self.seed, values, "")
            raise InputError(
                f"`{self.seed}` must be a whole number in the application's configuration, because the repeats of a "
                f"setting differ in it alone, but {has}: add `{self.seed}: 0`, or name the key by "
                f"cell_task(seed=…). {near}".strip()
            )
        return values

    def pack(self, values: Values, far: bool = False) -> dict[str, tuple[str, str]]:
        """Where the enum of each key is found whose value is a member's name: a worker has it by the application."""
        kinds = {key: type(enum) for key, enum in self._enums.items() if key in values}
        return {key: (kind.__module__, kind.__qualname__) for key, kind in kinds.items()}

    def unpack(self, values: Values, payload: Mapping[str, tuple[str, str]], *held: Any) -> dict[str, Any]:
        """The values, with members of enums in place of their names."""
        return {**values, **{key: self._member(place, values[key]) for key, place in payload.items()}}

    def _member(self, place: tuple[str, str], name: Any) -> Any:
        """The member of an enum, which may be one of the script; a value that is none stays."""
        module = self.function.__module__ if place[0] == "__main__" else place[0]
        return attrgetter(place[1])(importlib.import_module(module)).__members__.get(name, name)

    def defaults(self, values: Values) -> Values:
        """The application's own configuration without overrides."""
        return self._defaults

    def cost(self, values: Values) -> float:
        """What the application says, if it says anything."""
        if self._cost is None:
            return 1.0
        cost = number("cost's value", self._cost(config_of(self.unpack(values, self.pack(values)))))
        if not (isfinite(cost) and cost > 0):
            raise InputError(f"`cost` must give a positive number, but gave {cost}: give a relative cost of the run.")
        return cost

    def train(self, values: Values, report: Report | None, folder: Path) -> TrainResult:
        """One run of the function; what it prints goes into its folder."""
        output = folder / layout.OUTPUT
        with (
            output.open("w", encoding="utf-8", errors="replace", buffering=1) as file,
            in_hydra(self._hydra, config_of(values), folder) as cfg,
            contextlib.redirect_stdout(file),
            contextlib.redirect_stderr(file),
        ):
            try:
                return self.once(cfg, Reports(report))
            except SystemExit as end:
                raise RuntimeError(f"the run called sys.exit({end.code!r})") from None
            finally:
                file.flush()
                if not output.stat().st_size:
                    output.unlink()

    def once(self, cfg: DictConfig, reports: Reports) -> TrainResult:
        """One call of the function: what it returned, checked."""
        try:
            return measured(self.function(cfg, reports), self.loss, self.function.__name__, reports)
        except EndOfRun as end:
            return ended(end.state, reports)


def _task_at(place: travel.Place, hydra: DictConfig | None) -> AppTask:
    """The task at a place, in a worker; MachineError when the application can't be imported there."""
    try:
        task = travel.task_at(place)
    except Exception as error:
        raise faults.MachineError(
            f"a worker can't import the application {place.module}, {place.file} "
            f"({type(error).__name__}: {error}): give the workers the same folder, or install it there"
        ) from None
    assert isinstance(task, AppTask)
    task._hydra = hydra
    return task


@functools.cache
def offer_configs() -> None:
    """Let `hydra/sweeper=cells` and our launchers be found by the application that is about to start."""
    root, store = Path(cli.conf_dir()), ConfigStore.instance()
    for path in sorted((root / "hydra").rglob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        package = re.match(r"# @package (\S+)", text)
        node = yaml.safe_load(text)
        group = path.parent.relative_to(root).as_posix()
        if (group, path.stem) == ("hydra/sweeper", "cells"):
            every_core = {"override /hydra/launcher@_global_.hydra.launcher": "local"}  # unless another one is named
            node["defaults"] += [{"/hydra/study@_global_": "by_name"}, every_core]
        store.store(path.stem, node, group, package[1] if package else None, "mnist_scaling", replace=True)
    named = {"name": "${hydra:job.name}", "hydra": {"sweep": {"dir": f"{layout.MULTIRUN}/${{name}}"}}}
    store.store("by_name", named, "hydra/study", "_global_", "mnist_scaling", replace=True)


def cell_task(function: Any = None, **options: Any) -> Any:
    """Decorator that lets `hydra/sweeper=cells` tune an application cell by cell; ``hydra.main`` goes outside it.

    Parameters
    ----------
    function : callable
        ``main(cfg, report)``, which returns its validation loss, or a dict of numbers with it: ``test_loss``,
        ``n_params``, ``n_seen`` and ``flops`` are what `fit` looks for, and further ones become columns.
        ``report(share, loss)`` says how a run goes, so that a pruner may stop it; it may be ignored.
    loss : str
        Key of the loss that is tuned: val_loss.
    seed : str
        Config key of the seed: seed.
    cost : callable, optional
        ``cost(cfg)``: relative cost of a run, so that dear cells follow cheap ones.
    columns : mapping
        What further columns mean, for columns.json.
    """
    if function is None:
        return functools.partial(cell_task, **options)
    offer_configs()
    task = AppTask(function, **options)

    @functools.wraps(function)
    def main(cfg: DictConfig) -> float | None:
        if rounds.ran_job(Path(HydraConfig.get().runtime.output_dir), task):
            return None
        cli.note_repeated(HydraConfig.get().overrides.task)
        with task.errors():
            result = task.once(cfg, Reports())
            shown = {name: getattr(result, name) for name in NUMBERS} | result.further
            told = ", ".join(f"{name}={value:.6g}" for name, value in shown.items() if value is not None)
            print(f"{result.state}: {told}" if told else result.state)
            return result.val_loss

    return tunes(task)(main)
