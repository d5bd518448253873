"""Does a study take the time that `plan minutes=…` promised for it? Ten budgets from 3 to 60 minutes, on one plot.

    python benchmarks/minutes.py                        ten budgets on the machine as it is: about 3.5 hours
    python benchmarks/minutes.py --beside 2             the same beside two processes that each keep one core busy
    python benchmarks/minutes.py --budgets 3 6          these alone
    python benchmarks/minutes.py --draw                 no runs: plot and table of what is recorded

Each budget calibrates, chooses a study and runs it in a folder of its own, and then appends one row to
benchmarks/recorded/minutes.csv. A budget that has a row with as many busy processes beside it is not run again, so the
command goes on where it was stopped. After each row docs/images/minutes.png is drawn, and the table of
docs/planning.md is written.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from scheduling import write

from mnist_scaling import cli
from mnist_scaling.config import DataConfig
from mnist_scaling.reporting.figures import style

BUDGETS = (3.0, 4.0, 6.0, 8.0, 11.0, 15.0, 21.0, 30.0, 42.0, 60.0)
"""Minutes."""

ROOT = Path(__file__).parents[1]
RECORDED, PLOT = ROOT / "benchmarks/recorded/minutes.csv", ROOT / "docs/images/minutes.png"
COLUMNS = ("minutes", "beside", "promised", "took", "load", "cells", "trials", "repeats", "time")
"""Of the table: promised and took are seconds, load is that of the last minute before the calibration."""

MARK = "benchmarks/minutes.py"
"""What the two marks of the page name; the table stands between them."""

KEPT = (0.8, 1.2)
"""Share of the promised time within which a promise counts as kept."""


def recorded(path: Path) -> list[dict[str, str]]:
    """The rows that are there."""
    return list(csv.DictReader(path.open(encoding="utf-8"))) if path.is_file() else []


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """So many processes that do nothing but keep a core busy."""
    started = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


def measured(minutes: float, beside: int) -> dict[str, Any]:
    """One row: a budget's study, chosen and run."""
    name = f"minutes_{minutes:g}_beside_{beside}"
    experiment, load = Path(cli.conf_dir()) / "experiment" / f"{name}.yaml", os.getloadavg()[0]
    experiment.unlink(missing_ok=True)  # of a run that was stopped
    plan, train = ([sys.executable, "-m", f"mnist_scaling.{command}"] for command in ("plan", "train"))
    with tempfile.TemporaryDirectory() as folder, busy(beside):
        Path(folder, DataConfig().dir).symlink_to((ROOT / DataConfig().dir).resolve())  # nothing is fetched anew
        where: dict[str, Any] = {"cwd": folder, "env": cli.environment(), "check": True}
        try:
            words = [*plan, f"name={name}", f"minutes={minutes:g}", "format=json"]
            said = subprocess.run(words, **where, stdout=subprocess.PIPE, text=True).stdout
            began = time.monotonic()
            subprocess.run([*train, "-m", f"experiment={name}"], **where)
            took = time.monotonic() - began
        finally:
            experiment.unlink(missing_ok=True)
    proposal = json.loads(said)["proposal"]
    offer = proposal["offer"]
    cells = len(offer["sizes"]) * len(offer["amounts"])
    found = (f"{proposal['seconds']:.1f}", f"{took:.1f}", f"{load:.2f}", cells, offer["trials"], offer["repeats"])
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return dict(zip(COLUMNS, (f"{minutes:g}", beside, *found, now), strict=True))


def append(path: Path, row: Mapping[str, Any]) -> None:
    """Add a row to the table."""
    new = not path.is_file()
    with path.open("a", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if new:
            table.writeheader()
        table.writerow(row)


def ratio(row: Mapping[str, str]) -> float:
    """What a study took over what was promised."""
    return float(row["took"]) / float(row["promised"])


def draw(rows: list[dict[str, str]], path: Path) -> None:
    """What each study took over what was promised, against its budget."""
    with style.theme():
        figure = Figure(figsize=(5.6, 3.4), layout="constrained")
        axes = figure.add_subplot()
        axes.axhspan(*KEPT, color="0.92", zorder=0)
        axes.axhline(1, lw=0.8, color="0.5", zorder=0)
        for beside in sorted({int(row["beside"]) for row in rows}):
            mine = [row for row in rows if int(row["beside"]) == beside]
            ratios = [*map(ratio, mine)]
            label = f"beside {beside} busy processes" if beside else "nothing of ours beside it"
            axes.plot([float(row["minutes"]) for row in mine], ratios, "o" if beside == 0 else "s", ms=6, label=label)
        axes.set(ylabel="took / promised", ylim=(0, max(1.5, axes.get_ylim()[1])))
        style.log_axis(axes.xaxis, BUDGETS[0], BUDGETS[-1])
        axes.set_xlabel("minutes that `plan` was given")
        axes.legend(title=f"shaded: {KEPT[0]:g} to {KEPT[1]:g}")
        figure.savefig(path, dpi=120)


def table(rows: list[dict[str, str]]) -> str:
    """Markdown: every study, and the plot."""
    lines = [
        "| minutes given | busy processes beside it | load before | promised, s | took, s | took / promised |",
        "|" + "---|" * 6,
    ]
    for row in sorted(rows, key=lambda row: (int(row["beside"]), float(row["minutes"]))):
        shown = *(row[k] for k in ("minutes", "beside", "load", "promised", "took")), f"{ratio(row):.2f}"
        lines.append(f"| {' | '.join(shown)} |")
    kept = sum(KEPT[0] <= ratio(row) <= KEPT[1] for row in rows)
    picture = f"![What studies took over what was promised](images/{PLOT.name})"
    return "\n".join([f"Of {len(rows)} studies {kept} took 0.8 to 1.2 of the time promised.", "", *lines, "", picture])


def show(given: argparse.Namespace) -> None:
    """Plot and page from the table."""
    if rows := recorded(given.csv):
        draw(rows, given.plot)
        write(given.page, table(rows), MARK)
        print(table(rows), flush=True)


def main() -> None:
    """Run what is not recorded, and show."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budgets", nargs="+", type=float, default=BUDGETS)
    parser.add_argument("--beside", type=int, default=0, help="processes that each keep a core busy")
    parser.add_argument("--csv", type=Path, default=RECORDED)
    parser.add_argument("--plot", type=Path, default=PLOT)
    parser.add_argument("--page", type=Path, default=ROOT / "docs/planning.md")
    parser.add_argument("--draw", action="store_true")
    given = parser.parse_args()
    show(given)
    for minutes in () if given.draw else given.budgets:
        if not any(
            (float(row["minutes"]), int(row["beside"])) == (minutes, given.beside) for row in recorded(given.csv)
        ):
            append(given.csv, measured(minutes, given.beside))
            show(given)


if __name__ == "__main__":
    main()
