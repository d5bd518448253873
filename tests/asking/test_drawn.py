"""The figure of an answer: what is drawn lies inside, and its key has room for many values."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from mnist_scaling.asking import drawn
from mnist_scaling.asking.drawn import ARM, answer_figure, draw_answer
from mnist_scaling.config.ask_schema import FigureSpec
from mnist_scaling.fitting.uncertainty.interval import Interval
from mnist_scaling.reporting import figure_files
from mnist_scaling.reporting.figures import style

SIZES = [2500 * 1.3**k for k in range(16)]


def rows(se: float) -> pd.DataFrame:
    """A grid of 16 sizes and 4 amounts of data, with a standard error of that share of the loss."""
    found = pd.DataFrame([(n, d) for n in SIZES for d in (781, 2000, 5000, 12500)], columns=["n_params", "n_seen"])
    loss = found["n_seen"] ** -0.4 * found["n_params"] ** -0.2
    return found.assign(loss=loss, loss_se=se * loss, **{ARM: "one"})


def test_error_bars_end_inside_the_axes() -> None:
    data = answer_figure(rows(0.5), FigureSpec(x="n_seen", y="loss", colour="n_params"), {})
    low, high = draw_answer(data).axes[0].get_ylim()
    every = data.rows
    assert low < (every["y"] - every["se"]).min()
    assert high > (every["y"] + every["se"]).max()
    # A bar that would end below zero has no lower end on this axis; the point itself still lies inside.
    wide = draw_answer(answer_figure(rows(2.0), FigureSpec(x="n_seen", y="loss", colour="n_params"), {}))
    assert 0 < wide.axes[0].get_ylim()[0] < every["y"].min()


@pytest.mark.parametrize("intervals", [{}, {"a_alpha": Interval(0.2, 0.1, 0.3)}])
def test_a_key_of_many_sizes_fits_the_figure(intervals: dict[str, Interval]) -> None:
    with style.theme():
        figure = draw_answer(answer_figure(rows(0.1), FigureSpec(x="n_seen", y="loss", colour="n_params"), intervals))
        figure.canvas.draw()
    (legend,) = figure.legends
    texts = [text.get_text() for text in legend.get_texts()]
    assert texts[1] == "2.5k"
    assert texts[-1] == "128k"
    assert len(texts) == 1 + drawn.MOST_IN_THE_KEY
    assert legend.get_window_extent().x1 <= figure.bbox.x1
    colours = {line.get_color() for line in figure.axes[0].get_lines() if len(line.get_xdata()) > 1}  # type: ignore[arg-type]
    assert len(colours) == len(SIZES)


def test_no_words_are_cut_at_the_resolution_of_the_documentation() -> None:
    """The layout is made once, for the SVG; a PNG of few dots per inch must not have wider words."""
    names = [f"a rather long name of an arm {k}: exponent of the loss in N" for k in range(4)]
    intervals = {name: Interval(-0.2, -0.3, -0.1) for name in names}
    with style.theme():
        figure = draw_answer(answer_figure(rows(0.1), FigureSpec(x="n_seen", y="loss", colour="n_params"), intervals))
        figure_files.on_page(figure, "x", "X", {})
        figure.set_layout_engine("none")
        figure.dpi = 80
        figure.canvas.draw()
        boxes = [label.get_window_extent() for axes in figure.axes[-2:] for label in axes.get_yticklabels()]
    assert len(boxes) == 2 * len(names)
    assert all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 for box in boxes)


def test_words_of_an_arm_are_never_left_out_of_the_key() -> None:
    many = pd.concat([rows(0.1).assign(**{ARM: f"arm {k}"}) for k in range(9)])
    data = answer_figure(many, FigureSpec(x="n_seen", y="loss", colour=ARM), {})
    assert drawn._named(data) == [f"arm {k}" for k in range(9)]
    assert np.isfinite(drawn._reach(data.rows)).all()


def test_numbers_below_the_panels_have_tick_labels_with_room_between_them() -> None:
    """Those of the answer on dropout."""
    intervals = {
        "dropout 0.2 minus no dropout: exponent of N": Interval(0.01975, -0.01916, 0.05347),
        "dropout 0.2 minus no dropout: exponent of D": Interval(-0.00955, -0.02748, 0.00946),
    }
    with style.theme():
        figure = draw_answer(answer_figure(rows(0.1), FigureSpec(x="n_seen", y="loss", colour="n_params"), intervals))
        figure.canvas.draw()
    boxes = [label.get_window_extent() for label in figure.axes[-2].get_xticklabels() if label.get_text()]
    assert len(boxes) >= 3
    assert all(right.x0 - left.x1 > 0.5 * left.height for left, right in pairwise(boxes))


@pytest.mark.parametrize("panels", [1, 2, 4])
def test_tick_labels_do_not_overlap(panels: int) -> None:
    """FLOPs of a grid: up to 24 levels, which lie in groups of close ones."""
    grid = pd.DataFrame(
        [(n, d) for n in SIZES[:6] for d in (3125, 12500, 25000, 50000)], columns=["n_params", "n_seen"]
    )
    grid = grid.assign(flops=90 * grid["n_params"] * grid["n_seen"], loss=0.2, loss_se=0.01)
    many = pd.concat([grid.assign(**{ARM: f"arm {k}"}) for k in range(panels)])
    spec = FigureSpec(x="flops", y="loss", colour="n_params", panel=ARM)
    with style.theme():
        figure = draw_answer(answer_figure(many, spec, {}))
        figure.canvas.draw()
    for axes in figure.axes[:panels]:
        boxes = [label.get_window_extent() for label in axes.get_xticklabels() if label.get_text()]
        assert len(boxes) >= 2
        assert all(left.x1 < right.x0 for left, right in pairwise(boxes))
