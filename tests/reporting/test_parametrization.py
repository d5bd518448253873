from __future__ import annotations

import importlib.util
import io
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from mnist_scaling.reporting.figures import style
from mnist_scaling.reporting.text import Missing

pytestmark = pytest.mark.slow

SPEC = importlib.util.spec_from_file_location(
    "parametrization_figures", Path(__file__).parents[2] / "benchmarks/parametrization_figures.py"
)
assert SPEC is not None
assert SPEC.loader is not None
draw = importlib.util.module_from_spec(SPEC)
sys.modules[SPEC.name] = draw  # its dataclasses look their module up
SPEC.loader.exec_module(draw)
Sensitivity, coordinates, sensitivity, vertex = draw.Sensitivity, draw.coordinates, draw.sensitivity, draw.vertex

RATES = 10.0 ** np.arange(-4, 0.6, 0.25)
WIDTHS = (4, 8, 16, 32, 64)


def cells(exponent: float, noise: float = 0.0, seed: int = 0, rates: np.ndarray = RATES) -> pd.DataFrame:
    """log loss = (log lr - log lr*)^2 / 10 - log width / 5, lr* = .05 width^exponent; µP without a shift."""
    rng = np.random.default_rng(seed)
    rows = []
    for name, a in (("mup", 0.0), ("standard", exponent)):
        for width in WIDTHS:
            for lr in rates:
                log_loss = 0.1 * np.log(lr / (0.05 * width**a)) ** 2 - 0.2 * np.log(width)
                loss = float(np.exp(log_loss + noise * rng.standard_normal()))
                rows.append((name, width, lr, loss, max(noise, 1e-6) * loss))
    return pd.DataFrame(rows, columns=["parametrization", "width", "lr", "test_loss", "test_loss_se"])


def found(table: pd.DataFrame, base: float = 8) -> Sensitivity:
    result = sensitivity(table, base)
    assert isinstance(result, Sensitivity)
    return result


def png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=50)
    return buffer.getvalue()


def test_the_vertex_of_a_parabola_is_exact() -> None:
    x = np.linspace(-3, 2, 9)
    assert vertex(x, 4 + 0.7 * (x + 0.4321) ** 2) == pytest.approx(-0.4321)
    assert vertex(x, -x) == x[-1]  # falls to the end: no minimum inside
    assert vertex(x[:5], np.array([0.1, 1, 0, 1, 0.1])) == x[2]  # opens downwards: the lowest point itself


def test_known_optima_and_exponents() -> None:
    data = found(cells(-0.5))
    assert list(data.exponents) == ["standard", "mup"]  # in the order of the panels
    assert data.exponents["standard"].value == pytest.approx(-0.5, abs=1e-6)
    assert data.exponents["mup"].value == pytest.approx(0, abs=1e-6)
    wanted = [0.05 * w**a for a in (-0.5, 0.0) for w in WIDTHS]
    assert data.optima["lr"].tolist() == pytest.approx(wanted)
    assert not data.optima["edge"].any()


def test_the_interval_covers_and_narrows_with_the_noise() -> None:
    covered = []
    for seed in range(20):
        interval = found(cells(-0.5, noise=0.03, seed=seed)).exponents["standard"]
        covered.append(interval.low <= -0.5 <= interval.high)
    assert np.mean(covered) >= 0.9
    widths = []
    for noise in (0.01, 0.05):
        interval = found(cells(-0.5, noise)).exponents["standard"]
        widths.append(interval.high - interval.low)
    assert widths[0] < widths[1] / 2


def test_a_best_rate_at_the_edge_is_marked_and_left_out() -> None:
    table = cells(-0.5, rates=RATES[RATES < 0.02])  # the narrow ones' best rates are outside
    data = found(table)
    standard = data.optima[data.optima["parametrization"] == "standard"]
    assert standard["edge"].tolist() == [True, True, False, False, False]
    assert data.exponents["standard"].value == pytest.approx(-0.5, abs=1e-6)
    assert not data.exponents["mup"].known  # all at the edge


def test_what_carrying_a_rate_costs() -> None:
    data = found(cells(-0.5))
    carried = data.carried.set_index(["parametrization", "width"])
    assert (carried.loc["mup", "excess"] == 0).all()
    assert carried.loc[("standard", 8), "excess"] == 0
    lr = RATES[np.argmin(np.abs(np.log(RATES / (0.05 * 8**-0.5))))]
    own = RATES[np.argmin(np.abs(np.log(RATES / (0.05 * 64**-0.5))))]
    at = [0.1 * np.log(rate / (0.05 * 64**-0.5)) ** 2 for rate in (lr, own)]
    assert carried.loc[("standard", 64), "lr"] == lr
    assert carried.loc[("standard", 64), "excess"] == pytest.approx(np.exp(at[0] - at[1]) - 1)


def test_a_rate_that_diverged_elsewhere_has_no_price() -> None:
    table = cells(-0.5)
    lr = found(table).carried["lr"].iloc[0]
    table.loc[(table["width"] == 64) & (table["lr"] == lr), ["test_loss", "test_loss_se"]] = np.nan
    carried = found(table).carried.set_index(["parametrization", "width"])["excess"]
    assert np.isnan(carried["standard", 64])
    assert carried["standard", 32] >= 0


def test_tables_that_do_not_suffice_say_why() -> None:
    few = sensitivity(cells(-0.5, rates=RATES[:4]), 8)
    assert few == Missing("Each width must have a loss at 5 learning rates or more.")
    assert sensitivity(cells(-0.5), 5) == Missing("Width 5, whose best rate is to be carried, is not in the table.")


def test_figures_are_drawn() -> None:
    with style.theme():
        figure = draw.draw_sensitivity(found(cells(-0.5, 0.02)))
        assert [axes.get_title(loc="left") for axes in figure.axes] == ["standard", "µP", "best rate"]
        assert len(figure.axes[0].containers) == len(WIDTHS)
        assert png(figure)[:4] == b"\x89PNG"
        rows = [
            (name, layer, step, width, 0, 0.1, 0.02 * width**a * step if step else np.nan)
            for name, a in (("standard", 1.0), ("mup", 0.0))
            for layer in ("first", "head")
            for step in (0, 1, 2)
            for width in WIDTHS
        ]
        table = pd.DataFrame(rows, columns=["parametrization", "layer", "step", "width", "seed", "scale", "change"])
        keys = ["parametrization", "layer", "step"]
        slopes = table.groupby(keys, as_index=False, sort=False)[["scale"]].first().assign(change=0.5, scale=0.25)
        figure = draw.draw_coordinates(coordinates(table, slopes))
        assert [axes.get_title(loc="left") for axes in figure.axes] == ["first: slope +0.50", "head: slope +0.50"] * 2
        assert [len(axes.lines) for axes in figure.axes] == [3] * 4
        assert png(figure)[:4] == b"\x89PNG"


def test_step_0_shows_the_scale_and_later_steps_the_change() -> None:
    table = pd.DataFrame(
        [("mup", "head", t, 4, s, 1.0 + s, t * 10.0 if t else np.nan) for t in (0, 1) for s in (0, 1)],
        columns=["parametrization", "layer", "step", "width", "seed", "scale", "change"],
    )
    slopes = pd.DataFrame(
        {"parametrization": "mup", "layer": "head", "step": [0, 1], "scale": -0.5, "change": [None, 2.0]}
    )
    data = coordinates(table, slopes.astype({"change": float}))
    assert data.points["value"].tolist() == [1.5, 10.0]
    assert data.slopes["slope"].tolist() == [-0.5, 2.0]
