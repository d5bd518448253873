"""What the dashboard is given: readable studies, notes, repeats, and the grid as one study."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest

from mnist_scaling.study.tables import trials_and_cells
from mnist_scaling.tuning.cell.cell_study import CellStudy
from mnist_scaling.tuning.stored import dashboard
from mnist_scaling.tuning.stored.storage import open_storage

from .helpers import SAMPLER, InProcess, make_cells, make_tuner

GRID = ("model.width=8,16", "data.fraction=1,0.5")


def publish(folder: Path, *arguments: str) -> None:
    storage = open_storage(None, folder)
    studies = [CellStudy(cell, storage, SAMPLER) for cell in make_cells(*arguments)]
    dashboard.publish(folder, studies, storage)


def test_the_grid_is_one_study_and_every_cell_has_its_note(tmp_path: Path) -> None:
    from optuna_dashboard import get_note

    make_tuner(tmp_path, InProcess(tmp_path), *GRID).run()
    publish(tmp_path, *GRID)
    publish(tmp_path, *GRID)  # a rerun replaces what is there
    storage = open_storage(None, tmp_path)
    names = sorted(optuna.get_all_study_names(storage))
    assert names == [dashboard.SUMMARY, *(f"width={w} data_fraction={f}" for w in (16, 8) for f in (0.5, 1))]
    cells = trials_and_cells.read_table(tmp_path / "cells.csv")
    summary = optuna.load_study(study_name=dashboard.SUMMARY, storage=storage)
    assert [t.value for t in summary.trials] == cells["test_loss"].tolist()
    assert [t.params["width"] for t in summary.trials] == cells["width"].tolist()
    assert summary.trials[0].params.keys() == {"width", "data_fraction", "lr", "batch_size", "dropout"}
    assert summary.metric_names == ["test_loss"]
    # On the timeline a cell's trial lasts as long as its tuning.
    for trial in summary.trials:
        name = f"width={trial.params['width']} data_fraction={trial.params['data_fraction']:g}"
        tuned = optuna.load_study(study_name=name, storage=storage).trials
        assert trial.datetime_start == tuned[0].datetime_start
        assert trial.datetime_complete == max(t.datetime_complete for t in tuned if t.datetime_complete)

    cell = optuna.load_study(study_name="width=16 data_fraction=0.5", storage=storage)
    row = cells[(cells["width"] == 16) & (cells["data_fraction"] == 0.5)].iloc[0]
    assert cell.user_attrs["repeat_seeds"] == [1, 2]
    assert sum(cell.user_attrs["repeat_test_losses"]) / 2 == pytest.approx(row["test_loss"])
    note = get_note(cell)
    assert f"its row in `{tmp_path / 'cells.csv'}`" in note
    assert f"| test_loss | {row['test_loss']:,.5g} |" in note


def test_without_repeats_the_summary_shows_what_there_is(tmp_path: Path) -> None:
    make_tuner(tmp_path, InProcess(tmp_path), *GRID, n_repeats=0).run()
    publish(tmp_path, *GRID)
    summary = optuna.load_study(study_name=dashboard.SUMMARY, storage=open_storage(None, tmp_path))
    assert summary.metric_names == ["val_loss"]
    assert len(summary.trials) == 4
