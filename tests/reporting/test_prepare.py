"""Known answers of the data behind the figures."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mnist_scaling import fit
from mnist_scaling.config.fit_schema import BootstrapConfig, ColumnsConfig, FitConfig, PredictConfig
from mnist_scaling.reporting.figures import change, compute, losses, tuning
from mnist_scaling.reporting.figures.style import View
from mnist_scaling.reporting.text import Missing
from tests.reporting.builder import load, refit, replace_cells

pytestmark = pytest.mark.slow


def untuned(n: float, d: float) -> float:
    """Steeper in both than the tuned law of the builder, N^-0.3 D^-0.5, and worse in every cell."""
    return 2000.0 * n**-0.4 * d**-0.65


def bowl(n: float, d: float) -> float:
    """E + A N^-alpha + B D^-beta: at fixed N D the loss has a minimum inside the builder's widths."""
    return 0.02 + 30 / n**0.6 + 8 / d**0.45


def test_untuned_and_tuned_slopes_of_an_exact_grid(make: Callable[..., Path]) -> None:
    data = change.change(load(make(untuned_loss=untuned)))
    assert isinstance(data, change.Change)
    assert change.describe(data.record.setting) == "learning rate 0.003, batch size 32"
    assert [data.level(part) for part in data.slices["N"]] == [f"data fraction {f}" for f in ("1/8", "1/4", "1/2", "1")]
    for variable, exact, before in (("N", 0.3, 0.4), ("D", 0.5, 0.65)):
        wanted = {"untuned": before, "selected": exact, "tuned": exact, "change": exact - before}
        for source, value in wanted.items():
            for part in data.slices[variable]:
                assert part.exponents[source].value == pytest.approx(value, abs=1e-9)
            assert data.record.plane[source][variable].value == pytest.approx(value, abs=1e-9)


def test_validation_losses_are_set_beside_the_test_losses_of_the_other_figures(copy: Path) -> None:
    assert load_change(copy).note.endswith("here 0 % above test loss in the mean of the cells.")
    cells = pd.read_csv(copy / "cells.csv")
    cells.assign(repeat_val_loss=0.8 * cells["repeat_val_loss"]).to_csv(copy / "cells.csv", index=False)
    refit(copy)
    assert "of other examples: here 20 % below test loss in the mean" in load_change(copy).note
    refit(copy, columns=ColumnsConfig(loss="repeat_val_loss", se="repeat_val_loss_se"))
    assert load_change(copy).note == ""  # both are of one kind


def load_change(folder: Path) -> change.Change:
    data = change.change(load(folder))
    assert isinstance(data, change.Change)
    return data


def test_the_setting_that_every_cell_carried_is_not_the_untuned_one(make: Callable[..., Path]) -> None:
    """On a sub-grid one selected setting can be the first trial of every cell; the control comes after it."""
    data = change.change(load(make(untuned_loss=untuned, carried_first=True)))
    assert isinstance(data, change.Change)
    assert change.describe(data.record.setting) == "learning rate 0.003, batch size 32"
    assert data.record.plane["untuned"]["N"].value == pytest.approx(0.4)


def test_without_origins_nothing_is_guessed(copy: Path) -> None:
    pd.read_csv(copy / "trials.csv").drop(columns="origin").to_csv(copy / "trials.csv", index=False)
    refit(copy)
    data = change.change(load(copy))
    assert isinstance(data, Missing)
    assert "trials.csv has no column origin" in data.reason


def test_fits_from_before_the_statistic_say_so(copy: Path) -> None:
    fits = json.loads((copy / "fits.json").read_text())
    del fits["tuning_change"]
    (copy / "fits.json").write_text(json.dumps(fits))
    data = change.change(load(copy))
    assert isinstance(data, Missing)
    assert "mnist_scaling.fit name=grid`: run it" in data.reason


def test_a_diverged_untuned_run_leaves_its_cell_out(copy: Path) -> None:
    trials = pd.read_csv(copy / "trials.csv")
    row = trials[trials["origin"] == "control"].index[0]
    trials.loc[row, ["state", "val_loss"]] = ["DIVERGED", None]
    trials.to_csv(copy / "trials.csv", index=False)
    refit(copy)
    data = change.change(load(copy))
    assert isinstance(data, change.Change)
    assert len(data.cells) == 15
    assert "1 of 16 cells" in data.note


def test_loss_lines_hold_every_cell_and_the_law_at_their_level(grid: Path) -> None:
    study = load(grid)
    data = losses.losses(study, "N")
    assert isinstance(data, View)
    by = data.points.sort_values("level").groupby("label", sort=False)
    assert by.size().to_dict() == {"1/8": 4, "1/4": 4, "1/2": 4, "1": 4}
    np.testing.assert_allclose(np.sort(data.points["loss"]), np.sort(study.cells["test_loss"]))
    assert study.fits.selected
    for (_, rows), (_, law) in zip(by, data.lines.groupby("level"), strict=True):
        seen = np.interp(rows["x"], law["x"], law["loss"])
        np.testing.assert_allclose(seen, rows["loss"], rtol=0.15)


