"""The decision page of docs/planning.md as a picture, from the list that `plan` prints (`planning.guide`).

python benchmarks/decision_chart.py docs/images/decision.png
"""

from __future__ import annotations

import argparse
import textwrap
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mnist_scaling.planning.guide import GUIDE
from mnist_scaling.reporting.figures import style

COLUMNS = ((0.0, 13, "What do you want to know?"), (0.19, 22, "Run"), (0.46, 22, "Quote"), (0.73, 25, "With"))
"""Left end and width in letters of each column of boxes, and its head."""

LETTER, GAP = 0.0105, 0.012
"""Width of a letter, and the space inside a box, in widths of the figure."""


def box(axes: Axes, column: int, y: float, text: str, weight: str = "normal") -> None:
    """Text in a box that begins at the column's left end, with an arrow from the column before it."""
    x, letters, _ = COLUMNS[column]
    wrapped = "\n".join(textwrap.wrap(text.replace("`", ""), letters))
    axes.annotate(
        wrapped, (x + GAP, y), va="center", fontsize=8.5, fontweight=weight, linespacing=1.25,
        bbox={"boxstyle": "round,pad=0.5", "facecolor": f"C{column}", "edgecolor": "none", "alpha": 0.22},
    )  # fmt: skip
    if column:
        before, wide, _ = COLUMNS[column - 1]
        tail = before + wide * LETTER + 2 * GAP
        axes.annotate("", (x, y), (min(tail, x - 0.02), y), arrowprops={"arrowstyle": "-|>", "color": "0.4", "lw": 1})


def draw() -> Figure:
    """One row of boxes for each thing that one may want to know."""
    with style.theme():
        figure = Figure(figsize=(10, 0.95 * len(GUIDE) + 0.5), layout="constrained")
        axes = figure.add_subplot()
        axes.set(xlim=(-0.01, 1.0), ylim=(-0.6, len(GUIDE) - 0.2))
        axes.set_axis_off()
        for x, _, head in COLUMNS:
            axes.text(x + GAP, len(GUIDE) - 0.35, head, fontsize=10, fontweight="bold")
        for row, (want, run, regime, quote, effort, _) in enumerate(reversed(GUIDE)):
            box(axes, 0, row, want, "bold")
            box(axes, 1, row, f"{run} ({regime})")
            box(axes, 2, row, quote)
            box(axes, 3, row, effort)
    return figure


def main() -> None:
    """Draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path)
    draw().savefig(parser.parse_args().path, dpi=150)


if __name__ == "__main__":
    main()
