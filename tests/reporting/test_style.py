from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from mnist_scaling.reporting.figures import style


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.05, 0.3, [0.05, 0.07, 0.1, 0.15, 0.2, 0.3]),
        (1, 1e6, [1, 10, 100, 1e3, 1e4, 1e5, 1e6]),
        (0.9, 1.1, [0.9, 0.92, 0.94, 0.96, 0.98, 1.0]),
    ],
)
def test_nice_ticks(low: float, high: float, ticks: list[float]) -> None:
    found = style.nice_ticks(low, high)
    assert found[: len(ticks)] == pytest.approx(ticks) or set(ticks) & set(found)
    assert 2 <= len(found) <= 7


def test_ticks_are_inside_few_and_at_least_two_on_any_range() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        low = 10 ** rng.uniform(-5, 8)
        high = low * 10 ** rng.uniform(0.02, 5)
        ticks = style.nice_ticks(low, high)
        assert 2 <= len(ticks) <= 7
        assert all(low * 0.999 <= t <= high * 1.001 for t in ticks)


def test_levels_are_labelled_and_the_largest_always_is() -> None:
    with style.theme():
        axes = style.new_figure().subplots()
        style.level_axis(axes.xaxis, 2.0 ** np.arange(20), most=5)
    ticks = axes.xaxis.get_majorticklocs()
    assert len(ticks) <= 5
    assert ticks[-1] == 2**19


def test_sizes_that_are_no_levels_have_round_ticks() -> None:
    with style.theme():
        axes = style.new_figure().subplots()
        style.level_axis(axes.xaxis, np.geomspace(3.3e-5, 7.7e7, 40), most=4)
    ticks = axes.xaxis.get_majorticklocs()
    assert 2 <= len(ticks) <= 4
    assert ticks == pytest.approx(10.0 ** np.round(np.log10(ticks)))


def test_one_level_has_an_axis_too() -> None:
    with style.theme():
        axes = style.new_figure().subplots()
        style.level_axis(axes.xaxis, [50.0, 50.0])
        style.log_axis(axes.yaxis, 0.1, 0.1)
    low, high = axes.get_xlim()
    assert low < 50 < high


@pytest.mark.parametrize("palette", [style.SIZE_PALETTE, style.DATA_PALETTE])
@pytest.mark.parametrize("count", [1, 2, 7])
def test_colours_darken_with_the_level(palette: str, count: int) -> None:
    colours = style.ordered_colours(range(1, count + 1), palette)
    light = [np.dot(to_rgb(colours[k]), (0.299, 0.587, 0.114)) for k in sorted(colours)]
    assert len(set(colours.values())) == count
    assert light == sorted(light, reverse=True)
