"""How a study's own overhead grows with its number of trials: driver, resume, mirror, tables, disk.

    python benchmarks/growth.py                 1,000, 3,000 and 10,000 trials of 16 per cell: 10 minutes of one core
    python benchmarks/growth.py --quick         300 and 1,000

The shipped driver runs a study on a simulated cluster of 64 workers, with the default sampler and records; only
training is a formula. Nothing is pruned, and the trials' own reports are left out. Seconds are CPU seconds.

    driver      the sweep's process per run, and what of it are asks, importances of a tuned cell, and tables
    start       read all records: what a resume does before its first run
    mirror      fill an empty journal for optuna-dashboard
    tables      write trials.csv and cells.csv; `read` parses trials.csv
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from replay import Pool, cells, composed, record_of
from rich.console import Console
from rich.table import Table

from mnist_scaling.image_task import ImageTask
from mnist_scaling.study import layout
from mnist_scaling.study.columns import COMPLETE, NEIGHBOURS, TRIAL, TrainResult
from mnist_scaling.study.tables.csv_table import read_table
from mnist_scaling.tuning.cell import composition, next_settings
from mnist_scaling.tuning.cell.next_settings import Effort
from mnist_scaling.tuning.optuna_mirror import Mirror
from mnist_scaling.tuning.sweep import study_tables
from mnist_scaling.tuning.sweep.driver import Driver
from mnist_scaling.tuning.sweep.ledger import Ledger
from mnist_scaling.tuning.sweep.next_jobs import CellState, Method
from mnist_scaling.tuning.sweep.study_tables import join
from mnist_scaling.tuning.task import Values
from mnist_scaling.tuning.workers.job import Job

WIDTHS, TRIALS, REPEATS, WORKERS = (2, 3, 4, 6, 8, 11, 16, 23, 32, 45), 16, 3, 64


class Area(ImageTask):
    """A run costs what its size and its data say."""

    def cost(self, values: Values) -> float:
        return float(values["model.width"] * values["data.fraction"])


def some_cells(n: int) -> list[composition.Cell]:
    """About as many cells, of ten widths."""
    fractions = ",".join(f"{0.97**i:.4g}" for i in range(max(round(n / len(WIDTHS)), 1)))
    widths = ",".join(map(str, WIDTHS))
    return cells(Area(), f"model.width={widths}", f"data.fraction={fractions}")


def made_up(job: Job) -> dict[str, Any]:
    """A record of the right shape, whose loss is a bowl in the learning rate with noise."""
    values = {**(job.values or {}), **job.settings}
    n, lr = round(50_000 * values["data.fraction"]), values["optim.lr"]
    noise = np.random.default_rng([job.seed, *np.float64(lr).tobytes()]).normal(0, 0.02)
    loss = float(n**-0.3 * (1 + np.log10(lr / 1e-2) ** 2) * np.exp(noise))
    test = None if job.stage == TRIAL else loss
    found = TrainResult(
        COMPLETE, 100, 10, 20, 70, n, n, 1.0, n // 32, 600 * n, 200 * n, 60 * n, loss, 0.1, test, test, test
    )
    result = {key: value for key, value in asdict(found).items() if key not in ("state", "val_loss")}
    return record_of(job, loss, **result)


class Cluster(Pool):
    """A simulated cluster whose runs have whole records."""

    def record(self, job: Job) -> dict[str, Any]:
        return made_up(job)


class Clocks:
    """CPU seconds by part; a part's own parts are not taken off it."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    @contextlib.contextmanager
    def of(self, part: str) -> Iterator[None]:
        start = time.process_time()
        yield
        self.seconds[part] += time.process_time() - start

    def timed(self, part: str, action: Callable[..., Any]) -> Callable[..., Any]:
        def measured(*arguments: Any, **options: Any) -> Any:
            with self.of(part):
                return action(*arguments, **options)

        return measured


def run_study(folder: Path, given: list[composition.Cell]) -> dict[str, float]:
    """Run a study to its end; what the sweep's process needs per run, in milliseconds."""
    clocks = Clocks()
    method = Method(Effort(TRIALS, REPEATS, 2, True), composed().hydra.sweeper.sampler, None, NEIGHBOURS)
    with contextlib.ExitStack() as stack:
        for part, place, name in (
            ("asks", next_settings, "next_trials"),
            ("importances", CellState, "complete_description"),
            ("tables", Driver, "_write_tables"),
        ):
            stack.enter_context(mock.patch.object(place, name, clocks.timed(part, getattr(place, name))))
        stack.enter_context(clocks.of("driver"))
        stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        swept = Driver(folder, given, method, join(folder, given))
        swept.run(Cluster(WORKERS, lambda job: job.cost))
    per_run = 1000 / len(swept.ledger.rows)
    return {f"{part} (ms/run)": clocks.seconds[part] * per_run for part in ("driver", "asks", "importances", "tables")}


def measure(folder: Path, given: list[composition.Cell]) -> dict[str, float]:
    """What a finished study costs to read, to mirror and to write again."""
    clocks = Clocks()
    with clocks.of("start (s)"):
        ledger = Ledger(folder, given)
    with clocks.of("mirror (s)"):
        mirror = Mirror(None, folder)
        mirror.show(((cell, ledger.trials(cell)) for cell in given), again=True)
        mirror.close()
    (folder / layout.CELLS).unlink()
    (folder / layout.TRIALS).unlink()
    with clocks.of("write tables (s)"):
        study_tables.write(folder, ledger.rows, {})
    with clocks.of("read trials.csv (s)"):
        read_table(folder / layout.TRIALS)
    written = [path for path in folder.rglob("*") if path.name == layout.RESULT]
    return {
        **clocks.seconds,
        "journal B/trial": (folder / layout.JOURNAL).stat().st_size / (len(given) * TRIALS),
        "trials.csv B/run": (folder / layout.TRIALS).stat().st_size / len(ledger.rows),
        "inodes/run": sum(1 for _ in folder.rglob("*")) / len(ledger.rows),
        "record B/run": sum(path.stat().st_size for path in written) / len(ledger.rows),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--trials", type=int, nargs="+", help="other numbers of trials")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found: dict[int, dict[str, float]] = {}
    for total in options.trials or ((300, 1_000) if options.quick else (1_000, 3_000, 10_000)):
        memory = Path("/dev/shm")
        with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as name:
            folder = Path(name) / "study"
            folder.mkdir()
            given = some_cells(total // TRIALS)
            spent = run_study(folder, given)
            found[len(given) * TRIALS] = spent | measure(folder, given)
        print(f"{total} trials: {found[len(given) * TRIALS]}", file=sys.stderr)
    table = Table("", *(f"{total:,} trials" for total in found))
    for part in next(iter(found.values())):
        table.add_row(part, *(f"{row[part]:.3g}" for row in found.values()))
    Console().print(table)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
