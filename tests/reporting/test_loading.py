from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from mnist_scaling.config.fit_schema import ColumnsConfig
from mnist_scaling.errors import InputError
from mnist_scaling.reporting.documents.loading import axis_value, load_arms
from mnist_scaling.study.tables.fitted_rows import roles_of
from tests.reporting.builder import load, refit, replace_cells

pytestmark = pytest.mark.slow


def test_roles_of_a_grid(grid: Path) -> None:
    roles = load(grid).roles
    assert (roles.size, roles.data, roles.others) == ("width", "data_fraction", ())


def test_roles_with_further_axes(make: Callable[..., Path]) -> None:
    """An optimiser makes arms; a depth sets the size beside the width, so its cells belong to one fit."""
    axes = {"optimizer": ("adam", "sgd"), "data_fraction": (0.5, 1.0), "depth": (1, 2), "width": (4, 8)}
    arms = load_arms(make(axes=axes))
    assert [arm.arm for arm in arms] == ["optimizer=adam", "optimizer=sgd"]
    for arm in arms:
        assert (arm.roles.size, arm.roles.data, arm.roles.others) == ("width", "data_fraction", ("depth",))
        assert len(arm.cells) == 8


def test_depth_sets_the_size_where_width_stands_still(make: Callable[..., Path]) -> None:
    assert load(make(axes={"width": (8,), "depth": (1, 2, 4)})).roles.size == "depth"


def test_a_ladder_is_one_arm_although_no_axis_moves_alone() -> None:
    cells = pd.DataFrame({"width": [4, 8, 16], "data_fraction": [0.25, 0.5, 1.0], "n_params": [1, 2, 4]})
    roles = roles_of(cells.assign(n_seen=[10, 20, 40]), ["width", "data_fraction"])
    assert (roles.size, roles.data, roles.others, roles.arms) == ("width", "data_fraction", (), ())


def test_columns_that_a_foreign_table_lacks_are_empty(copy: Path) -> None:
    replace_cells(copy, pd.read_csv(copy / "cells.csv").drop(columns=["repeat_val_loss", "edges", "tuning_flops"]))
    study = load(copy)
    assert study.cells["repeat_val_loss"].isna().all()
    assert (study.cells["edges"] == "").all()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "cells.csv").unlink(), r"must have .*cells\.csv.*mnist_scaling\.train"),
        (lambda f: (f / "study.json").unlink(), r"must have .*study\.json.*start its sweep again"),
        (lambda f: (f / "fits.json").write_text("{"), r"fits\.json must be JSON"),
        (lambda f: (f / "fits.json").write_text("[]"), r"must hold a JSON object, but holds list"),
        (lambda f: (f / "fits.json").write_text('{"schema": 9, "laws": {}}'), r"must have schema 1"),
        (lambda f: (f / "fits.json").write_text('{"schema": 1, "laws": {"a": 1}}'), r"laws and arms.*is damaged"),
        (lambda f: (f / "fits.json").write_text('{"schema": 1, "laws": {}, "arms": 3}'), r"laws and arms.*is damaged"),
        (lambda f: (f / "cells.csv").write_text("width,val_loss\n4,1\n"), r"cells\.csv has changed since"),
        (lambda f: replace_cells(f, pd.DataFrame({"width": [4], "val_loss": [1]})), r"must have the columns n_trials"),
        (lambda f: (f / "study.json").write_text('{"axes": ["depth"], "tuned": []}'), r"lacks depth"),
    ],
)
def test_errors_state_rule_value_and_fix(copy: Path, spoil: Callable[[Path], object], message: str) -> None:
    spoil(copy)
    with pytest.raises(InputError, match=message):
        load(copy)


def test_a_study_that_is_not_fitted_shows_its_cells_and_says_what_fits_them(copy: Path) -> None:
    (copy / "fits.json").unlink()
    found = load(copy)
    assert len(found.cells) == 16
    assert found.cells["loss"].notna().all()
    assert "`python -m mnist_scaling.fit name=grid` fits one" in found.fits.why
    assert found.roles.size == "width"


def test_an_unknown_study_names_the_known_ones(grid: Path) -> None:
    with pytest.raises(InputError, match="there is no .*nonsense: choose one of grid"):
        load(grid.parent / "nonsense")


def test_fits_of_a_table_that_differs_in_any_column_are_refused(copy: Path) -> None:
    cells = pd.read_csv(copy / "cells.csv")
    cells["repeat_val_loss"] /= 2  # which no law is fitted to, but what tuning changed is
    cells.to_csv(copy / "cells.csv", index=False)
    with pytest.raises(InputError, match=r"must be made from the table as it is, but .*cells\.csv has changed since"):
        load(copy)


def test_fits_of_another_table_are_refused(copy: Path) -> None:
    cells = pd.read_csv(copy / "cells.csv")
    cells["test_loss"] *= 1.01
    cells.to_csv(copy / "cells.csv", index=False)
    with pytest.raises(InputError, match=r"has changed since: run `python -m mnist_scaling\.fit name=grid` again"):
        load(copy)


@pytest.mark.parametrize(
    "config", [{"where": "data_fraction >= 0.25"}, {"columns": ColumnsConfig(loss="test_error", se="test_error_se")}]
)
def test_fits_of_other_rows_or_another_loss_are_no_other_table(copy: Path, config: dict[str, object]) -> None:
    refit(copy, **config)
    fits = load(copy).fits
    assert fits.settings["where"] == config.get("where")
    assert len(fits.data.rows) == (12 if "where" in config else 16)
    assert fits.data.sha256 == hashlib.sha256((copy / "cells.csv").read_bytes()).hexdigest()
    assert fits.tuning_change is not None
    assert fits.tuning_change.status == "ok"


@pytest.mark.parametrize(
    ("value", "axis", "shown"),
    [(0.015625, "data_fraction", "1/64"), (0.1, "data_fraction", "1/10"), (1.0, "data_fraction", "1"),
     (0.3, "data_fraction", "0.3"), (0.25, "dropout", "0.25"), (8.0, "width", "8"), ("adam", "optimizer", "adam")],
)  # fmt: skip
def test_axis_values_for_readers(value: object, axis: str, shown: str) -> None:
    assert axis_value(value, axis) == shown
