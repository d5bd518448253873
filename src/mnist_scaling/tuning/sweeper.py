"""The Hydra plugin. Every Hydra app in the environment imports this module, so it imports optuna late."""

from __future__ import annotations

import contextlib
import functools
import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from mnist_scaling.errors import InputError
from mnist_scaling.study import identity
from mnist_scaling.study.vocabulary import TRANSFER_RULES
from mnist_scaling.tuning import task
from mnist_scaling.tuning.workers import faults

if TYPE_CHECKING:
    from mnist_scaling.tuning.grid.partitioning import Cell, Partition
    from mnist_scaling.tuning.sweep import announcement
    from mnist_scaling.tuning.sweep.driver import Driver
    from mnist_scaling.tuning.sweep.ledger import Ledger
    from mnist_scaling.tuning.task import DataFacts
    from mnist_scaling.tuning.workers.job import Workers

_FULL = "full"
"""Value of `scale` that shrinks nothing."""

Sweep = Callable[["CellSweeper", list[str]], None]


def _taken_up_after_faults(sweep: Sweep) -> Sweep:
    """A sweep that is resumed after a fault of the machine (`faults.resume_after`)."""

    @functools.wraps(sweep)
    def sweep_to_the_end(self: CellSweeper, arguments: list[str]) -> None:
        from mnist_scaling.study import layout

        def measured() -> int:
            return sum(1 for _ in Path(str(self.config.hydra.sweep.dir)).rglob(layout.RESULT))

        faults.resume_after(lambda: sweep(self, arguments), measured)

    return sweep_to_the_end


