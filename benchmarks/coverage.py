"""What reaches the reader after the law was chosen: how often headline intervals hold the truth, and what is named.

    python benchmarks/coverage.py --records FILE       every condition: about 20 minutes on two cores
    python benchmarks/coverage.py --quick              four conditions, 20 tables each: about half a minute
    python benchmarks/coverage.py --records FILE --seconds 280     so long only; the next call goes on from there
    python benchmarks/coverage.py --records FILE --tables 0 --write docs/fitting_evidence.md      the page as it is

Tables obey a known law on a grid of this project's sizes, with seed noise. Each is analysed as a user's would be
(`fitting.analysis.analyse`, the joint laws, 200 draws), and then the truth is looked up in the headline. Table number k
of a condition has the seed (k, number of the condition), so that a second call gives the same figures. For every
quantity:

    held        share of the tables whose 95 % interval holds the truth
    width       median width over that of the interval that the true law alone gives, the oracle's

and for the choice:

    wrong       share of the tables in which a law is selected that is neither the truth nor nests it
    right       share in which the truth, or a law that nests it, is selected
    able        share in which AICc rejects every law that is neither: where the choice could be right
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from coverage_suite import HEADLINE, METHODS, QUANTITIES, QUICK, conditions, one, true_values

NAMES = {
    "slope_N": "slope N",
    "slope_D": "slope D",
    "middle_slope_N": "middle N",
    "middle_slope_D": "middle D",
    "N_exponent": "N*",
    "loss_exponent": "L*",
    "loss": "loss at 2 N, 2 D",
    "hull N": "N* of hull",
    "pareto N": "N* of pareto",
    "isoflop N": "N* of isoflop",
}

WAYS = {
    "oracle": "the true law, told beforehand",
    "lowest AICc": "the law with the lowest AICc",
    "union": "union of the intervals of all laws that are not rejected",
    HEADLINE: "mixture of their draws by weight: the headline",
}

BEGIN, END = "<!-- tables of benchmarks/coverage.py -->", "<!-- end of the tables -->"
"""Marks on the page between which `--write` puts the tables."""


def run(jobs: Iterable[tuple[int, int]], draws: int, workers: int, seconds: float = np.inf) -> Iterator[dict[str, Any]]:
    """Analyse tables, as they come about, until the time is up.

    Parameters
    ----------
    jobs : iterable of (int, int)
        Number of a table and number of its condition among `conditions()`.
    draws : int
    workers : int
        Processes.
    seconds : float
        No table is begun later.
    """
    every, start = list(conditions()), time.monotonic()
    waiting = iter(jobs)
    with ProcessPoolExecutor(workers) as pool:
        begun: dict[Any, tuple[int, int]] = {}
        while True:
            if time.monotonic() - start < seconds:
                for k, number in islice(waiting, 2 * workers - len(begun)):
                    begun[pool.submit(one, every[number], (k, number), draws)] = (k, number)
            if not begun:
                return
            for ended in wait(begun, return_when=FIRST_COMPLETED).done:
                k, number = begun.pop(ended)
                yield {"table": k, "condition": number} | ended.result()


def read(path: Path) -> list[dict[str, Any]]:
    """The tables that were analysed before; a line that was cut off is left out."""
    out = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            out.append(json.loads(line))
        except ValueError:
            continue
    return out


@cache
def _truths() -> list[dict[str, float]]:
    return [true_values(condition) for condition in conditions()]


@dataclass(frozen=True)
class Tally:
    """One quantity over some tables, by one way."""

    tables: int
    given: int
    """Tables that gave an interval."""
    held: int
    exists: int
    """Tables of a truth that has the quantity, and that gave an interval."""
    width: float
    """Median width over the oracle's; NaN without one."""


def tally(records: Sequence[dict[str, Any]], key: str, way: str = HEADLINE) -> Tally:
    """How often the intervals of one quantity hold its truth."""
    given = held = exists = 0
    ratios = []
    for record in records:
        ends, truth = record[way][key], _truths()[record["condition"]].get(key if key in QUANTITIES else "N_exponent")
        if ends is None:
            continue
        given += 1
        if truth is None:
            continue
        exists += 1
        slack = 1e-9 * max(1.0, abs(truth))
        held += ends[0] - slack <= truth <= ends[1] + slack
        oracle = record.get("oracle", {}).get(key)
        if oracle is not None and oracle[1] > oracle[0]:
            ratios.append((ends[1] - ends[0]) / (oracle[1] - oracle[0]))
    return Tally(len(records), given, held, exists, float(np.median(ratios)) if ratios else np.nan)


def _cell(t: Tally) -> str:
    """Held in per cent, and the width; of a quantity that does not exist, how often it was given nevertheless."""
    if not t.exists:
        return f"none: {100 * t.given / t.tables:.0f}" if t.given else "none"
    text = f"{100 * t.held / t.exists:.0f}"
    return f"{text} ({t.width:.1f})" if np.isfinite(t.width) else text


