"""Arg-mins of anyone's table, continued to the next budget."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mnist_scaling import plan
from mnist_scaling.config.fit_schema import ColumnsConfig, FitConfig
from mnist_scaling.config.plan_schema import PlanConfig
from mnist_scaling.errors import InputError
from mnist_scaling.fitting.uncertainty.least_squares import line_at
from mnist_scaling.planning.next_budget import next_budget
from mnist_scaling.planning.studied import studied
from tests.fitting.tables import numbers, public
from tests.planning.conftest import QUICK

COLUMNS = ColumnsConfig(C="flops", loss="loss")


def published(path: Path) -> Path:
    columns = public("argmin_by_flops.csv")
    rows = pd.DataFrame({k: numbers(columns, k) for k in columns})
    rows["flops"], rows["loss"] = 10 ** rows.pop("log10_train_flops"), 10 ** rows.pop("log10_loss")
    rows.to_csv(path, index=False)
    return path


def test_the_published_prediction(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(published(tmp_path / "runs.csv"))
    found = next_budget(studied(FitConfig(table=path, columns=COLUMNS, bootstrap=QUICK)), 1e19)
    assert found.left_out == 1
    assert found.loss.value == pytest.approx(2.743575, abs=1e-6)
    assert found.settings["d_model"].value == 64
    assert "num_layers" not in found.settings  # it moves without a trend
    plan.run(PlanConfig(table=path, columns=COLUMNS, bootstrap=QUICK, target={"flops": 1e19}))
    assert "2.743576" in capsys.readouterr().out


def test_students_interval_of_a_new_point_by_hand() -> None:
    """The line 0.1 + 0.6 x has a residual variance of 0.1; a new point at x = 4 has 1 + 1/4 + 2.5^2 / 5 times that."""
    value, half = line_at(np.arange(4.0), np.array([0.0, 1.0, 1.0, 2.0]), np.array([4.0]), level=0.95)
    assert (value[0], half[0]) == pytest.approx((2.5, 4.302653 * 0.5), rel=1e-6)


def several(path: Path) -> Path:
    """Three runs at each of five budgets; the best has L = 9 C^-0.1 and lr = C^-0.25."""
    c = np.repeat(10.0 ** np.arange(10, 15), 3)
    worse = np.tile([1.2, 1.0, 1.1], 5)
    rows = pd.DataFrame({"flops": c, "lr": c**-0.25 * worse**3, "loss": 9 * c**-0.1 * worse, "family": "a"})
    rows.to_csv(path, index=False)
    return path


def test_the_best_run_of_each_budget_and_the_next_step(tmp_path: Path) -> None:
    found = next_budget(studied(FitConfig(table=str(several(tmp_path / "r.csv")), columns=COLUMNS, bootstrap=QUICK)))
    assert len(found.winners) == 5
    assert found.budget == pytest.approx(1e15)
    assert found.loss.value == pytest.approx(9 * 1e15**-0.1)
    assert found.slope.value == pytest.approx(0.1)
    assert found.settings["lr"].value == pytest.approx(1e15**-0.25, rel=1e-6)


def test_a_budget_within_the_table_and_too_few_budgets_are_refused(tmp_path: Path) -> None:
    path = several(tmp_path / "r.csv")
    of = studied(FitConfig(table=str(path), columns=COLUMNS, bootstrap=QUICK))
    with pytest.raises(InputError, match="must lie beyond the largest budget, 1e\\+14, but got 1e\\+12"):
        next_budget(of, 1e12)
    few = studied(FitConfig(table=str(path), columns=COLUMNS, bootstrap=QUICK, where="flops < 5e12"))
    with pytest.raises(InputError, match="A line needs 4 budgets, but the table has 3"):
        next_budget(few)
