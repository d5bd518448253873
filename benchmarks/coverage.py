"""How often the intervals of a law with a misfit term hold the truth: where a law is true, and where none is.

    python benchmarks/coverage.py --records FILE                every set, 3 tables of each condition
    python benchmarks/coverage.py --quick                       laws and written surfaces, a few tables
    python benchmarks/coverage.py --records FILE --tables 0 --write docs/evidence.md      the page as it is

There are three sets: tables of which a law is true; tables of smooth surfaces that are none of our laws, written down
and used while the model was made; and tables of surfaces of a random generator, which were looked at once, when the
model was done. Losses beyond the table are those that the headline quotes. For every quantity: the share of tables
whose 95 % interval holds the truth, and the median width.
Table number k of a condition has a seed of its own, so that a second call gives the same figures.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from coverage_suite import (
    BUDGETS,
    QUANTITIES,
    SETS,
    SLOPES,
    Condition,
    conditions,
    largest,
    log_loss,
    table_of,
    truth_of,
)

from mnist_scaling.fitting.ahead import REACHES, losses_ahead
from mnist_scaling.fitting.frontier.parametric import fit_cost, valley
from mnist_scaling.fitting.laws.base import Array, middle
from mnist_scaling.fitting.misfit.posterior import Model, Posterior, surface
from mnist_scaling.fitting.rows import Table

DRAWS = 400

LEVEL = (0.025, 0.975)
"""Ends of the intervals."""

GIVEN = 0.5
"""A quantity is given where more than this share of the draws has it."""

BEGIN, END = "<!-- tables of benchmarks/coverage.py -->", "<!-- end of the tables -->"
"""Marks on the page between which `--write` puts the tables."""


def draws_of(found: Posterior, table: Table, condition: Condition) -> dict[str, Array]:
    """Draws of every quantity but the losses beyond the table."""
    logs, truth = table.logs(("N", "D")), truth_of(condition)
    ends = (largest(logs), middle(logs))
    out = dict(zip(SLOPES, (found.slope(at, k) for at in ends for k in "ND"), strict=True))
    front = valley(found.log_loss, found.axes, truth.cost, truth.log_c)
    return out | {"floor": found.floor(), "N*": front.exponents["N"], "L*": front.log_loss[:, BUDGETS - 1]}


def losses_of(found: Posterior, table: Table, condition: Condition) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Intervals of the losses beyond the table as the headline quotes them, and the truths where they are its own."""
    truth, intervals, truths, least = truth_of(condition), {}, {}, np.inf
    for one in losses_ahead(Model(found, table, 0.0, LEVEL[1] - LEVEL[0]), fit_cost(table))[0][-len(REACHES) :]:
        key = f"loss x {one.reach:g}"
        true = truth.values[key]
        if not one.optimal:
            true = float(log_loss(condition.truth, {k: np.log([getattr(one, k)]) for k in "ND"})[0])
        least = truths[key] = min(least, true)
        intervals[key] = np.log([one.low, one.high]).tolist()
    return intervals, truths


def one(job: tuple[Condition, int]) -> dict[str, Any]:
    """One table: the interval of every quantity, and of the misfit."""
    condition, number = job
    # Python's own hash() of a string changes from process to process.
    seed = [number, *condition.truth.encode(), *condition.grid.encode(), int(1000 * condition.noise)]
    table = table_of(condition, np.random.default_rng(seed))
    start = time.process_time()
    found = surface(table, DRAWS, np.random.default_rng(seed))
    drawn = draws_of(found, table, condition)
    losses, truths = losses_of(found, table, condition)
    known = {k: np.nanquantile(v, LEVEL).tolist() for k, v in drawn.items() if np.isfinite(v).mean() > GIVEN}
    return {
        "condition": asdict(condition),
        "table": number,
        "seconds": time.process_time() - start,
        "misfit": np.quantile(found.misfit(), LEVEL).tolist(),
        "intervals": known | losses,
        "truths": truths,
    }