class CellSweeper(Sweeper):
    """Optuna inside every cell of a grid; parameters are documented in conf/hydra/sweeper/cells.yaml.

    The application says how it trains by `task.tunes`.
    """

    def __init__(
        self,
        sampler: DictConfig,
        n_trials: int,
        n_repeats: int,
        trials_per_batch: int,
        storage: str | None,
        params: DictConfig | None,
        cells: str | None,
        max_values_per_axis: int | None,
        pruner: DictConfig | None,
        transfer: str,
        widen: bool,
        stop_below: float | None,
        dry_run: bool = False,
        **unknown: object,
    ) -> None:
        for key in unknown:
            raise InputError(
                f"Every key must exist in the configuration, but got `hydra.sweeper.{key}`: see "
                "conf/hydra/sweeper/cells.yaml for the keys."
            )
        for key, value, least in (
            ("n_trials", n_trials, 1),
            ("n_repeats", n_repeats, 0),
            ("trials_per_batch", trials_per_batch, 1),
        ):
            if not isinstance(value, int) or value < least:
                raise InputError(f"`hydra.sweeper.{key}` must be a whole number of {least} or more, but got {value}.")
        if stop_below is not None and not (isinstance(stop_below, int | float) and 0 <= stop_below < 1):
            raise InputError(
                f"`hydra.sweeper.stop_below` must be null or a share of the loss from 0 to 1, but got {stop_below}."
            )
        if transfer not in TRANSFER_RULES:
            raise InputError(
                f"`hydra.sweeper.transfer` must be one of {', '.join(TRANSFER_RULES)}, but got {transfer!r}."
            )
        self.sampler, self.params = sampler, params
        self.storage = storage
        self.n_trials, self.n_repeats, self.trials_per_batch = n_trials, n_repeats, trials_per_batch
        self.cells = cells
        self.max_values_per_axis = max_values_per_axis
        self.transfer, self.widen, self.stop_below = transfer, widen, stop_below
        self.pruner, self.dry_run = pruner, dry_run

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep Hydra's context and how the application trains, and make the launcher."""
        self.task = task.of(task_function)
        self.task_function: TaskFunction = task_function
        self.config: DictConfig = config
        self.hydra_context: HydraContext = hydra_context
        self.launcher: Launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    @_taken_up_after_faults
    def sweep(self, arguments: list[str]) -> None:
        """Tune every cell of the grid that the overrides span; resume what is there.

        Raises
        ------
        InputError
            When an override, a config or the study's folder is at fault.
        """
        from mnist_scaling.study import layout
        from mnist_scaling.tuning.cell import optuna_objects
        from mnist_scaling.tuning.sweep import printout
        from mnist_scaling.tuning.sweep.ledger import Ledger
        from mnist_scaling.tuning.sweep.study_tables import join

        optuna_objects.check_sampler(self.sampler)
        arguments = self._named(arguments)
        layout.study_folder(str(self.config.name))  # refuses a name that is no folder of its own
        folder = Path(str(self.config.hydra.sweep.dir))
        if self.dry_run:
            cells, facts = self._prepare(self._cells(arguments))
            join(folder, cells)
            self._announce(folder, arguments, cells, facts, Ledger(folder, cells))
            return
        with contextlib.ExitStack() as opened:
            # The workers of a new study import torch while its cells are composed; one with tables may be finished.
            workers = None if (folder / layout.CELLS).exists() else opened.enter_context(self._workers())
            cells = self._cells(arguments)
            _make_writable(folder)
            opened.enter_context(_lock(folder))
            cells, facts = self._prepare(cells)
            driver = self._driver(folder, arguments, cells, facts, opened)
            if driver.is_finished():
                print("Every cell has its trials and repeats: nothing is left to do.")
                driver.finish()
            else:
                for cell in cells:
                    _ = cell.cost  # raises where a run can't be trained
                self._announce(folder, arguments, cells, facts, driver.ledger)
                driver.run(workers or opened.enter_context(self._workers()))
        printout.show(folder)

    def _driver(
        self,
        folder: Path,
        arguments: list[str],
        cells: Sequence[Cell],
        facts: Sequence[DataFacts],
        opened: contextlib.ExitStack,
    ) -> Driver:
        """What drives the study, with its mirror, which is filled before `opened` ends."""
        from mnist_scaling.study import provenance
        from mnist_scaling.tuning.cell.next_settings import Effort
        from mnist_scaling.tuning.mirror import Mirror, without_password
        from mnist_scaling.tuning.sweep.driver import Driver
        from mnist_scaling.tuning.sweep.next_jobs import Method
        from mnist_scaling.tuning.sweep.study_tables import join

        joined = join(folder, cells)
        given = [o for o in self.config.hydra.overrides.hydra if o != "hydra.mode=MULTIRUN"]  # what -m is
        made = provenance.collect([without_password(o) for o in (*given, *arguments)]) | joined
        made |= {provenance.DATA: [asdict(known) for known in facts]}
        effort = Effort(self.n_trials, self.n_repeats, self.trials_per_batch, self.widen, self.stop_below)
        method = Method(effort, self.sampler, self.pruner, self.transfer)
        mirror = Mirror(self.storage, folder)
        driver = Driver(folder, cells, method, made, mirror)

        def catch_up() -> None:
            mirror.catch_up([(cell, driver.ledger.trials(cell)) for cell in cells])

        catch_up()
        opened.callback(mirror.close)
        opened.callback(catch_up)
        return driver

    def _named(self, arguments: list[str]) -> list[str]:
        """The overrides, with a name of its own for a study that was shrunk and given none.

        Otherwise a sweep and the same one with scale=smoke would both be the study `default`.
        """
        from mnist_scaling.config import TrainConfig

        scale = self.config.hydra.runtime.choices.get("scale")
        default = TrainConfig.name
        shrunk = f"{default}_{scale}"
        # A list of names is refused later on. The shrunk name is there already when a sweep is taken up again.
        given = any(argument.lstrip("+").startswith("name=") for argument in arguments)
        if given or self.config.name not in (default, shrunk) or scale in (None, _FULL):
            return arguments
        self.config.name = shrunk
        return [*arguments, f"name={self.config.name}"]

    def _announce(
        self, folder: Path, arguments: list[str], cells: Sequence[Cell], facts: Sequence[DataFacts], ledger: Ledger
    ) -> None:
        """Print what was understood."""
        from mnist_scaling.tuning.sweep import announcement

        announcement.show(self._understood(folder, arguments, cells, facts), ledger)

    def _understood(
        self, folder: Path, arguments: list[str], cells: Sequence[Cell], facts: Sequence[DataFacts]
    ) -> announcement.Sweep:
        """The sweep, ready to train."""
        from mnist_scaling.tuning.sweep import announcement

        named = (str(node["_target_"]).rsplit(".", 1)[-1] for node in (self.sampler, self.pruner) if node)
        workers = self.launcher.expected_workers() if hasattr(self.launcher, "expected_workers") else None
        return announcement.Sweep(
            folder, self._partition(arguments), cells, facts, self.n_trials, self.n_repeats,
            ", ".join([*named, f"transfer={self.transfer}"]), self.max_values_per_axis, workers, self.task.cost,
            self.transfer, self.trials_per_batch,
        )  # fmt: skip

    def foreseen(self, arguments: list[str]) -> announcement.Sweep:
        """The sweep that these overrides ask for, checked against its study's folder; nothing is fetched or written.

        Files of images and of weights are not opened, so their checksums are left to the sweep itself.

        Raises
        ------
        InputError
            When an override or a config is at fault, or the study in the folder is another one.
        """
        from mnist_scaling.tuning.sweep.study_tables import join

        arguments = self._named(arguments)
        folder, cells = Path(str(self.config.hydra.sweep.dir)), self._cells(arguments)
        join(folder, cells, identity.CHECKSUMS)
        return self._understood(folder, arguments, cells, ())

    def _prepare(self, cells: Sequence[Cell]) -> tuple[list[Cell], list[DataFacts]]:
        """Fetch or check every data set of the grid, once; the cells bound to it, and what is known of each."""
        whole = [cell.run.data.whole for cell in cells]
        known = {data: self.task.prepare(data) for data in dict.fromkeys(whole)}
        facts = {data: found for data, found in known.items() if found is not None}
        bound = [
            cell.on(facts[data].sha256) if data in facts else cell for cell, data in zip(cells, whole, strict=True)
        ]
        starts = [self.task.start(cell.run) for cell in bound]
        for note in dict.fromkeys(start.note for start in starts if start and start.note):
            print(f"Note: {note}.")
        bound = [cell.starting_at(start.sha256) if start else cell for cell, start in zip(bound, starts, strict=True)]
        return bound, list(facts.values())

    def _partition(self, arguments: list[str]) -> Partition:
        from mnist_scaling import config
        from mnist_scaling.tuning.grid import partitioning

        given = [f"{key!s}={value}" for key, value in (self.params or {}).items()]
        space = config.flatten(self.config.get("search_space") or {})
        return partitioning.partition([*given, *arguments], (key for key, spec in space.items() if spec is not None))

    def _cells(self, arguments: list[str]) -> list[Cell]:
        from mnist_scaling.tuning.grid import cell_list, partitioning

        parts = self._partition(arguments)

        def compose(overrides: list[str]) -> DictConfig:
            return self.hydra_context.config_loader.load_sweep_config(self.config, overrides)

        listed: Sequence[Mapping[str, str]] = ({},)
        if self.cells is not None:
            listed = cell_list.read(self.cells, parts.keys)
        return partitioning.cells(parts, compose, self.task.cost, self.max_values_per_axis, listed)

    def _workers(self) -> Workers:
        """The launcher's own workers, else rounds of whatever launcher it is."""
        from mnist_scaling.tuning.workers.parcel import Application
        from mnist_scaling.tuning.workers.rounds import Rounds

        if hasattr(self.launcher, "workers"):
            return self.launcher.workers()  # type: ignore[no-any-return]
        return Rounds(Application(self.hydra_context, self.config, self.task_function), self.launcher)


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Hold the study's lock, or say who does."""
    from filelock import FileLock, Timeout

    from mnist_scaling.study import layout

    lock, owner = FileLock(folder / layout.LOCK), folder / layout.OWNER
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        who = owner.read_text() if owner.exists() else "another process"
        raise InputError(
            f"A study takes one sweep at a time, but {who} is running {folder}: wait for it, or give "
            "this one another `name=`."
        ) from error
    with lock:
        owner.write_text(f"process {os.getpid()} on {socket.gethostname()}")
        try:
            yield
        finally:
            owner.unlink(missing_ok=True)


def _make_writable(folder: Path) -> None:
    """Fail before anything is trained when nothing can be kept."""
    probe = folder / ".writable"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InputError(
            f"The study's folder must be writable, but {folder} is not ({error.strerror}): mend its permissions, or "
            "run from another directory."
        ) from error
