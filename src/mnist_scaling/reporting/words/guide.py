"""What do you want to know? Which command, regime, number and effort answer it, and why: measured, as docs/ say.

One list for `plan`, for docs/planning.md and for its picture (benchmarks/decision_chart.py).
"""

from __future__ import annotations

from mnist_scaling.reporting.parts import TextTable

HEAD = ("what you want to know", "run", "regime", "quote", "cells, trials, repeats", "why")

GUIDE = (
    (
        "How the loss falls with size and data", "plan minutes=… name=…", "single_epoch: each image once",
        "slope N and slope D of `fit`", "30 cells, 12 trials, 3 repeats",
        "30 cells with 6 trials and 2 repeats leave the slopes ±0.09; with 12 trials 33 of 35 cells are certified.",
    ),
    (
        "The best size at a compute", "train -m experiment=quickstart", "single_epoch",
        "N exponent of `fit`, not minima of isoFLOP curves", "7 sizes x 5 amounts of data, 12 trials, 3 repeats",
        "Minima and hulls are read off few rows, and are biased even without noise.",
    ),
    (
        "The loss of a larger run, and its settings", "plan name=… target.flops=…", "that of the study",
        "the prediction with its interval", "a study of 9 cells or more, of 1/16 of the compute or more",
        "70 of 71 intervals hold at up to 16 times the compute; settings lose up to 12 % there: tune the cell.",
    ),
    (
        "Which of two methods is better", "compare studies=[a,b]", "the same in both, same cells and seeds",
        "P(better), and the multiplier of compute", "4 x 4 cells or more of each, 3 repeats, and a twin",
        "On 4 x 4 cells 93 to 100 % of differences of 10 % are seen; a twin makes intervals narrower by a quarter.",
    ),
    (
        "What more passes over few images are worth", "ask question=repetition", "repeat, or early_stopping",
        "the law `repeated`, or the slopes against unique images", "those of the question",
        "A converged run decides its length itself, so D must be the images that there are.",
    ),
    (
        "What a table of other people's runs says next", "plan table=… columns.…", "theirs",
        "the next runs, or the next budget", "4 budgets or more, or 9 rows of N and D",
        "On a published notebook the next budget comes out as its author has it, 2.743575.",
    ),
)  # fmt: skip


def guide_table() -> TextTable:
    """What do you want to know, and what answers it."""
    return TextTable(HEAD, GUIDE, title="Which study answers which question", aside=5)
