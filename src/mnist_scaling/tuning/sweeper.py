"""The Hydra plugin. Every Hydra app in the environment imports this module, so it imports optuna late."""

from __future__ import annotations

import contextlib
import multiprocessing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from mnist_scaling.errors import InputError, require
from mnist_scaling.study import files, identity, layout
from mnist_scaling.tuning import task
from mnist_scaling.tuning.workers import faults

if TYPE_CHECKING:
    from mnist_scaling.tuning.cell.composition import Cell
    from mnist_scaling.tuning.cell.partitioning import Partition
    from mnist_scaling.tuning.sweep import forecast
    from mnist_scaling.tuning.sweep.driver import Driver
    from mnist_scaling.tuning.workers.job import Workers


class CellSweeper(Sweeper):
    """Optuna inside every cell of a grid; parameters are documented in conf/hydra/sweeper/cells.yaml.

    The application says how it trains by `task.tunes`, or by `mnist_scaling.cell_task`.
    """

    def __init__(
        self,
        sampler: DictConfig,
        storage: str | None,
        params: DictConfig | None,
        cells: str | None,
        max_values_per_axis: int | None,
        pruner: DictConfig | None,
        transfer: str,
        dry_run: bool = False,
        **effort: Any,
    ) -> None:
        from mnist_scaling.tuning.cell.next_settings import Effort
        from mnist_scaling.tuning.sweep.next_jobs import Method

        for key in effort.keys() - {f.name for f in fields(Effort)}:
            raise InputError(
                f"Every key must exist in the configuration, but got `hydra.sweeper.{key}`: see "
                "conf/hydra/sweeper/cells.yaml for the keys."
            )
        self.method = Method(Effort(**effort), sampler, pruner, transfer)
        require(isinstance(dry_run, bool), f"`hydra.sweeper.dry_run` must be true or false, but got {dry_run}.")
        most = max_values_per_axis
        require(
            most is None or (type(most) is int and most >= 1),
            f"`hydra.sweeper.max_values_per_axis` must be null or a whole number of 1 or more, but got {most}.",
        )
        self.storage, self.params, self.cells, self.most, self.dry_run = storage, params, cells, most, dry_run

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep Hydra's context and how the application trains, and make the launcher."""
        self.task = task.of(task_function)
        self.task_function: TaskFunction = task_function
        self.config: DictConfig = config
        self.hydra_context: HydraContext = hydra_context
        with self.task.errors():
            self.task.begin(config, hydra_context)
            self.launcher: Launcher = Plugins.instance().instantiate_launcher(
                hydra_context=hydra_context, task_function=task_function, config=config
            )

    def sweep(self, arguments: list[str]) -> None:
        """Tune every cell of the grid that the overrides span; resume what is there, also after a machine's fault."""

        def measured() -> int:
            return sum(1 for _ in Path(str(self.config.hydra.sweep.dir)).rglob(layout.RESULT))

        with self.task.errors():
            if getattr(multiprocessing.current_process(), "_inheriting", False):
                raise InputError(
                    "A program that is tuned must start under `if __name__ == '__main__':`, because workers import "
                    "it, but this one starts a sweep when it is imported: put the call that starts it under that line."
                )
            faults.resume_after(lambda: self._sweep(arguments), measured)

    def _sweep(self, arguments: list[str]) -> None:
        from mnist_scaling.tuning.cell import optuna_objects
        from mnist_scaling.tuning.sweep import announcement, ledger, study_tables

        optuna_objects.check(self.method.sampler, self.method.pruner)
        if any(given.lstrip("+").startswith("hydra.sweep.subdir=") for given in self.config.hydra.overrides.hydra):
            raise InputError(
                "The folders of a study's runs must be named by its axes, so that a rerun finds them, but "
                "`hydra.sweep.subdir` was given: leave it out, or choose the study's folder by hydra.sweep.dir."
            )
        layout.study_folder(str(self.config.name))  # refuses a name that is no folder of its own
        folder = Path(str(self.config.hydra.sweep.dir))
        if self.dry_run:
            cells = self._cells(arguments)
            self._check_launcher(cells)
            cells, _ = self._prepare(cells)
            study_tables.join(folder, cells, method=self.method.settings)
            announcement.show_plan(self._planned(folder, arguments, cells), ledger.Ledger(folder, cells))
            return
        with contextlib.ExitStack() as held:
            # The workers of a new study import torch while its cells are composed; one with tables may be finished.
            workers = None if (folder / layout.CELLS).exists() else held.enter_context(self._workers())
            cells = self._cells(arguments)
            held.enter_context(ledger.opened(folder))
            self._check_launcher(cells)
            cells, facts = self._prepare(cells)
            driver = self._driver(folder, arguments, cells, facts, held)
            if driver.is_finished():
                print("Every cell has its trials and repeats: nothing is left to do.")
                driver.finish()
            else:
                for cell in cells:
                    _ = cell.cost  # raises where a run can't be trained
                announcement.show_plan(self._planned(folder, arguments, cells), driver.ledger)
                driver.run(workers or held.enter_context(self._workers()))
        announcement.show_result(folder)

    def _driver(
        self,
        folder: Path,
        arguments: list[str],
        cells: Sequence[Cell],
        facts: Sequence[Mapping[str, Any]],
        held: contextlib.ExitStack,
    ) -> Driver:
        """What drives the study, with its mirror, which is filled before `held` ends."""
        from mnist_scaling.tuning.optuna_mirror import Mirror, without_password
        from mnist_scaling.tuning.sweep import study_tables
        from mnist_scaling.tuning.sweep.driver import Driver

        joined = study_tables.join(folder, cells, method=self.method.settings)
        given = [o for o in self.config.hydra.overrides.hydra if o != "hydra.mode=MULTIRUN"]  # what -m is
        made = identity.collect([without_password(o) for o in (*given, *arguments)], self.task.command) | joined
        made |= {identity.DATA: facts, identity.ASKED: len(cells)}
        if self.task.meanings:
            files.write_json(folder / layout.COLUMNS, dict(self.task.meanings))
        mirror = Mirror(self.storage, folder)
        driver = Driver(folder, cells, self.method, made, mirror)

        def catch_up() -> None:
            mirror.show([(cell, driver.ledger.trials(cell)) for cell in cells], again=True)

        catch_up()
        held.callback(mirror.close)
        held.callback(catch_up)
        return driver

    def _planned(self, folder: Path, arguments: list[str], cells: Sequence[Cell]) -> forecast.Sweep:
        """The sweep, ready to train."""
        from mnist_scaling.tuning.sweep import forecast

        workers = self.launcher.expected_workers() if hasattr(self.launcher, "expected_workers") else None
        return forecast.Sweep(folder, self._partition(arguments), cells, self.method, workers)

    def foreseen(self, arguments: list[str]) -> forecast.Sweep:
        """The sweep that these overrides ask for, checked against its study's folder; nothing is fetched or written.

        Files of images and of weights are not opened, so their checksums are left to the sweep itself.
        """
        from mnist_scaling.tuning.sweep.study_tables import join

        folder, cells = Path(str(self.config.hydra.sweep.dir)), self._cells(arguments)
        join(folder, cells, self.task.checksums, self.method.settings)
        return self._planned(folder, arguments, cells)

    def _check_launcher(self, cells: Sequence[Cell]) -> None:
        """Refuse a launcher whose library is missing, and a device that is not there, before anything is fetched."""
        if hasattr(self.launcher, "check"):
            self.launcher.check([cell.values for cell in cells])

    def _prepare(self, cells: Sequence[Cell]) -> tuple[list[Cell], list[Mapping[str, Any]]]:
        """Fetch or check what the grid needs, once: the cells bound to it, and what is known of each data set."""
        prepared = self.task.prepare([cell.values for cell in cells])
        for note in dict.fromkeys(one.note for one in prepared if one.note):
            print(f"Note: {note}.")
        bound = [cell.bound(one.bound) for cell, one in zip(cells, prepared, strict=True)]
        facts = [dict(one.facts) for one in prepared if one.facts]
        return bound, [one for place, one in enumerate(facts) if one not in facts[:place]]

    def _partition(self, arguments: list[str]) -> Partition:
        from mnist_scaling import config
        from mnist_scaling.tuning.cell import partitioning

        listed = self._listed()[0]  # a list of cells stands in place of an experiment's axes
        given = [f"{key!s}={value}" for key, value in (self.params or {}).items() if str(key) not in listed]
        space = config.flatten(self.config.get("search_space") or {})
        tuned = (key for key, spec in space.items() if spec is not None)
        return partitioning.partition([*given, *arguments], tuned, self.hydra_context.config_loader)

    def _cells(self, arguments: list[str]) -> list[Cell]:
        from mnist_scaling.tuning.cell import composition

        parts = self._partition(arguments)

        def compose(overrides: list[str]) -> DictConfig:
            return self.hydra_context.config_loader.load_sweep_config(self.config, overrides)

        return composition.cells(parts, compose, self.task, self.most, self._listed(parts.keys))

    def _listed(self, given: Iterable[str] = ()) -> Sequence[Mapping[str, str]]:
        """The settings of an explicit list of cells; one cell without any where there is none."""
        from mnist_scaling.tuning.cell import partitioning

        return ({},) if self.cells is None else partitioning.read_cell_list(self.cells, given)

    def _workers(self) -> Workers:
        """The launcher's own workers, else rounds of whatever launcher it is."""
        from mnist_scaling.tuning.workers.job import Application
        from mnist_scaling.tuning.workers.rounds import Rounds

        if hasattr(self.launcher, "workers"):
            return self.launcher.workers()  # type: ignore[no-any-return]
        return Rounds(Application(self.hydra_context, self.config, self.task_function), self.launcher)
