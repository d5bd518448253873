from __future__ import annotations

import os
from dataclasses import fields
from pathlib import Path

import pandas as pd
import pytest

from mnist_scaling.errors import InputError
from mnist_scaling.study import columns, files
from mnist_scaling.study.columns import COMPLETE, DIVERGED, TrainResult
from mnist_scaling.study.tables import selection, trials_and_cells
from mnist_scaling.study.tables.csv_table import read_table

FIXED = dict(
    n_params=6, n_params_input=1, n_params_hidden=2, n_params_output=3, n_train=50, n_seen=100, epochs=2.0, steps=4,
    flops=1000, flops_forward=400, flops_output=300, seconds=1.5,
)  # fmt: skip


def run(width: int, stage: str, number: int, val: float | None, test: float | None = None, **more: object) -> dict:
    row = dict(
        width=width, lr=0.1, stage=stage, number=number, seed=number, state=COMPLETE, val_loss=val, test_loss=test
    )
    return row | FIXED | more


def test_parameter_counts_must_add_up() -> None:
    numbers = {f.name: 1 for f in fields(TrainResult)} | {"state": COMPLETE, "n_params": 3}
    TrainResult(**numbers)
    with pytest.raises(AssertionError, match="must add up: 3 != 4"):
        TrainResult(**numbers | {"n_params": 4})


@pytest.mark.parametrize(
    ("key", "column"),
    [
        ("model.width", "width"), ("model.depth", "depth"), ("data.fraction", "data_fraction"), ("optim", "optimizer"),
        ("model", "family"), ("optim.lr", "lr"), ("optim.batch_size", "batch_size"), ("model.dropout", "dropout"),
        ("seed", "seed"), ("data.name", "data"), ("data", "data"),
        ("regime", "regime"), ("regime.flops", "budget"), ("regime.epochs", "passes"),
    ],
)  # fmt: skip
def test_columns_of_keys(key: str, column: str) -> None:
    assert columns.column_of(key) == column


def test_cells_by_hand() -> None:
    rows = [
        run(8, "trial", 0, 0.5, lr=0.2),
        run(8, "trial", 1, 0.4, lr=0.1),
        run(8, "trial", 2, None, lr=9.0, state=DIVERGED),
        run(8, "repeat", 0, 0.44, 0.30, test_error=0.1, train_loss=0.2),
        run(8, "repeat", 1, 0.46, 0.34, test_error=0.2, train_loss=0.4),
        run(8, "repeat", 2, 0.10, 0.01, lr=0.2),  # of a setting that is not selected any more
        run(16, "trial", 0, None, state=DIVERGED),
    ]
    cells = trials_and_cells.cells_table(trials_and_cells.trials_table(rows, ["width"], ["lr"]), ["width"], ["lr"])
    first, second = cells.to_dict("records")
    assert list(cells.columns[:2]) == ["width", "lr"]
    assert first["lr"] == 0.1
    assert first["val_loss"] == 0.4
    assert first["repeat_val_loss"] == pytest.approx(0.45)
    assert first["test_loss"] == pytest.approx(0.32)
    assert first["test_loss_se"] == pytest.approx(0.02)  # 0.02 * sqrt(2) / sqrt(2)
    assert first["train_loss"] == pytest.approx(0.3)
    assert (first["n_trials"], first["n_repeats"], first["n_diverged"]) == (3, 2, 1)
    assert first["tuning_flops"] == 3000
    assert first["flops_6nd"] == 6 * 6 * 100
    # A cell without a finished trial keeps its row, with nothing made up.
    assert second["width"] == 16
    assert pd.isna(second["val_loss"])
    assert pd.isna(second["test_loss"])
    assert second["n_repeats"] == 0


def test_a_key_that_another_cell_tunes_costs_no_repeats() -> None:
    rows = [run(8, "trial", 0, 0.5), run(8, "repeat", 0, 0.5, 0.4), run(16, "trial", 0, 0.5, momentum=0.9)]
    tuned = ["lr", "momentum"]
    cells = trials_and_cells.cells_table(trials_and_cells.trials_table(rows, ["width"], tuned), ["width"], tuned)
    assert cells["n_repeats"].tolist() == [1, 0]
    assert cells["test_loss"][0] == 0.4


def test_a_cell_has_the_mean_length_of_repeats_that_stopped_apart() -> None:
    rows = [
        run(8, "trial", 0, 0.5, flags="undertrained"),
        run(8, "repeat", 0, 0.5, 0.4, n_seen=200, epochs=4.0, flops=2000, flops_spent=2600, flags=""),
        run(8, "repeat", 1, 0.5, 0.4, n_seen=300, epochs=6.0, flops=3000, flops_spent=3400, flags="repeated_data"),
    ]
    cell = trials_and_cells.cells_table(trials_and_cells.trials_table(rows, ["width"], ["lr"]), ["width"], ["lr"]).iloc[
        0
    ]
    assert (cell["n_train"], cell["n_seen"], cell["epochs"], cell["steps"]) == (50, 250, 5.0, 4)
    assert (cell["flops"], cell["flops_spent"], cell["flops_6nd"]) == (2500, 3000, 6 * 6 * 250)
    assert cell["flags"] == "undertrained;repeated_data"