def test_one_axis_has_no_line_in_the_other(make: Callable[..., Path]) -> None:
    study = load(make(axes={"width": (4, 8, 16, 32)}, noise=0.02))
    assert isinstance(losses.losses(study, "N"), View)
    missing = losses.losses(study, "D")
    assert isinstance(missing, Missing)
    assert "one data size" in missing.reason
    assert isinstance(compute.frontier(study), Missing)


def test_missing_losses_are_absent(make: Callable[..., Path]) -> None:
    data = losses.losses(load(make(without_trials=3, noise=0.02)), "D")
    assert isinstance(data, View)
    assert len(data.points) == 13


def test_a_single_repeat_is_said_to_have_no_error_bars(make: Callable[..., Path]) -> None:
    study = load(make(repeats=1, noise=0.02))
    for variable in "ND":
        data = losses.losses(study, variable)
        assert isinstance(data, View)
        assert "no error bars" in data.note
    curse = tuning.curse(study)
    assert isinstance(curse, View)
    assert curse.points["se"].isna().all()
    assert "no standard error" in curse.note


def test_further_axes_make_panels(make: Callable[..., Path]) -> None:
    axes = {"width": (4, 8), "data_fraction": (0.5, 1.0), "depth": (1, 2)}
    data = losses.losses(load(make(axes=axes, noise=0.02)), "N")
    assert isinstance(data, View)
    assert list(data.points["panel"].unique()) == ["depth 1", "depth 2"]
    lines = compute.compute(load(make(axes=axes, noise=0.02)))
    assert isinstance(lines, compute.Compute)
    assert lines.cells.groupby("group").size().tolist() == [2, 2, 2, 2]


def test_winners_curse_is_the_ratio(copy: Path) -> None:
    cells = pd.read_csv(copy / "cells.csv")
    cells["repeat_val_loss"] = cells["val_loss"] * 1.1
    replace_cells(copy, cells)
    data = tuning.curse(load(copy))
    assert isinstance(data, View)
    assert data.names[0] == pytest.approx(0.1)
    assert "worse in 16 of 16 cells" in data.note


def test_compute_frontier_lies_below_no_cell(grid: Path) -> None:
    data = compute.compute(load(grid))
    assert isinstance(data, compute.Compute)
    line = np.interp(np.log(data.cells["C"]), np.log(data.frontier["C"]), np.log(data.frontier["loss"]))
    assert (np.log(data.cells["loss"]) >= line - 1e-9).all()


def test_isoflop_curves_meet_their_minimum(make: Callable[..., Path]) -> None:
    axes = {"width": (4, 6, 8, 11, 16, 23, 32), "data_fraction": tuple(2.0**-k for k in range(7))}
    data = compute.isoflops(load(make(axes=axes, tuned_loss=bowl, untuned_loss=lambda n, d: 2 * bowl(n, d))))
    assert isinstance(data, View)
    minima = data.names[1]
    assert len(minima) >= 3
    for least in minima.itertuples():
        curve, points = (part[part["budget"] == least.C] for part in (data.lines, data.points))
        assert curve["loss"].min() == pytest.approx(least.loss, rel=1e-3)
        assert curve["loss"].to_numpy() == pytest.approx(np.interp(curve["N"], points["N"], points["loss"]), rel=0.1)
    compute.draw_isoflops(data)


def test_runs_of_one_budget_are_not_joined_and_the_law_reaches_its_prediction(tmp_path: Path) -> None:
    c = np.repeat(np.geomspace(1e13, 1e16, 6), 3)
    loss = 200 / c**0.1 * np.tile([1.5, 1.0, 2.0], 6) * np.random.default_rng(0).uniform(0.99, 1.01, 18)
    pd.DataFrame({"C": c, "loss": loss}).to_csv(tmp_path / "runs.csv", index=False)
    columns, draws = ColumnsConfig(C="C", loss="loss"), BootstrapConfig(draws=20)
    asked, table = PredictConfig(C=1e18), str(tmp_path / "runs.csv")
    fit.run(FitConfig(table=table, columns=columns, predict=asked, bootstrap=draws, laws=["power_C"]))
    data = compute.compute(load(tmp_path))
    assert isinstance(data, compute.Compute)
    assert data.cells["group"].is_unique
    assert data.selected is not None
    assert data.selected["x"].iloc[[0, -1]].tolist() == pytest.approx([1e13, 1e18])
    compute.draw_compute(data)
