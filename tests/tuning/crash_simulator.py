"""Kills a sweep at every kind of write, resumes it, and compares every row with those of an undisturbed sweep.

    python -m tests.tuning.crash_simulator --crashes 400 --seed 1

Driver, cells, worker, ledger and tables are the shipped ones; only training is a formula. Of a process that is killed
nothing remains but its files. So the simulator copies the study's folder just before a write, which is exactly what a
kill at that moment leaves, and resumes the copy. Some resumed sweeps are killed again: their copy is resumed in turn.
Python's audit events tell of every write before it happens.

Jobs end in random order, several at a time, and some of their processes die. Files are damaged beside
(``simulated_damage``). Three promises are watched: a second sweep is refused, a record of another cell too, and no
worker writes a record. First the faults of ``planted_faults`` are planted, each of which the simulator must see.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import itertools
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import cache
from math import ceil
from pathlib import Path
from unittest import mock

import optuna
from omegaconf import DictConfig

from mnist_scaling.errors import InputError
from mnist_scaling.study import layout
from mnist_scaling.tuning.cell import composition
from mnist_scaling.tuning.cell.next_settings import Effort
from mnist_scaling.tuning.sweep import driver, ledger
from mnist_scaling.tuning.sweep.next_jobs import Method
from mnist_scaling.tuning.sweep.study_tables import join
from mnist_scaling.tuning.workers.faults import SetUpError

from .helpers import composed, make_cells
from .planted_faults import PLANTED
from .simulated_damage import NotRefusedError, harm
from .simulated_disk import Disk, Killed, Moment
from .simulated_workers import Workers

GRID = ("model.width=8,16", "data.fraction=1,0.5", "optim.lr=tag(log,interval(1e-3,5.5e-3))")

MODES = {
    "defaults": (),
    "trials_per_batch=1": ("hydra.sweeper.trials_per_batch=1",),
    "trials_per_batch=4": ("hydra.sweeper.trials_per_batch=4",),
    "widen=false": ("hydra.sweeper.widen=false",),
    "transfer=independent": ("hydra.sweeper.transfer=independent",),
    "pruner=none": ("hydra/sweeper/pruner=none",),
    "pruner=median": ("hydra/sweeper/pruner=median", "hydra.sweeper.pruner.n_startup_trials=1"),
    "pruner=percentile": ("hydra/sweeper/pruner=percentile",),
    "pruner=hyperband": ("hydra/sweeper/pruner=hyperband",),
    "sampler=random": ("hydra/sweeper/sampler=random",),
    "sampler=qmc": ("hydra/sweeper/sampler=qmc",),
}
"""What differs from the default sweep, whose pruner is successive halving and whose ranges may be widened."""

DEFAULTS = ("hydra.sweeper.n_trials=6", "hydra.sweeper.n_repeats=2")

DEEPEST = 3
"""Kills in a row, each during the resume of the one before."""

PER_SWEEP = 20
"""Crashes that are taken from one order of the workers."""

SHARE_KILLED_AGAIN = 0.8

SHARE_HARMED = 0.6
"""Share of what kills leave in which a file is damaged, too."""


@dataclass
class Outcome:
    """What the crashes of one mode did."""

    mode: str
    crashes: int = 0
    workers: int = 0
    """Workers that were killed beside."""
    differing: int = 0
    """Rows of trials.csv and cells.csv that differ from the undisturbed sweep's."""
    repeated: int = 0
    """Finished runs that were run again."""
    harmed: int = 0
    """Files that were damaged, lost or put into another cell, beside."""
    broken: int = 0
    """Promises that were broken; see `Simulator`."""
    seconds: float = 0.0
    chains: list[tuple[int, ...]] = field(default_factory=list)
    """Numbers of the writes before which the sweep was killed, one after the other."""
    examples: list[str] = field(default_factory=list)
    """Where rows differed: the write at which each sweep of a chain was killed, and the first row."""

    def __str__(self) -> str:
        counts = (self.crashes, self.workers, self.harmed, self.differing, self.repeated, self.broken)
        return f"| {' | '.join(map(str, (self.mode, *counts)))} |"

    @property
    def failed(self) -> bool:
        """Whether anything went wrong."""
        return bool(self.differing or self.repeated or self.broken)


