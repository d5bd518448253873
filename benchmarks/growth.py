"""How a study's own overhead grows with its number of trials: driver, resume, storage, tables, dashboard, disk.

    python benchmarks/growth.py                 1,000, 3,000 and 10,000 trials of 16 per cell: 10 minutes of one core
    python benchmarks/growth.py --quick         300 and 1,000
    python benchmarks/growth.py --sqlite        what a trial with three reports costs SQLite: statements, bytes, CPU

The shipped tuner runs a study on a simulated cluster of 64 workers, with the default sampler, storage and records;
only training is a formula. Nothing is pruned, and the trials' own reports are left out. Seconds are CPU seconds.

    driver      the sweep's process per run, and what of it are asks, importances of a tuned cell, and tables
    start       open the storage and all cells' studies, read all records: what a resume does before its first run
    journal     lines and bytes per trial, and what a process reads in a second when it opens it
    tables      write trials.csv and cells.csv; `read` parses trials.csv
    publish     notes, repeats and the summary study for the dashboard
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
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from replay import Pool, cells, composed
from rich.console import Console
from rich.table import Table

from mnist_scaling import config
from mnist_scaling.config import RunConfig, with_values
from mnist_scaling.study import layout
from mnist_scaling.study.result import TrainResult
from mnist_scaling.study.tables.trials_and_cells import read_table
from mnist_scaling.study.vocabulary import COMPLETE, NEIGHBOURS, TRIAL
from mnist_scaling.tuning.cell import cell_study
from mnist_scaling.tuning.cell.cell_tuner import Effort
from mnist_scaling.tuning.grid import partitioning
from mnist_scaling.tuning.stored import dashboard
from mnist_scaling.tuning.stored.channel import Channel
from mnist_scaling.tuning.stored.storage import open_storage, tell
from mnist_scaling.tuning.sweep import tuner, write_tables
from mnist_scaling.tuning.sweep.ledger import Ledger
from mnist_scaling.tuning.workers import execution
from mnist_scaling.tuning.workers.job import Job

WIDTHS, TRIALS, REPEATS, WORKERS = (2, 3, 4, 6, 8, 11, 16, 23, 32, 45), 16, 3, 64


def some_cells(n: int) -> list[partitioning.Cell]:
    """About as many cells, of ten widths."""
    fractions = ",".join(f"{0.97**i:.4g}" for i in range(max(round(n / len(WIDTHS)), 1)))
    widths = ",".join(map(str, WIDTHS))
    return cells(lambda run: run.model.width * run.data.fraction, f"model.width={widths}", f"data.fraction={fractions}")


def made_up(run: RunConfig, report: Any = None) -> TrainResult:
    """A result of the right shape, whose loss is a bowl in the learning rate with noise."""
    del report
    n = round(50_000 * run.data.fraction)
    noise = np.random.default_rng([run.seed, *np.float64(run.optim.lr).tobytes()]).normal(0, 0.02)
    loss = float(n**-0.3 * (1 + np.log10(run.optim.lr / 1e-2) ** 2) * np.exp(noise))
    test = None if run.trial.stage == TRIAL else loss
    return TrainResult(
        COMPLETE, 100, 10, 20, 70, n, n, 1.0, n // 32, 600 * n, 200 * n, 60 * n, loss, 0.1, test, test, test
    )


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


def run_study(folder: Path, given: list[partitioning.Cell]) -> dict[str, float]:
    """Run a study to its end; what the sweep's process needs per run, in milliseconds."""
    clocks = Clocks()
    storage = open_storage(None, folder)
    sampler = composed().hydra.sweeper.sampler
    pool = Pool(WORKERS, lambda job: job.cell.cost)

    def work(job: Job) -> None:
        with clocks.of("workers"):
            settings = {key: value for key, value in job.settings.items() if not key.startswith("hydra.")}
            record = execution.measure(with_values(job.cell.run, settings), made_up)
            execution.write_record(folder / job.folder, record)

    pool.ended = work
    with clocks.of("all"):
        joined = tuner.join(folder, given)
        studies = [cell_study.CellStudy(cell, storage, sampler) for cell in given]
        for study in studies:
            study.ask = clocks.timed("asks", study.ask)  # type: ignore[method-assign]
        swept = tuner.Tuner(folder, studies, pool, Effort(TRIALS, REPEATS, 2, True), NEIGHBOURS, joined)
        swept._certify = clocks.timed("importances", swept._certify)  # type: ignore[method-assign]
        swept._write_tables = clocks.timed("tables", swept._write_tables)  # type: ignore[method-assign]
        with contextlib.redirect_stdout(io.StringIO()):
            swept.run()
    per_run = 1000 / len(swept.ledger.rows)
    found = clocks.seconds
    found["driver"] = found["all"] - found["workers"]
    return {f"{part} (ms/run)": found[part] * per_run for part in ("driver", "asks", "importances", "tables")}


