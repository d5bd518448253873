"""A study that grows: trials and repeats by cell, and a higher cap on the length of runs. What was run stays."""

from __future__ import annotations

from dataclasses import replace
from math import log10
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from mnist_scaling import cli
from mnist_scaling.config import RunConfig
from mnist_scaling.errors import InputError
from mnist_scaling.image_task import TASK
from mnist_scaling.study import layout
from mnist_scaling.study.columns import INDEPENDENT, TrainResult
from mnist_scaling.study.tables.selection import best_trial
from mnist_scaling.tuning.cell import partitioning, search_space
from mnist_scaling.tuning.cell.next_settings import Effort
from mnist_scaling.tuning.cell.trial import Trial, best
from mnist_scaling.tuning.sweep import forecast
from mnist_scaling.tuning.sweep.driver import Driver
from mnist_scaling.tuning.sweep.next_jobs import Method
from mnist_scaling.tuning.sweep.study_tables import join
from mnist_scaling.tuning.task import Report

from .helpers import SAMPLER, InProcess, bowl, make_cells

LIST = "data.fraction,hydra.sweeper.n_trials,hydra.sweeper.n_repeats\n0.5,3,2\n1,6,4\n"


def converging(run: RunConfig, report: Report | None = None) -> TrainResult:
    """A run that needs 20 epochs: it falls by 1 / epochs until then, and is undertrained where the cap comes first."""
    epochs = min(run.regime.max_epochs or 0, 20)
    result, loss = bowl(run, report), 1 + 1 / epochs + (log10(run.optim.lr) + 2) ** 2 + 1e-3 * run.seed
    test = None if run.trial.stage == "trial" else loss
    flags = "undertrained" if epochs < 20 else ""
    return replace(result, val_loss=loss, test_loss=test, flags=flags, flops_spent=600 * epochs)


def sweep(folder: Path, *arguments: str, train: Any = bowl, **more: Any) -> tuple[pd.DataFrame, pd.DataFrame]:
    """trials.csv and cells.csv after a sweep of 4 trials and 2 repeats, or of what its list says."""
    workers, cells = InProcess(train), make_cells(*arguments, **more)
    workers.folder = folder
    method = Method(Effort(4, 2, 1), SAMPLER, None, INDEPENDENT)
    Driver(folder, cells, method, join(folder, cells)).run(workers)
    return pd.read_csv(folder / layout.TRIALS), pd.read_csv(folder / layout.CELLS)


def assert_kept(before: pd.DataFrame, now: pd.DataFrame, by: list[str]) -> None:
    """Every row that was there is there, to the last digit."""
    kept = before[by].merge(now, on=by, how="left")
    pd.testing.assert_frame_equal(kept[before.columns], before, check_exact=True)


def test_a_list_gives_each_cell_its_own_trials_and_repeats_in_the_study_that_is_there(tmp_path: Path) -> None:
    grid = ("model.width=8", "data.fraction=0.5,1")
    before, _ = sweep(tmp_path, *grid)
    path = tmp_path / "more.csv"
    path.write_text(LIST)
    now, cells = sweep(tmp_path, grid[0], listed=partitioning.read_cell_list(str(path)))
    assert cells[["data_fraction", "n_trials", "n_repeats"]].to_numpy().tolist() == [[0.5, 4, 2], [1, 6, 4]]
    assert_kept(before, now, ["data_fraction", "stage", "number"])
    again, _ = sweep(tmp_path, *grid)
    assert len(again) == len(now), "a smaller number takes nothing away and adds nothing"


def test_a_list_stands_in_place_of_an_experiments_axes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("two.csv").write_text("model.width,data.fraction\n4,0.0625\n16,0.5\n")
    given = ["experiment=smoke", "hydra.sweeper.cells=two.csv"]
    assert forecast.preview(given, cli.conf_dir(), TASK).cells == 2
    with pytest.raises(InputError, match=r"`model.width` is set by two.csv and beside it"):
        forecast.preview([*given, "model.width=4,8"], cli.conf_dir(), TASK)