_COLUMNS = (
    "mode", "sweeps killed", "workers killed", "files harmed", "rows that differ", "finished runs run again",
    "promises broken",
)  # fmt: skip
HEAD = f"| {' | '.join(_COLUMNS)} |\n{'|---' * len(_COLUMNS)}|"


class Simulator:
    """One mode's sweep, to be killed again and again.

    Parameters
    ----------
    mode : str
        One of `MODES`.
    folder : Path
        For the studies, on a fast disk.
    seed : int
        The same seed gives the same crashes.
    """

    def __init__(self, mode: str, folder: Path, seed: int = 0) -> None:
        self.mode, self.folder = mode, folder
        self.sweeper: DictConfig = composed([*DEFAULTS, *MODES[mode]]).hydra.sweeper
        self._rng = random.Random(f"{seed}/{mode}")
        self._places = (folder / f"{mode}-{n}" / "study" for n in itertools.count())
        self.outcome = Outcome(mode)
        first = next(self._places)
        writes = Disk(first)
        self._sweep(first, random.Random(0), writes, deadly=False)
        self.expected, self.writes = rows(first), writes.count

    def crash(self, n: int) -> Outcome:
        """Kill the sweep `n` times, and compare the rows of each resumed one."""
        start = time.process_time()
        while self.outcome.crashes < n:
            # Each copy is killed two to three times.
            for moment in self._take_copies(min(PER_SWEEP, ceil((n - self.outcome.crashes) / 2))):
                self._resume(moment)
        self.outcome.seconds += time.process_time() - start
        return self.outcome

    def _take_copies(self, n: int) -> list[Moment]:
        """Run a sweep to its end, and copy its folder at some of its writes."""
        wanted = {self._rng.randint(1, self.writes): next(self._places) for _ in range(n)}
        disk = Disk(next(self._places), wanted)
        self._sweep(disk.folder, self._rng, disk)
        self._compare(disk.folder, [])
        return disk.copies

    def _resume(self, moment: Moment) -> None:
        """Resume what a kill left, perhaps with a further kill, and compare what comes out."""
        chain, harmed = [moment], set[str]()
        self.outcome.crashes += 1
        while True:
            if self._rng.random() < SHARE_HARMED:
                harmed |= self._harm(moment.folder)
            wanted: dict[int, Path] = {}
            if len(chain) < DEEPEST and self._rng.random() < SHARE_KILLED_AGAIN:
                # Half of them while the resumed sweep still finds its feet.
                latest = self._rng.choice((40, max(self.writes - moment.number, 40)))
                wanted = {self._rng.randint(1, latest): next(self._places)}
            disk = Disk(moment.folder, wanted, fatal=True)
            with contextlib.suppress(Killed):
                self._sweep(disk.folder, self._rng, disk, harmed=harmed)
            if not disk.copies:
                self.outcome.chains.append(tuple(killed.number for killed in chain))
                self._compare(disk.folder, chain)
                return
            shutil.rmtree(disk.folder.parent)
            (moment,) = disk.copies
            chain.append(moment)
            self.outcome.crashes += 1

    def _harm(self, folder: Path) -> set[str]:
        """Damage a file; the run that has to be made again for it, relative to the study's folder."""
        self.outcome.harmed += 1
        try:
            with contextlib.redirect_stderr(io.StringIO()):
                run = harm(folder, cells(), self._rng)
        except NotRefusedError as error:
            self._break(f"a record of another cell was accepted: {error}")
            return set()
        return set() if run is None else {str(run.relative_to(folder))}

    def _break(self, promise: str) -> None:
        self.outcome.broken += 1
        self.outcome.examples.append(promise)

    def _sweep(
        self, folder: Path, rng: random.Random, disk: Disk, deadly: bool = True, harmed: Collection[str] = ()
    ) -> None:
        """What ``train -m`` does once its cells are composed."""
        cfg = self.sweeper
        finished = {path.parent for path in folder.rglob(layout.RESULT)} - {folder / run for run in harmed}
        refused: list[InputError] = []

        def started(own: Path) -> None:
            self.outcome.repeated += own in finished
            if not refused:
                try:
                    with ledger.opened(folder):
                        self._break("a second sweep was not refused")
                except InputError as error:
                    refused.append(error)

        workers = Workers(folder, rng, started, deadly)
        # Between its first and its last moment a sweep writes tables by the clock, which a seed can't decide.
        by_no_clock = mock.patch.object(driver, "_TABLES_SHARE", 1e9)
        silent = contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO())
        effort = Effort(cfg.n_trials, cfg.n_repeats, cfg.trials_per_batch, cfg.widen)
        method = Method(effort, cfg.sampler, cfg.pruner, cfg.transfer)
        with contextlib.ExitStack() as stack:
            stack.callback(self._count_workers, workers)
            for context in (disk, ledger.opened(folder), workers, by_no_clock, *silent):
                stack.enter_context(context)
            driver.Driver(folder, cells(), method, join(folder, cells())).run(workers)

    def _count_workers(self, workers: Workers) -> None:
        self.outcome.workers += workers.killed
        if workers.recorded:
            self._break(f"workers wrote {workers.recorded} records")

    def _compare(self, folder: Path, chain: list[Moment]) -> None:
        found = rows(folder)
        pairs = itertools.zip_longest(found, self.expected)
        differing = [(got, wanted) for got, wanted in pairs if got != wanted]
        self.outcome.differing += len(differing)
        if differing:
            got, wanted = (dict(row or ()) for row in differing[0])
            keys = [key for key in {**wanted, **got} if got.get(key) != wanted.get(key)]
            what = ", ".join(f"{key}: {got.get(key)} for {wanted.get(key)}" for key in keys[:8])
            self.outcome.examples.append(f"{' then '.join(map(str, chain)) or 'no kill'} | {what}")
        shutil.rmtree(folder.parent)