def measure(folder: Path, given: list[partitioning.Cell]) -> dict[str, float]:
    """What a finished study costs to open, to read and to write again."""
    sampler = composed().hydra.sweeper.sampler
    clocks, trials = Clocks(), len(given) * TRIALS
    journal = folder / layout.JOURNAL
    with clocks.of("start (s)"):
        with clocks.of("open journal (s)"):
            storage = open_storage(None, folder)
        opened = [cell_study.CellStudy(cell, storage, sampler) for cell in given]
        for own in opened:
            own.running()
            own.counted()
        ledger = Ledger(folder)
    with clocks.of("write tables (s)"):
        write_tables.write(folder, ledger.rows, {})
    with clocks.of("read trials.csv (s)"):
        read_table(folder / layout.TRIALS)
    with clocks.of("publish (s)"):
        dashboard.publish(folder, opened, storage)
    lines = journal.read_bytes().count(b"\n")
    files = [path for path in folder.rglob("*") if path.is_file() and path != journal]
    return {
        **clocks.seconds,
        "journal lines/trial": lines / trials,
        "journal B/trial": journal.stat().st_size / trials,
        "trials.csv B/run": (folder / layout.TRIALS).stat().st_size / len(ledger.rows),
        "inodes/run": sum(1 for _ in folder.rglob("*")) / len(ledger.rows),
        "record B/run": sum(path.stat().st_size for path in files if path.name == layout.RESULT) / len(ledger.rows),
    }


def sqlite_load(folder: Path, n: int = 12) -> dict[str, float]:
    """Statements, commits, bytes and CPU milliseconds per trial, sweep and worker together."""
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    counts: dict[str, float] = defaultdict(float)

    def count(what: str) -> Callable[..., None]:
        def one(*arguments: Any) -> None:
            counts[what] += 1 / n

        return one

    url, (cell, *_), sweeper = f"sqlite:///{folder}/studies.db", some_cells(1), composed().hydra.sweeper
    own = cell_study.CellStudy(cell, open_storage(url, folder), sweeper.sampler)
    own.open()

    def trial() -> None:
        ask = own.ask(2)
        name = own.study.study_name
        run = config.TrialConfig(stage=TRIAL, index=ask.index, number=ask.number, study=name)
        channel = Channel(run, url, folder, sweeper.pruner)
        for report in range(1, 4):
            channel.report(report, 1 / report)
        channel.notes()
        channel.tell({"state": COMPLETE, "result": {"val_loss": 1 / (ask.index + 2)}})
        tell(own.study, ask.number, COMPLETE, 1.0)

    for _ in range(4):
        trial()
    event.listen(Engine, "before_cursor_execute", count("statements"))
    event.listen(Engine, "commit", count("commits"))
    size, start = (folder / "studies.db").stat().st_size, time.process_time()
    for _ in range(n):
        trial()
    counts["CPU ms"] = 1000 * (time.process_time() - start) / n
    counts["bytes"] = ((folder / "studies.db").stat().st_size - size) / n
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--sqlite", action="store_true")
    parser.add_argument("--trials", type=int, nargs="+", help="other numbers of trials")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if options.sqlite:
        with tempfile.TemporaryDirectory() as name:
            print("SQLite, per trial:", ", ".join(f"{k} {v:.0f}" for k, v in sqlite_load(Path(name)).items()))
        return
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
