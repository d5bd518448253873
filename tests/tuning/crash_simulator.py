"""Kills a sweep at every kind of write, resumes it, and compares every row with those of an undisturbed sweep.

    python -m tests.tuning.crash_simulator --crashes 400 --seed 1

Tuner, cells, worker, ledger, tables and Optuna's journal are the shipped ones; only training is a formula. Of a
process that is killed nothing remains but its files. So the simulator copies the study's folder just before a write,
which is exactly what a kill at that moment leaves, and resumes the copy. Some resumed sweeps are killed again: their
copy is resumed in turn. Python's audit events tell of every write before it happens, so a file is seen before it
exists, when it is empty, when it is filled, and after it has replaced the old one. A line of the journal is also torn
in the middle, as a full disk or a power failure leaves it.

Workers take turns in random order, several at a time, and some of them are killed at a random write of theirs.
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
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from math import ceil
from pathlib import Path
from unittest import mock

import optuna
from mnist_scaling.tuning.cell.cell_study import CellStudy
from mnist_scaling.tuning.cell.cell_tuner import Effort
from mnist_scaling.tuning.stored import storage
from omegaconf import DictConfig

from mnist_scaling.config import RunConfig
from mnist_scaling.study import layout
from mnist_scaling.tuning.grid import partitioning
from mnist_scaling.tuning.sweep import tuner

from .helpers import composed, make_cells
from .simulated_disk import Disk, Killed, Moment
from .simulated_workers import Workers

GRID = ("model.width=8,16", "data.fraction=1,0.5", "optim.lr=tag(log,interval(1e-3,5.5e-3))")

MODES = {
    "defaults": (),
    "trials_per_batch=1": ("hydra.sweeper.trials_per_batch=1",),
    "trials_per_batch=4": ("hydra.sweeper.trials_per_batch=4",),
    "stop_below": ("hydra.sweeper.stop_below=0.003", "hydra.sweeper.n_trials=12"),
    "widen=false": ("hydra.sweeper.widen=false",),
    "transfer=independent": ("hydra.sweeper.transfer=independent",),
    "pruner=none": ("hydra/sweeper/pruner=none",),
    "pruner=median": ("hydra/sweeper/pruner=median",),
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
    seconds: float = 0.0
    chains: list[tuple[int, ...]] = field(default_factory=list)
    """Numbers of the writes before which the sweep was killed, one after the other."""
    examples: list[str] = field(default_factory=list)
    """Where rows differed: the write at which each sweep of a chain was killed, and the first row."""

    def __str__(self) -> str:
        return f"| {self.mode} | {self.crashes} | {self.workers} | {self.differing} | {self.repeated} |"


HEAD = "| mode | sweeps killed | workers killed | rows that differ | finished runs run again |\n|---|---|---|---|---|"


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
        disk = Disk(next(self._places), wanted, rng=self._rng)
        self._sweep(disk.folder, self._rng, disk)
        self._compare(disk.folder, [])
        return disk.copies

    def _resume(self, moment: Moment) -> None:
        """Resume what a kill left, perhaps with a further kill, and compare what comes out."""
        chain = [moment]
        self.outcome.crashes += 1
        while True:
            wanted: dict[int, Path] = {}
            if len(chain) < DEEPEST and self._rng.random() < SHARE_KILLED_AGAIN:
                # Half of them while the resumed sweep still finds its feet.
                latest = self._rng.choice((40, max(self.writes - moment.number, 40)))
                wanted = {self._rng.randint(1, latest): next(self._places)}
            disk = Disk(moment.folder, wanted, fatal=True, rng=self._rng)
            with contextlib.suppress(Killed):
                self._sweep(disk.folder, self._rng, disk)
            if not disk.copies:
                self.outcome.chains.append(tuple(killed.number for killed in chain))
                self._compare(disk.folder, chain)
                return
            shutil.rmtree(disk.folder.parent)
            (moment,) = disk.copies
            chain.append(moment)
            self.outcome.crashes += 1

    def _sweep(self, folder: Path, rng: random.Random, disk: Disk, deadly: bool = True) -> None:
        """What ``train -m`` does once its cells are composed."""
        cfg = self.sweeper
        finished = {path.parent for path in folder.rglob(layout.RESULT)}
        folder.mkdir(parents=True, exist_ok=True)
        # Optuna's lock outlives a killed process, and expires after 30 seconds.
        (folder / f"{layout.JOURNAL}.lock").unlink(missing_ok=True)

        def started(run: RunConfig, own: Path) -> None:
            self.outcome.repeated += own in finished

        workers = Workers(folder, cfg.pruner, rng, disk, started, deadly)
        # Between its first and its last moment a sweep writes tables by the clock, which a seed can't decide.
        by_no_clock = mock.patch.object(tuner, "_TABLES_SHARE", 1e9)
        silent = contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO())
        with contextlib.ExitStack() as stack:
            stack.callback(self._count_workers, workers)
            for context in (disk, workers, by_no_clock, *silent):
                stack.enter_context(context)
            storage.mend(None, folder)
            opened = storage.open_storage(None, folder)
            joined = tuner.join(folder, cells())
            studies = [CellStudy(cell, opened, cfg.sampler) for cell in cells()]
            effort = Effort(cfg.n_trials, cfg.n_repeats, cfg.trials_per_batch, cfg.widen, cfg.stop_below)
            tuner.Tuner(folder, studies, workers, effort, cfg.transfer, joined).run()

    def _count_workers(self, workers: Workers) -> None:
        self.outcome.workers += workers.killed

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
def cells() -> list[partitioning.Cell]:
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


def main() -> None:
    """Print the table; exit with 1 when a row differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crashes", type=int, default=400, help="kills of the sweep in each mode")
    parser.add_argument("--seed", type=int, default=None, help="the same seed gives the same crashes")
    parser.add_argument("--modes", nargs="*", default=list(MODES), choices=list(MODES), metavar="MODE")
    given = parser.parse_args()
    seed = random.randrange(10**6) if given.seed is None else given.seed
    print(f"seed {seed}\n\n{HEAD}", flush=True)
    failed = False
    for mode in given.modes:
        outcome = simulate(mode, given.crashes, seed)
        failed = failed or bool(outcome.differing or outcome.repeated)
        print(outcome, flush=True)
        print(f"{mode}: {outcome.seconds:.0f} s", *outcome.examples[:5], sep="\n    ", file=sys.stderr, flush=True)
    sys.exit(int(failed))


if __name__ == "__main__":
    main()
