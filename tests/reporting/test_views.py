"""Known answers of the views that answer one question each, and that every one of them is drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from mnist_scaling.fitting.ahead import LossAhead
from mnist_scaling.fitting.uncertainty.interval import Interval
from mnist_scaling.reporting import figures
from mnist_scaling.reporting.documents.loading import Study
from mnist_scaling.reporting.documents.tuning_records import SettingsRecord
from mnist_scaling.reporting.figures.best_settings import settings_curves
from mnist_scaling.reporting.figures.laws import Forecast, forecast
from mnist_scaling.reporting.figures.losses import FINE, LossMap, loss_map
from mnist_scaling.reporting.figures.pair_grid import best_per_budget, clouds
from mnist_scaling.reporting.figures.style import View
from mnist_scaling.reporting.figures.tuning import training_gap
from mnist_scaling.reporting.text import DASH, Missing
from mnist_scaling.reporting.words.report_words import seed_table
from mnist_scaling.settings.setting_laws import KeyLaws
from mnist_scaling.study.columns import DIVERGED, REPEAT
from tests.reporting.builder import load

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def study(grid: Path) -> Study:
    return load(grid)


def view(study: Study, name: str) -> View:
    """The data of a figure, which is drawn, too."""
    plot = next(p for p in figures.FIGURES if p.name == name)
    data = plot.prepare(study)
    assert not isinstance(data, Missing), data.reason
    figures.draw(plot, data).canvas.draw()
    return data  # type: ignore[no-any-return]


def test_the_map_has_every_cell_its_holes_and_the_law_between_them(study: Study) -> None:
    data = loss_map(replace(study, cells=study.cells.drop(index=study.cells.index[0])))
    assert isinstance(data, LossMap)
    assert data.table.shape == (4, 4)
    assert data.note == "Numbers are each cell's test loss. 1 of 16 places hold no loss: hatched."
    whole = loss_map(study)
    assert isinstance(whole, LossMap)
    assert whole.law is not None
    assert whole.table.index.is_monotonic_decreasing
    # The middle of the map's left upper cell: the largest model on the least data.
    at = round((FINE - 1) * 0.5 / 4)
    assert whole.law[at, at] == pytest.approx(whole.table.iloc[0, 0], rel=0.15)
    view(study, "loss_map")
    assert isinstance(loss_map(replace(study, cells=study.cells.assign(width=4))), Missing)


def test_the_forecast_holds_what_was_registered_and_what_came(study: Study, tmp_path: Path) -> None:
    head = replace(study.fits.headline, loss=[LossAhead(reach=2.0, C=1e10, value=0.02, low=0.01, high=0.03)])
    told = replace(study, fits=replace(study.fits, headline=head))
    data = forecast(told)
    assert isinstance(data, Forecast)
    assert data.ahead[["value", "low", "high"]].to_numpy().tolist() == [[0.02, 0.01, 0.03]]
    assert "Nothing was registered" in data.note
    rows = data.registered.reindex(range(2)).assign(C=2e10, loss=0.02, low=0.01, high=0.03, reach=3.0)
    plot = next(p for p in figures.FIGURES if p.name == "forecast")
    drawn = figures.draw(
        plot, replace(data, registered=rows.assign(measured=[0.021, np.nan]), floor=Interval(0.005, 0.0, 0.01))
    )
    assert [text.get_text() for text in drawn.legends[0].get_texts()][-3:-1] == ["registered beforehand", "what came"]


def test_held_out_cells_are_those_of_largest_compute(study: Study) -> None:
    data = view(study, "hold_out")
    held = data.points[data.points["held"]]
    assert len(held) == 3
    assert held["C"].min() >= data.points.loc[~data.points["held"], "C"].max()
    assert held["off"].abs().max() < 15
    assert len(data.lines) == 9  # three seeds each
    assert data.lines.groupby(level=0)["loss"].mean().to_numpy() == pytest.approx(held["loss"].sort_index().to_numpy())


def test_all_flops_are_shared_out(study: Study) -> None:
    data = view(study, "spending")
    assert data.points.to_numpy().sum() == pytest.approx(study.trials["flops"].sum())
    assert list(data.points) == ["untuned control", "tuner's trials", "repeats"]
    # One of 4 trials is the control, and 3 of 7 runs are repeats.
    assert "untuned control 14 %, tuner's trials 43 %, repeats 43 %" in data.note


def test_a_further_axis_joins_cells_that_differ_in_it_alone(make: Callable[..., Path]) -> None:
    axes = {"width": (4, 8), "data_fraction": (0.5, 1.0), "depth": (1, 2)}
    data = view(load(make(axes=axes, noise=0.02)), "further_axes")
    assert set(data.points["axis"]) == {"depth"}
    assert data.points.groupby("line").size().tolist() == [2, 2, 2, 2]
    assert data.points.groupby("line")["level"].nunique().tolist() == [1, 1, 1, 1]


def test_winners_of_an_exact_law_have_its_line(make: Callable[..., Path]) -> None:
    ladder = load(make(axes={"width": (4, 8, 16, 32, 64)}))
    data = view(ladder, "winners")
    line = data.lines[data.lines["of"] == "loss"]
    slope = np.diff(np.log(line["value"])) / np.diff(np.log(line["C"]))
    assert slope == pytest.approx(-0.3)
    assert line["C"].max() / data.points["C"].max() == pytest.approx(2**1.5)
    assert isinstance(figures.show(replace(ladder, cells=ladder.cells.head(3)), "winners"), Missing)


def test_the_best_run_of_each_budget() -> None:
    shared = pd.DataFrame({"C": [1e9, 1e9, 2e9, 2e9], "loss": [3.0, 2.0, 1.0, 1.5]})
    assert best_per_budget(shared).index.tolist() == [1, 2]
    apart = pd.DataFrame({"C": [1.0, 1.5, 2.1, 3.9, 4.2], "loss": [5.0, 4.0, 3.0, 3.5, 2.0]})
    assert best_per_budget(apart).index.tolist() == [1, 2, 4]


def test_trials_stand_beside_the_selected_setting(study: Study) -> None:
    key = KeyLaws("log", {"low": 1e-4, "high": 0.1}, "ok", 16, {"low": 0, "high": 0})
    told = replace(study, fits=replace(study.fits, settings_laws=SettingsRecord(keys={"lr": key})))
    plot = next(p for p in figures.FIGURES if p.name == "settings_curves")
    data = settings_curves(told)
    assert isinstance(data, list)
    figures.draw(plot, data).canvas.draw()
    assert [len(row) for row in data] == [3]
    for one in data[0]:
        assert len(one.trials) == 4
        assert one.selected[0] in one.trials["x"].tolist()


def test_training_and_validation_losses_and_their_curves(study: Study, tmp_path: Path) -> None:
    data = training_gap(study)
    assert isinstance(data, View)
    assert data.points["ratio"].to_numpy() == pytest.approx(1)
    assert "no learning curves" in data.note
    curve = {
        "cell": 0,
        "seed": 1,
        "n_seen": [10, 100],
        "phase": "constant",
        "val_loss": [2.0, 1.0],
        "train_loss": [2.0, 0.5],
    }
    pd.DataFrame(curve).to_csv(tmp_path / "curves.csv", index=False)
    kept = view(replace(study, folder=tmp_path), "training_gap")
    assert kept.lines["title"].unique().tolist() == [study.label(study.cells.iloc[0])]


@pytest.mark.parametrize("name", ["pairs", "pairs_best"])
def test_pairs_say_the_correlation_and_leave_pyplot_alone(study: Study, name: str) -> None:
    data = view(study, name)
    assert {"validation loss", "learning rate"} <= set(data.points)
    assert plt.get_fignums() == []
    if name == "pairs":
        done = study.trials[study.trials["stage"] == "trial"]
        assert data.points["validation loss"].to_numpy() == pytest.approx(np.log10(done["val_loss"].to_numpy(float)))


@dataclass(frozen=True)
class KeptDraws:
    """What a fit keeps of its surfaces: L* = E + k C^-c, N* = C^a, with two a and two c."""

    C: tuple[float, ...] = (1e9, 1e10, 1e11)
    loss: tuple[tuple[float, ...], ...] = ((1.0, 0.1, 0.01), (1.0, 10**-0.5, 0.1))
    N: tuple[tuple[float, ...], ...] = ((1e3, 1e4, 1e5), (1e3, float("nan"), float("nan")))
    floor: tuple[float, ...] = (0.0, 0.0)


def test_clouds_hold_the_exponents_of_every_surface(study: Study) -> None:
    def told(kept: KeptDraws) -> Study:
        head = replace(study.fits.headline)
        object.__setattr__(head, "draws", kept)
        return replace(study, fits=replace(study.fits, headline=head))

    few = clouds(told(KeptDraws()))  # one surface of two has an optimum
    assert isinstance(few, View)
    assert "exponent of N* in C" not in few.points
    data = clouds(told(replace(KeptDraws(), N=((1e3, 1e4, 1e5), (1e3, 10**3.5, 1e4)))))
    assert isinstance(data, View)
    assert data.points["exponent of L* in C"].tolist() == pytest.approx([1, 0.5])
    assert data.points["exponent of N* in C"].tolist() == pytest.approx([1, 0.5])
    assert "floor" not in data.points


def test_the_page_holds_the_few_figures_that_answer_a_question() -> None:
    shown = [plot.name for plot in figures.FIGURES if not plot.detail]
    assert len(shown) <= 12
    assert {plot.section for plot in figures.FIGURES if not plot.detail} >= {"Laws", "Compute", "How tuning went"}


def test_a_repeat_that_diverged_stands_among_the_repeats(study: Study) -> None:
    """The mean of its cell is that of the others, so that a reader must see that it is gone."""
    trials = study.trials.copy()
    lost = trials.index[trials["stage"] == REPEAT][0]
    trials.loc[lost, ["state", "val_loss", "test_loss"]] = [DIVERGED, np.nan, np.nan]
    rows = seed_table(replace(study, trials=trials)).rows
    assert len(rows) == len(seed_table(study).rows)
    assert [row[-1] for row in rows].count("diverged") == 1
    [gone] = [row for row in rows if row[-1] == "diverged"]
    assert gone[2:4] == [DASH, DASH]
