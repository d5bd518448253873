"""The page of a comparison: one self-contained HTML file from comparison.json."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mnist_scaling.reporting import figure_files
from mnist_scaling.reporting.documents.comparison_json import Pair
from mnist_scaling.reporting.figures import Plot, two_arms
from mnist_scaling.reporting.figures import draw as draw_figure
from mnist_scaling.reporting.pages import draw
from mnist_scaling.reporting.parts import Missing
from mnist_scaling.reporting.words import conclusion as say

KICKER = SECTION = "Comparison"

PLOTS = (
    Plot(
        "ratio", SECTION, "Ratio of the losses, cell by cell",
        "Points are cells, lines the plane that the differences of alpha and beta come from: level lines mean equal "
        "exponents, their distance from 1 is the offset.",
        two_arms.ratios, two_arms.draw_ratios,
    ),
    Plot(
        "compute", SECTION, "Loss against compute",
        "Every cell of both arms, and the least loss at each compute inside the sizes that both cover, by a smooth "
        "surface through each arm's cells.",
        two_arms.curves, two_arms.draw_curves,
    ),
    Plot(
        "multiplier", SECTION, "Compute multiplier",
        "The compute that b needs for a's loss, over a's, with its pointwise interval. Below 1, b is cheaper. A "
        "sloping line means that the advantage changes with scale.",
        two_arms.multiples, two_arms.draw_multiples,
    ),
)  # fmt: skip
"""Figures of a pair, in the order of the page."""


def page(found: Pair, title: str) -> str:
    """The whole page as HTML, from comparison.json."""
    return draw(
        "comparison.html.j2",
        kicker=KICKER,
        title=title,
        pairs=[_pair(pair, i) for i, pair in enumerate(found.pairs or (found,))],
        command=found.command,
        settings=found.settings,
        margin=found.margin,
    )


def _pair(pair: Pair, place: int) -> dict[str, Any]:
    figures, cells = [], say.cell_table(pair, f"{place}-")
    for plot in PLOTS:
        plot = replace(plot, name=f"{plot.name}-{place}")
        data = plot.prepare(pair)
        if isinstance(data, Missing):
            figures.append(figure_files.Shown(plot, None, data.reason, data))
        else:
            figures.append(figure_files.shown(plot, data, draw_figure(plot, data), cells.cells, f"{place}-"))
    return {
        "pair": pair,
        "slopes": say.slope_table(pair),
        "multiplier": say.multiplier_table(pair),
        "exponents": say.exponent_table(pair),
        "cells": cells,
        "figures": figures,
        "noise": say.luck_sentence(pair),
    }