def groups(records: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """The records by truth, by grid and noise, and by what else is wrong with the table."""
    every = list(conditions())
    out: dict[str, list[dict[str, Any]]] = {}
    plain = [r for r in records if every[r["condition"]].what == "se"]
    for record in plain:
        out.setdefault(every[record["condition"]].truth, []).append(record)
    for record in plain:
        c = every[record["condition"]]
        out.setdefault(f"{c.grid}, {100 * c.noise:.0f} %", []).append(record)
    for record in records:
        c = every[record["condition"]]
        if c.what != "se":
            out.setdefault(f"{c.grid}, {100 * c.noise:.0f} %, {c.what}", []).append(record)
    return out


def choice_table(records: Sequence[dict[str, Any]]) -> list[str]:
    """Markdown: what is named, by group; "worst" is the condition with the most wrong names."""
    lines = [
        "| tables | number | wrong | worst | right | able | right where able |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, group in groups(records).items():
        size = Counter(r["condition"] for r in group)
        wrong = Counter(r["condition"] for r in group if r["wrong"])
        worst = max(wrong[c] / size[c] for c in size)
        able = [r["right"] for r in group if r["able"]]
        shares = [np.mean([r[k] for r in group]) for k in ("wrong", "right", "able")]
        texts = [f"{100 * v:.0f} %" for v in (shares[0], worst, *shares[1:])]
        texts.append(f"{100 * np.mean(able):.0f} %" if able else "—")
        lines.append(f"| {name} | {len(group)} | {' | '.join(texts)} |")
    return lines


def held_table(records: Sequence[dict[str, Any]]) -> list[str]:
    """Markdown: share held in per cent, and width over the oracle's, by group and quantity."""
    keys = (*QUANTITIES, *(f"{m} N" for m in METHODS))
    lines = [f"| tables | {' | '.join(NAMES.get(k, k) for k in keys)} |", "|---" * (len(keys) + 1) + "|"]
    for name, group in [*groups(records).items(), ("all", list(records))]:
        lines.append(f"| {name} | {' | '.join(_cell(tally(group, k)) for k in keys)} |")
    return lines


def ways_table(records: Sequence[dict[str, Any]]) -> list[str]:
    """Markdown: lowest and highest share held over the groups, and over all; width over the oracle's."""
    known = [r for r in records if "oracle" in r]
    lines = [f"| way | {' | '.join(NAMES.get(k, k) for k in QUANTITIES)} |", "|---" * (len(QUANTITIES) + 1) + "|"]
    for way in ("oracle", "lowest AICc", "union", HEADLINE):
        cells = []
        for key in QUANTITIES:
            found = [t for g in groups(known).values() if (t := tally(g, key, way)).exists]
            shares = [100 * t.held / t.exists for t in found]
            cells.append(f"{min(shares):.0f}–{max(shares):.0f}, {_cell(tally(known, key, way))}" if shares else "—")
        lines.append(f"| {WAYS[way]} | {' | '.join(cells)} |")
    return lines


def page(records: Sequence[dict[str, Any]]) -> str:
    """All tables, in markdown."""
    number = Counter(r["condition"] for r in records)
    sizes = sorted(set(number.values()))
    each = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
    parts = (choice_table(records), held_table(records), ways_table(records))
    titles = (
        "What is named",
        "Share of 95 % intervals that hold the truth, in per cent (median width over the oracle's)",
        "Ways to one interval over laws: lowest to highest row of the table above, then all tables",
    )
    text = "\n\n".join(f"**{title}**\n\n" + "\n".join(lines) for title, lines in zip(titles, parts, strict=True))
    return f"{len(records)} tables, {each} of each of {len(number)} conditions.\n\n{text}\n"


def write(path: Path, text: str) -> None:
    """Put the tables between the page's two marks."""
    before, rest = path.read_text().split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    path.write_text(f"{before}{BEGIN}\n{text}{END}{after}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="four conditions, 20 tables each")
    parser.add_argument("--tables", type=int, default=40, help="of each condition")
    parser.add_argument("--first", type=int, default=0, help="number of the first table, to share the work")
    parser.add_argument("--draws", type=int, default=200, help="of each table's bootstrap")
    parser.add_argument("--seconds", type=float, default=np.inf, help="begin no table later")
    parser.add_argument("--records", type=Path, help="one line per table; those that are there are not run again")
    parser.add_argument("--write", type=Path, help="page whose tables are replaced")
    given = parser.parse_args()
    every = list(conditions())
    numbers, tables = ([every.index(c) for c in QUICK], 20) if given.quick else (list(range(len(every))), given.tables)
    records = read(given.records) if given.records else []
    done, start = {(r["table"], r["condition"]) for r in records}, time.monotonic()
    jobs = (
        (k, number) for k in range(given.first, given.first + tables) for number in numbers if (k, number) not in done
    )
    for record in run(jobs, given.draws, len(os.sched_getaffinity(0)), given.seconds):
        records.append(record)
        if given.records:
            with given.records.open("a") as file:
                file.write(json.dumps(record) + "\n")
    text = page(records)
    print(text)
    print(f"{len(records) - len(done)} tables more in {time.monotonic() - start:.0f} s")
    if given.write:
        write(given.write, text)


if __name__ == "__main__":
    main()
