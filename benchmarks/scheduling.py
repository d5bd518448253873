"""How many workers a study keeps busy: the shipped order of jobs, replayed on a simulated clock.

    python benchmarks/scheduling.py                               print the tables; it takes long, so give --records
    python benchmarks/scheduling.py --records FILE                keep each replay; the next call makes those missing
    python benchmarks/scheduling.py --write docs/scaling_out.md   put the tables into the page

A study is replayed for each number of workers, `trials_per_batch` and rule of transfer. Seconds of runs are those of
a real quickstart (benchmarks/recorded/quickstart.csv, one run per core), the same pace on larger grids: a run there
takes its predicted seconds times the ratio of measured to predicted seconds of some run of the quickstart. The time
that the sweep itself needs per job is left out; docs/scaling_out.md has it under "Speed".
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import itertools
import json
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from replay import Replayed, Seconds, cells, replay

from mnist_scaling.image_task import TASK
from mnist_scaling.study.columns import INDEPENDENT, NEIGHBOURS
from mnist_scaling.tuning.cell.composition import Cell
from mnist_scaling.tuning.cell.next_settings import Effort

RECORDED = Path(__file__).with_name("recorded") / "quickstart.csv"
WORKERS = (4, 8, 16, 64, 256)
SETTINGS = {
    "the defaults": (NEIGHBOURS, 2),
    "`trials_per_batch=8`": (NEIGHBOURS, 8),
    "`transfer=independent`": (INDEPENDENT, 2),
    "both": (INDEPENDENT, 8),
}
"""Columns of the table, each with its rule of transfer and its `trials_per_batch`."""
MARK = "benchmarks/scheduling.py"


@dataclass(frozen=True)
class Grid:
    """A study to replay."""

    name: str
    axes: tuple[str, ...]
    n_trials: int
    recorded: bool = False
    """Whether its own runs were recorded."""
    n_repeats: int = 3

    @property
    def title(self) -> str:
        n = len(cells_of(self))
        return f"{self.name}: {n} cells × ({self.n_trials} trials + {self.n_repeats} repeats)"


def _geometric(first: float, ratio: float, n: int, digits: int) -> str:
    return ",".join(f"{first * ratio**i:.{digits}g}" for i in range(n))


QUICKSTART = ("model.width=2,3,4,6,8,11,16", "data.fraction=1,0.5,0.25,0.125,0.0625")
FULL = ("model.width=3,4,6,8,11,16,23,32", "data.fraction=1,0.5,0.25,0.125,0.0625,0.03125,0.015625")
FINE = (
    "model.width=2,3,4,5,6,7,8,9,11,13,16,19,23,27,32,38",
    f"data.fraction={_geometric(1.0, 2**-0.4, 16, 4)}",
)
GRIDS = (
    Grid("quickstart", QUICKSTART, 12, recorded=True),
    Grid("width_x_data", FULL, 16),
    Grid("16 widths × 16 fractions", FINE, 16),
)


@cache
def cells_of(grid: Grid) -> Sequence[Cell]:
    return cells(TASK, *grid.axes)


@cache
def recorded() -> dict[tuple[float, float, str, int], float]:
    """Seconds of every run of the quickstart: by width, fraction, stage and number."""
    with RECORDED.open(newline="") as file:
        return {
            (float(row["width"]), float(row["data_fraction"]), row["stage"], int(row["number"])): float(row["seconds"])
            for row in csv.DictReader(file)
        }


@cache
def slowness() -> dict[str, list[float]]:
    """Measured over predicted seconds of the quickstart's runs, by stage."""
    found: dict[str, list[float]] = {}
    own = {(cell.keys["model.width"], cell.keys["data.fraction"]): cell for cell in cells_of(GRIDS[0])}
    for (width, fraction, stage, _), seconds in recorded().items():
        found.setdefault(stage, []).append(seconds / predicted(own[width, fraction], stage))
    return found


def predicted(cell: Cell, stage: str) -> float:
    return TASK.cost(TASK.of_stage(cell.values, stage))


def seconds_of(grid: Grid) -> Seconds:
    """How long a job of a study takes."""

    @cache
    def one(name: str, stage: str, index: int) -> float:
        cell = by_name[name]
        if grid.recorded:
            return recorded()[cell.keys["model.width"], cell.keys["data.fraction"], stage, index]
        ratios = slowness()[stage]
        place = int.from_bytes(hashlib.sha256(f"{name}/{stage}/{index}".encode()).digest()[:4], "big")
        return predicted(cell, stage) * ratios[place % len(ratios)]

    by_name = {cell.name: cell for cell in cells_of(grid)}
    return lambda job: one(job.cell, job.stage, job.index)


def outcomes(grid: Grid, records: Path | None) -> Iterator[tuple[int, str, Replayed]]:
    """Every replay of a study, those that are recorded read from their file."""
    known = {}
    if records is not None and records.exists():
        known = {line["key"]: Replayed(**line["outcome"]) for line in map(json.loads, records.read_text().splitlines())}
    seconds = seconds_of(grid)
    for workers, (title, (rule, batch)) in itertools.product(WORKERS, SETTINGS.items()):
        key = f"{grid.name}/{workers}/{rule}/{batch}"
        if key not in known:
            effort = Effort(grid.n_trials, grid.n_repeats, batch, False, None)
            known[key], _ = replay(cells_of(grid), workers, seconds, effort, rule)
            if records is not None:
                with records.open("a") as file:
                    file.write(json.dumps({"key": key, "outcome": asdict(known[key])}) + "\n")
        yield workers, title, known[key]


def tables(records: Path | None = None) -> Iterator[str]:
    """The table, line by line: time over the ideal, and the share of the workers' time without a job."""
    yield ""
    yield "| study | workers | " + " | ".join(SETTINGS) + " |"
    yield "|---|---|" + "---|" * len(SETTINGS)
    for grid in GRIDS:
        found = {(workers, title): outcome for workers, title, outcome in outcomes(grid, records)}
        for workers in WORKERS:
            row = [_entry(found[workers, title]) for title in SETTINGS]
            yield f"| {grid.title} | {workers} | " + " | ".join(row) + " |"


def _entry(found: Replayed) -> str:
    return f"{found.makespan / found.ideal:.2f} · {100 * found.idle:.0f} %"


def write(page: Path, text: str, mark: str) -> None:
    """Put a text between a benchmark's two markers on a page.

    Parameters
    ----------
    page : Path
    text : str
    mark : str
        The benchmark, as the markers have it.
    """
    start, end = f"<!-- made by: python {mark} -->", f"<!-- end of {mark} -->"
    old = page.read_text(encoding="utf-8")
    found = re.search(f"{re.escape(start)}.*?{re.escape(end)}", old, re.DOTALL)
    if found is None:
        sys.exit(f"A page must have the markers {start} and {end}, but {page} has not: add them.")
    page.write_text(old[: found.start()] + f"{start}\n{text}\n\n{end}" + old[found.end() :], encoding="utf-8")


def main() -> None:
    """Print the tables, and write them into a page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=Path, metavar="FILE", help="JSON lines, one per replay")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the tables into this page")
    given = parser.parse_args()
    lines = []
    for line in tables(given.records):
        print(line, flush=True)
        lines.append(line)
    if given.write is not None:
        write(given.write, "\n".join(lines), MARK)


if __name__ == "__main__":
    main()