@cache
def cells() -> list[composition.Cell]:
    """The cells of the simulated study."""
    return make_cells(*GRID)


def rows(folder: Path) -> list[tuple[tuple[str, str], ...]]:
    """Every row of the study's tables as text, but for what a clock says."""
    found = []
    for name in (layout.TRIALS, layout.CELLS):
        with (folder / name).open(newline="") as file:
            for row in csv.DictReader(file):
                row.pop("seconds")
                found.append((("table", name), *row.items()))
    return found


@contextlib.contextmanager
def fast_folder() -> Iterator[Path]:
    """A folder in memory where there is one: a write to it need not wait for a disk."""
    memory = Path("/dev/shm")
    fast = memory if memory.is_dir() and os.access(memory, os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=fast, prefix="mnist_scaling-") as name:
        yield Path(name)


def simulate(mode: str, crashes: int, seed: int) -> Outcome:
    """Kill one mode's sweep that many times.

    Parameters
    ----------
    mode : str
        One of `MODES`.
    crashes, seed : int
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with fast_folder() as folder:
        return Simulator(mode, folder, seed).crash(crashes)


def sees(fault: str, tries: int = 12, seed: int = 0) -> bool:
    """Whether the simulator sees a fault once it is planted, within so many times a few crashes."""
    planted = PLANTED[fault]
    with planted.fault():
        try:
            return any(simulate(planted.mode, 4, seed + n).failed for n in range(tries))
        except SetUpError:  # the sweep itself has noticed it
            return True


def main() -> None:
    """Print the table; exit with 1 when a row differs, or a planted fault goes unseen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crashes", type=int, default=400, help="kills of the sweep in each mode")
    parser.add_argument("--seed", type=int, default=None, help="the same seed gives the same crashes")
    parser.add_argument("--modes", nargs="*", default=list(MODES), choices=list(MODES), metavar="MODE")
    given = parser.parse_args()
    seed = random.randrange(10**6) if given.seed is None else given.seed
    print(f"seed {seed}\n\n{HEAD}", flush=True)
    unseen = [fault for fault in PLANTED if not sees(fault, seed=seed)]
    print(*(f"planted and not seen: {fault}" for fault in unseen), sep="\n", file=sys.stderr, flush=True)
    failed = bool(unseen)
    for mode in given.modes:
        outcome = simulate(mode, given.crashes, seed)
        failed = failed or outcome.failed
        print(outcome, flush=True)
        print(f"{mode}: {outcome.seconds:.0f} s", *outcome.examples[:5], sep="\n    ", file=sys.stderr, flush=True)
    sys.exit(int(failed))


if __name__ == "__main__":
    main()