def test_tuning_costs_what_was_spent() -> None:
    rows = [run(8, "trial", 0, 0.5, flops_spent=1700), run(8, "trial", 1, 0.6), run(8, "repeat", 0, 0.5, 0.4)]
    cell = trials_and_cells.cells_table(trials_and_cells.trials_table(rows, ["width"], ["lr"]), ["width"], ["lr"]).iloc[
        0
    ]
    assert cell["tuning_flops"] == 1700 + 1000  # a record of before the column was there spent its flops


def test_one_repeat_has_no_standard_error() -> None:
    rows = [run(8, "trial", 0, 0.5), run(8, "repeat", 0, 0.5, 0.4)]
    cell = trials_and_cells.cells_table(trials_and_cells.trials_table(rows, ["width"], ["lr"]), ["width"], ["lr"]).iloc[
        0
    ]
    assert cell["test_loss"] == 0.4
    assert pd.isna(cell["test_loss_se"])


def test_equal_losses_select_the_earlier_trial() -> None:
    rows = [run(8, "trial", 1, 0.5), run(8, "trial", 0, 0.5)]
    best = selection.best_trial(rows)
    assert best is not None
    assert best["number"] == 0


def test_a_table_round_trips_with_every_digit(tmp_path: Path) -> None:
    table = pd.DataFrame({"x": [0.1 + 0.2, 1 / 3], "y": [1, None]})
    files.write_atomically(tmp_path / "new" / "t.csv", table.to_csv(index=False))
    assert read_table(tmp_path / "new" / "t.csv")["x"].tolist() == table["x"].tolist()


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files.write_atomically(tmp_path / "t.csv", "old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        files.write_atomically(tmp_path / "t.csv", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]
    assert (tmp_path / "t.csv").read_text() == "old"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("width,loss\n8,0.5\n", "must have the columns n_params, n_seen, but has only width, loss"),
        ("", "must be CSV with a header"),
        ("a,b\n1,2\n\n1,2,3,4\n", "line 4 has 4 and the header 2"),
        ("a,b\n1,2\n1\n", "line 3 has 1 and the header 2"),
        ('a,b\n1,"2\n', "must be CSV with a header"),
        (None, "must be an existing CSV file"),
    ],
)
def test_a_table_that_cant_be_used_is_explained(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "cells.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=message):
        read_table(path, required=("n_params", "n_seen"))


def test_what_another_program_has_not_measured_is_no_column() -> None:
    """Our own tables keep every column, also where no repeat was made; a run that has not ended says nothing."""
    own = [run(4, "trial", 0, 0.5), run(4, "trial", 1, 0.4, state=DIVERGED)]
    assert trials_and_cells.unmeasured(trials_and_cells.trials_table(own, ["width"], ["lr"])) == []
    other = dict(width=4, lr=0.1, stage="trial", number=0, state=COMPLETE, val_loss=0.5, test_loss=0.6, n_params=9)
    gone = trials_and_cells.unmeasured(trials_and_cells.trials_table([other], ["width"], ["lr"]))
    assert {"epochs", "test_error", "test_error_se", "flops_6nd", "tuning_flops"} <= {*gone}
    assert {"val_loss", "test_loss", "n_params", "stage", "state"}.isdisjoint(gone)
    assert trials_and_cells.unmeasured(trials_and_cells.trials_table([other | {"state": DIVERGED}], [], [])) == []


@pytest.mark.parametrize(
    ("values", "refused"),
    [
        (["500", "1.000", "2.000"], True),
        (["5", "1.000"], True),
        (["512", "1.024", "2.048"], True),
        (["999", "1.000.000"], True),
        (["1.000", "2.000"], False),
        (["2", "1.125"], False),
        (["500", "0.500"], False),
        (["500", "1.5", "2.000"], False),
        (["1024", "1.000"], False),
        (["v", "1.000", "500"], False),
    ],
)
def test_points_between_thousands_are_refused(tmp_path: Path, values: list[str], refused: bool) -> None:
    """float() makes 1 of 1.000; three decimals in every field, or 1.125 beside 2, are numbers."""
    (tmp_path / "t.csv").write_text("\n".join(["a,N", *(f"x,{value}" for value in values)]) + "\n")
    if refused:
        with pytest.raises(InputError, match=r"N of .*t.csv has 1.0.* in line 3 and .* in line 2, so that the point"):
            read_table(tmp_path / "t.csv")
    else:
        assert len(read_table(tmp_path / "t.csv")) == len(values)