@pytest.mark.parametrize("value", ["0", "many", "2.5"])
def test_a_number_of_trials_is_a_whole_one(tmp_path: Path, value: str) -> None:
    path = tmp_path / "more.csv"
    path.write_text(f"model.width,hydra.sweeper.n_trials\n8,{value}\n")
    with pytest.raises(InputError, match=f"n_trials` must be a whole number of 1 or more, but cell 1 .* has {value}"):
        partitioning.read_cell_list(str(path))


def test_a_raised_cap_takes_on_the_best_run_and_its_repeats_and_leaves_the_others(tmp_path: Path) -> None:
    regime = ("regime.name=early_stopping", "regime.patience=2", "optim.schedule=constant")
    grid = (*regime, "data.fraction=0.5,1")
    before, cut = sweep(tmp_path, *grid, "regime.max_epochs=5", train=converging)
    assert cut["flags"].tolist() == ["undertrained"] * 2
    path = tmp_path / "longer.csv"
    path.write_text("data.fraction,hydra.sweeper.n_trials\n0.5,4\n1,5\n")
    listed = partitioning.read_cell_list(str(path))
    now, cells = sweep(tmp_path, *regime, "regime.max_epochs=40", train=converging, listed=listed)
    assert_kept(before, now, ["data_fraction", "stage", "number"])
    assert cells["lr"].tolist() == cut["lr"].tolist()
    assert cells["flags"].fillna("").tolist() == ["undertrained", ""], "the first cell has no trial to take it on"
    assert cells["n_repeats"].tolist() == [2, 2], "those that were cut short don't count"
    assert (cells["test_loss"] - cut["test_loss"]).tolist() == pytest.approx([1 / 20 - 1 / 5] * 2)
    repeats = now[(now["stage"] == "repeat") & (now["data_fraction"] == 1)].sort_values("number")
    assert repeats["seed"].tolist() == [1, 2, 1, 2]
    with pytest.raises(InputError, match="regime.max_epochs was 40 and is now 5"):
        sweep(tmp_path, *grid, "regime.max_epochs=5", train=converging)


@pytest.mark.parametrize(
    ("spent", "expected"),
    [
        ((5, 5, 20), [0, 0, 2]),  # without a longer run it stands
        ((5, 5, 5), [0, 0, 0]),  # a second run under the same cap, on a device whose losses vary, takes nothing on
    ],
)
def test_a_run_that_was_cut_short_gives_way_to_a_longer_one_alike_for_tuner_and_table(
    spent: tuple[int, ...], expected: list[int]
) -> None:
    rows = [
        {"stage": "trial", "state": "COMPLETE", "number": n, "lr": lr, "val_loss": loss, "flags": "undertrained"}
        | {"flops_spent": flops}
        for n, lr, loss, flops in zip(range(3), (0.1, 0.2, 0.1), (0.5, 0.9, 0.6), spent, strict=True)
    ]
    trials = [
        Trial(r["number"], {"lr": r["lr"]}, {}, "", "COMPLETE", r["val_loss"], flags=r["flags"], spent=r["flops_spent"])
        for r in rows
    ]
    assert [getattr(best(trials[:n]), "index", None) for n in (1, 2, 3)] == expected
    assert [(best_trial(rows[:n], ["lr"]) or {})["number"] for n in (1, 2, 3)] == expected


@pytest.mark.parametrize(
    ("older", "now", "value", "expected"),
    [
        (FloatDistribution(1e-3, 1e-2, log=True), FloatDistribution(1e-3, 1, log=True), 9e-3, 0.1),
        (FloatDistribution(1e-3, 1e-2, log=True), FloatDistribution(1e-3, 1, log=True), 3e-3, None),
        (FloatDistribution(1e-3, 1e-2, log=True), FloatDistribution(1e-5, 1e-2, log=True), 9e-3, None),
        (IntDistribution(8, 64, log=True), IntDistribution(2, 64, log=True), 8, 4),
        (FloatDistribution(0.0, 0.4), FloatDistribution(0.0, 0.6), 0.4, 0.5),
        (CategoricalDistribution([1, 2]), CategoricalDistribution([1, 2, 4]), 2, None),
    ],
)
def test_what_is_new_of_a_range_is_tried_where_the_best_value_lay_at_its_edge(
    older: BaseDistribution, now: BaseDistribution, value: float, expected: float | None
) -> None:
    assert search_space.beyond(older, now, value) == (None if expected is None else pytest.approx(expected))
