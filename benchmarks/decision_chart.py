"""The decision page of docs/planning.md as a picture, from the list that `plan` prints (`reporting.words.guide`).

python benchmarks/decision_chart.py docs/images/decision.png
"""

from __future__ import annotations

import argparse
import textwrap
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation

from mnist_scaling.reporting.figures import style
from mnist_scaling.reporting.words.guide import GUIDE

COLUMNS = ((0.0, 21, "What do you want to know?"), (0.27, 26, "Run"), (0.54, 25, "Quote"), (0.79, 22, "With"))
"""Left end and width in letters of each column of boxes, and its head."""


def box(axes: Axes, column: int, y: float, text: str, before: Annotation | None) -> Annotation:
    """Text in a box that begins at the column's left end, with an arrow from the box before it."""
    x, letters, _ = COLUMNS[column]
    wrapped = "\n".join(textwrap.wrap(text.replace("`", ""), letters))
    found = axes.annotate(
        wrapped, (x, y), va="center", fontsize=9, fontweight="bold" if column == 0 else "normal", linespacing=1.25,
        bbox={"boxstyle": "round,pad=0.5", "facecolor": f"C{column}", "edgecolor": "none", "alpha": 0.22},
    )  # fmt: skip
    if before is not None:
        arrow = {"arrowstyle": "-|>", "color": "0.4", "lw": 1, "patchA": before.get_bbox_patch(), "shrinkB": 0}
        axes.annotate("", (x - 0.012, y), (COLUMNS[column - 1][0] + 0.05, y), arrowprops=arrow)
    return found


def draw() -> Figure:
    """One row of boxes for each thing that one may want to know."""
    with style.theme():
        figure = Figure(figsize=(9.5, 0.85 * len(GUIDE) + 0.4), layout="constrained")
        axes = figure.add_subplot()
        axes.set(xlim=(-0.02, 0.99), ylim=(-0.5, len(GUIDE) - 0.3))
        axes.set_axis_off()
        for x, _, head in COLUMNS:
            axes.text(x - 0.01, len(GUIDE) - 0.45, head, fontsize=10, fontweight="bold")
        for row, (want, run, regime, quote, effort, _) in enumerate(reversed(GUIDE)):
            last = None
            for column, text in enumerate((want, f"{run} ({regime})", quote, effort)):
                last = box(axes, column, row, text, last)
    return figure


def main() -> None:
    """Draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path)
    draw().savefig(parser.parse_args().path, dpi=120)


if __name__ == "__main__":
    main()
