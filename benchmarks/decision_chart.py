"""What do you want to know? Which command, regime, number and effort answer it: the picture of docs/planning.md.

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

GUIDE = (
    (
        "How the loss falls with size and data", "plan minutes=… name=…", "single_epoch: each image once",
        "slope N and slope D of `fit`", "30 cells, 12 trials, 3 repeats",
    ),
    (
        "The best size at a compute", "train -m experiment=quickstart", "single_epoch",
        "N exponent of `fit`, not minima of isoFLOP curves", "7 sizes x 5 amounts of data, 12 trials, 3 repeats",
    ),
    (
        "The loss of a larger run, and its settings", "plan name=… target.flops=…", "that of the study",
        "the prediction with its interval", "a study of 9 cells or more, of 1/16 of the compute or more",
    ),
    (
        "Which of two methods is better", "compare studies=[a,b]", "the same in both, same cells and seeds",
        "P(better), and the multiplier of compute", "4 x 4 cells or more of each, 3 repeats, and a twin",
    ),
    (
        "What more passes over few images are worth", "ask question=repetition", "repeat, or early_stopping",
        "the law `repeated`, or the slopes against unique images", "those of the question",
    ),
    (
        "What a table of other people's runs says next", "plan table=… columns.…", "theirs",
        "the next runs, or the next budget", "4 budgets or more, or 9 rows of N and D",
    ),
)  # fmt: skip
"""What one wants to know, what to run, its regime, what to quote, and with which cells, trials and repeats."""

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
        for row, (want, run, regime, quote, effort) in enumerate(reversed(GUIDE)):
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
