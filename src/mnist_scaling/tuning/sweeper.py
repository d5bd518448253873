"""The Hydra plugin. Every Hydra app in the environment imports this module, so it imports optuna late."""

from __future__ import annotations

import contextlib
import functools
import importlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from mnist_scaling.errors import InputError
from mnist_scaling.study import identity
from mnist_scaling.study.vocabulary import TRANSFER_RULES
from mnist_scaling.tuning import trainer
from mnist_scaling.tuning.stored.masking import masked
from mnist_scaling.tuning.workers import faults

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

    from mnist_scaling.tuning.cell.cell_study import CellStudy
    from mnist_scaling.tuning.cell.cell_tuner import Effort
    from mnist_scaling.tuning.grid.partitioning import Cell, Partition
    from mnist_scaling.tuning.sweep import announcement
    from mnist_scaling.tuning.sweep.ledger import Ledger
    from mnist_scaling.tuning.trainer import DataFacts
    from mnist_scaling.tuning.workers.pool import Pool

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

    The application says how it trains by `trainer.uses`.
    """

    def __init__(
        self,
        sampler: DictConfig,
        n_trials: int,
        n_repeats: int,
        trials_per_batch: int,
        storage: str | None,
        storage_patience: float,
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
        if not isinstance(storage_patience, int | float) or storage_patience < 0:
            raise InputError(
                f"`hydra.sweeper.storage_patience` must be a number of seconds of 0 or more, but got "
                f"{storage_patience}."
            )
        if transfer not in TRANSFER_RULES:
            raise InputError(
                f"`hydra.sweeper.transfer` must be one of {', '.join(TRANSFER_RULES)}, but got {transfer!r}."
            )
        self.sampler, self.params = sampler, params
        self.storage, self.storage_patience = storage, float(storage_patience)
        self._was_opened = False
        self.n_trials, self.n_repeats, self.trials_per_batch = n_trials, n_repeats, trials_per_batch
        self.cells = cells
        self.max_values_per_axis = max_values_per_axis
        self.transfer, self.widen, self.stop_below = transfer, widen, stop_below
        self.pruner, self.dry_run = pruner, dry_run

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep Hydra's context and how the application trains, and make the launcher."""
        self.trainer = trainer.of(task_function)
        self.config: DictConfig = config
        self.hydra_context: HydraContext = hydra_context
        self.launcher: Launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )
        self._launched = 0

    @_taken_up_after_faults
    def sweep(self, arguments: list[str]) -> None:
        """Tune every cell of the grid that the overrides span; resume what is there.

        Raises
        ------
        InputError
            When an override, a config, the study's folder or its storage is at fault.
        """
        from mnist_scaling.study import layout, provenance
        from mnist_scaling.tuning.cell import optuna_objects
        from mnist_scaling.tuning.sweep import finished, printout
        from mnist_scaling.tuning.sweep.ledger import Ledger
        from mnist_scaling.tuning.sweep.tuner import join

        optuna_objects.check_sampler(self.sampler)
        arguments = self._named(arguments)
        layout.study_folder(str(self.config.name))  # refuses a name that is no folder of its own
        folder = Path(str(self.config.hydra.sweep.dir))
        if self.dry_run:
            cells, facts = self._prepare(self._cells(arguments))
            join(folder, cells)
            self._announce(folder, arguments, cells, facts, Ledger(folder))
            return
        known = self._cells(arguments) if finished.is_stamped(folder) else None
        if known is not None and finished.is_unchanged(folder, known, self.config.hydra.sweeper):
            print("Every cell has its trials and repeats: nothing is left to do.")
            printout.show(folder)
            return
        from mnist_scaling.tuning.stored import dashboard
        from mnist_scaling.tuning.stored.storage import mend, study_prefix
        from mnist_scaling.tuning.sweep.tuner import Tuner

        # The pool is opened first, so that its processes import torch while the cells are composed.
        with self._pool(folder) as pool:
            cells = known or self._cells(arguments)
            for cell in cells:
                _ = cell.cost  # raises where a run can't be trained
            _make_writable(folder)
            with _lock(folder), contextlib.ExitStack() as held:
                asked, (cells, facts) = cells, self._prepare(cells)
                mend(self.storage, folder)
                storage = self._open(folder)
                joined = join(folder, cells)
                prefix = study_prefix(self.storage, folder)
                check = self._lease(held, storage, prefix, folder)
                studies = self._studies(cells, storage, prefix)
                given = [o for o in self.config.hydra.overrides.hydra if o != "hydra.mode=MULTIRUN"]  # what -m is
                made = provenance.collect([masked(o) for o in (*given, *arguments)]) | joined
                made |= {provenance.DATA: [asdict(known) for known in facts]}
                # This import takes seconds and is needed at the end only, so it runs beside the training.
                threading.Thread(target=importlib.import_module, args=("optuna_dashboard",), daemon=True).start()
                tuner = Tuner(folder, studies, pool, self._effort(), self.transfer, made, check)
                self._announce(folder, arguments, cells, facts, tuner.ledger)
                tuner.run()
                dashboard.publish(folder, studies, storage, prefix)
                finished.stamp(folder, asked, self.config.hydra.sweeper)
                printout.show(folder)

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
            ", ".join([*named, f"transfer={self.transfer}"]), self.max_values_per_axis, workers, self.trainer.cost,
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
        from mnist_scaling.tuning.sweep.tuner import join

        arguments = self._named(arguments)
        folder, cells = Path(str(self.config.hydra.sweep.dir)), self._cells(arguments)
        join(folder, cells, identity.CHECKSUMS)
        return self._understood(folder, arguments, cells, ())

    def _effort(self) -> Effort:
        from mnist_scaling.tuning.cell.cell_tuner import Effort

        return Effort(self.n_trials, self.n_repeats, self.trials_per_batch, self.widen, self.stop_below)

    def _prepare(self, cells: Sequence[Cell]) -> tuple[list[Cell], list[DataFacts]]:
        """Fetch or check every data set of the grid, once; the cells bound to it, and what is known of each."""
        whole = [cell.run.data.whole for cell in cells]
        known = {data: self.trainer.prepare(data) for data in dict.fromkeys(whole)}
        facts = {data: found for data, found in known.items() if found is not None}
        bound = [
            cell.on(facts[data].sha256) if data in facts else cell for cell, data in zip(cells, whole, strict=True)
        ]
        starts = [self.trainer.start(cell.run) for cell in bound]
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
        return partitioning.cells(parts, compose, self.trainer.cost, self.max_values_per_axis, listed)

    def _studies(self, cells: Sequence[Cell], storage: BaseStorage, prefix: str) -> list[CellStudy]:
        from mnist_scaling.tuning.cell.cell_study import CellStudy

        return [CellStudy(cell, storage, self.sampler, prefix) for cell in cells]

    def _open(self, folder: Path) -> BaseStorage:
        """The storage; one that has never answered is not waited for, because its URL is probably misspelt."""
        from mnist_scaling.tuning.stored import patience
        from mnist_scaling.tuning.stored.storage import open_storage

        with contextlib.nullcontext() if self._was_opened else patience.hurry():
            storage = open_storage(self.storage, folder, self.storage_patience)
        self._was_opened = True
        return storage

    def _lease(self, held: contextlib.ExitStack, storage: BaseStorage, prefix: str, folder: Path) -> Callable[[], None]:
        """Claim the study where other folders may share its storage; returns a function that checks the claim."""
        import optuna

        from mnist_scaling.tuning.stored.lease import Lease

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        if self.storage is None:  # the folder's own journal, under the folder's lock
            return lambda: None
        return held.enter_context(Lease(storage, prefix, folder)).check

    def _pool(self, folder: Path) -> Pool:
        """This machine's workers where the launcher has them, else rounds of whatever launcher it is."""
        from mnist_scaling.tuning.workers.rounds import Rounds

        if hasattr(self.launcher, "workers"):
            return self.launcher.workers()
        return Rounds(self._launch, folder)

    def _launch(self, jobs: Sequence[Sequence[str]]) -> list[str | None]:
        first, self._launched = self._launched, self._launched + len(jobs)
        return [_error(done) for done in self.launcher.launch(jobs, initial_job_idx=first)]


def _error(done: JobReturn) -> str | None:
    """What a job raised, as text."""
    try:
        _ = done.return_value
    except Exception as error:
        return faults.as_text(error)
    return None


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Hold the study's lock, or say who does."""
    from filelock import FileLock, Timeout

    from mnist_scaling.study import layout

    lock = FileLock(folder / layout.LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise InputError(
            f"A study takes one sweep at a time, but another process is running {folder}: wait for it, or give "
            "this one another `name=`."
        ) from error
    with lock:
        yield


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
