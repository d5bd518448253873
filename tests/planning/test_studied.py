"""One reading of a study: rows, model, noise, cost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mnist_scaling.config.fit_schema import ColumnsConfig, FitConfig
from mnist_scaling.errors import InputError
from mnist_scaling.planning.new_cell import on_grid
from mnist_scaling.planning.studied import Studied, studied
from mnist_scaling.study.tables.csv_table import at_axes
from tests.planning.conftest import QUICK
from tests.reporting.builder import Builder, power_law


def test_noise_model_and_costs_are_those_of_the_cells(of: Studied) -> None:
    assert of.seed_sd == pytest.approx(0.03, rel=0.4)
    assert 0.01 < of.cell_sd < 0.05
    at = {"N": float(np.log(1600)), "D": float(np.log(20_000))}
    assert of.model.loss(**at).holds(power_law(1600, 20_000))
    assert (of.costs["flops"] == of.cells["flops"]).all()
    assert (of.costs["runs"] == 7).all()


def test_a_table_without_c_costs_six_n_d(tmp_path: Path) -> None:
    n, d = np.meshgrid([1e3, 1e4, 1e5], [1e4, 1e5, 1e6])
    rows = pd.DataFrame({"n": n.ravel(), "d": d.ravel(), "l": power_law(n, d).ravel()})
    rows.to_csv(tmp_path / "t.csv", index=False)
    columns = ColumnsConfig(N="n", D="d", loss="l")
    of = studied(FitConfig(table=str(tmp_path / "t.csv"), columns=columns, bootstrap=QUICK, laws="additive"))
    np.testing.assert_allclose(of.costs["flops"], 6 * rows["n"] * rows["d"])
    assert np.isnan(of.seed_sd)
    assert of.costs["seconds"].isna().all()


def test_a_cell_of_an_axis_that_is_null_is_found(of: Studied) -> None:
    arm = replace(of.arm, frame=of.cells.assign(schedule=np.nan))
    wider = replace(of, arm=arm, source=replace(of.source, axes=(*of.source.axes, "schedule")))
    cell = on_grid(wider, {"width": 4, "data_fraction": 0.125})
    assert cell.axes["schedule"] is None
    assert at_axes(wider.cells, cell.axes).sum() == 1
    assert not at_axes(of.cells, cell.axes).any()


@pytest.mark.parametrize(
    ("arms", "one"),
    [({"optimizer": ("adam", "sgd")}, "optimizer == 'adam'"), ({"batch_size": (16, 32)}, "batch_size == 16")],
)
def test_several_arms_are_refused(tmp_path: Path, arms: dict[str, tuple[object, ...]], one: str) -> None:
    folder = Builder(axes={"width": (4, 8, 16), "data_fraction": (0.25, 0.5, 1.0), **arms}).write(tmp_path / "arms")
    with pytest.raises(InputError, match=f'where="{one}"'):
        studied(FitConfig(name=str(folder)))