def run(jobs: Iterable[tuple[Condition, int]], workers: int) -> Iterator[dict[str, Any]]:
    """Records of tables, in order."""
    with ProcessPoolExecutor(workers) as pool:
        yield from pool.map(one, jobs)


def tally(records: Sequence[dict[str, Any]], key: str) -> tuple[int, int, int, float]:
    """Tables whose truth has a quantity, those that give it, those that hold it, and the median width."""
    having = given = held = 0
    widths = []
    for record in records:
        truth = record.get("truths", {}).get(key, truth_of(Condition(**record["condition"])).values.get(key))
        if truth is None:
            continue
        having += 1
        if (ends := record["intervals"].get(key)) is None:
            continue
        given += 1
        held += ends[0] - 1e-9 <= truth <= ends[1] + 1e-9
        widths.append(ends[1] - ends[0])
    return having, given, held, float(np.median(widths)) if widths else np.nan


def _cell(records: Sequence[dict[str, Any]], key: str) -> str:
    """Held in per cent, the width, and how often the quantity is given where that is not always."""
    having, given, held, width = tally(records, key)
    if not given:
        return "—"
    share = f", in {100 * given / having:.0f} %" if given < having else ""
    return f"{100 * held / given:.0f} ({width:.2g}{share})"


def held_table(records: Sequence[dict[str, Any]]) -> list[str]:
    """Markdown: rows for all tables, for each noise, grid, kind of noise and written truth."""
    groups = {"all": list(records)}
    titles = {"noise": "noise {:.0%}", "grid": "{}", "what": "{}", "truth": "{}"}
    for name, title in titles.items():
        for value in dict.fromkeys(r["condition"][name] for r in records):
            if not str(value).startswith("drawn"):
                groups[title.format(value)] = [r for r in records if r["condition"][name] == value]
    lines = [f"| tables | number | {' | '.join(QUANTITIES)} |", "|---" * (len(QUANTITIES) + 2) + "|"]
    for name, group in groups.items():
        lines.append(f"| {name} | {len(group)} | {' | '.join(_cell(group, k) for k in QUANTITIES)} |")
    return lines


def page(records: Sequence[dict[str, Any]]) -> str:
    """A table of each set, in markdown."""
    titles = ("A law is true", "No law is true: surfaces that are written down", "No law is true: drawn surfaces")
    parts = []
    for kind, title in zip(SETS, titles, strict=True):
        every = set(conditions(kind))
        some = [r for r in records if Condition(**r["condition"]) in every]
        if some:
            parts.append(f"**{title}**\n\n" + "\n".join(held_table(some)) + "\n")
    return "\n".join(parts)


def write(path: Path, text: str) -> None:
    """Put the tables between the page's two marks."""
    before, rest = path.read_text().split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    path.write_text(f"{before}{BEGIN}\n{text}{END}{after}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", default=",".join(SETS), help="which, by commas")
    parser.add_argument("--quick", action="store_true", help="one table of every fifth condition of the first two sets")
    parser.add_argument("--tables", type=int, default=3, help="of each condition")
    parser.add_argument("--records", type=Path, help="one line per table; those that are there are not run again")
    parser.add_argument("--write", type=Path, help="page whose tables are replaced")
    given = parser.parse_args()
    records: list[dict[str, Any]] = []
    if given.records and given.records.exists():
        records = [json.loads(line) for line in given.records.read_text().splitlines()]
    done = {(Condition(**r["condition"]), r["table"]) for r in records}
    every = [c for kind in (SETS[:2] if given.quick else given.sets.split(",")) for c in conditions(kind)]
    tables, every = (1, every[::5]) if given.quick else (given.tables, every)
    jobs = [(c, k) for k, c in product(range(tables), every) if (c, k) not in done]
    for record in run(jobs, len(os.sched_getaffinity(0))):
        records.append(record)
        if given.records:
            with given.records.open("a") as file:
                file.write(json.dumps(record) + "\n")
    text = page(records)
    print(f"{text}\n{len(records)} tables, {np.median([r['seconds'] for r in records]):.2f} s of CPU each")
    if given.write:
        write(given.write, text)


if __name__ == "__main__":
    main()
