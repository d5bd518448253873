"""The best run of each cell of a table of runs, and how tuned that looks."""

from __future__ import annotations

from itertools import combinations
from math import exp, log

import numpy as np
import pandas as pd
import pytest

from mnist_scaling.errors import InputError
from mnist_scaling.study.tables.fitted_rows import best_runs, fitted_rows

RUNS = pd.DataFrame(
    {
        "width": [8, 8, 8, 8, 16, 16],
        "data": [1, 1, 1, 1, 1, 1],
        "val": [0.5, 0.3, np.nan, 0.4, 0.2, 0.2],
        "test": [0.6, 0.35, 0.1, 0.3, 0.25, 0.2],
    }
)


def test_the_best_by_one_loss_is_kept_with_its_other_columns() -> None:
    kept, said = best_runs(RUNS, ["width", "data"], "val")
    assert kept.index.tolist() == [1, 4]  # the first of equals; a run without a loss is none
    assert kept["test"].tolist() == [0.35, 0.25]
    assert "2 to 3 runs, median 2.5" in said


def test_a_loss_that_has_selected_what_is_fitted_is_told() -> None:
    names = {"N": "width", "D": "data", "loss": "test"}
    told = "What is fitted, test, has selected the rows itself, which biases it down: select by another loss, such as"
    assert told in fitted_rows(RUNS, names, cells=["width"]).note
    assert "biases" not in fitted_rows(RUNS, names, cells=["width"], best="val").note


def test_rows_are_selected_where_a_cell_had_several_runs_with_a_loss() -> None:
    names = {"N": "width", "D": "data", "loss": "test"}
    assert fitted_rows(RUNS, names, cells=["width"], best="val").selected
    assert not fitted_rows(RUNS.iloc[[1, 2, 4]], names, cells=["width"], best="val").selected
    assert not fitted_rows(RUNS, names).selected


def test_what_half_of_the_runs_would_have_found_is_exact() -> None:
    losses = [0.2, 0.23, 0.25, 0.3, 0.5, 0.9]
    mean = np.mean([log(min(half)) for half in combinations(losses, 3)])
    _, said = best_runs(pd.DataFrame({"c": 1, "loss": losses}), ["c"], "loss")
    assert f"would be {100 * (exp(mean - log(0.2)) - 1):.1f} % higher" in said


@pytest.mark.parametrize(
    ("cells", "best", "sentence"),
    [(["wide"], "val", "it has no wide: it has width, data"), (["width"], "none", "it has no none")],
)
def test_a_column_that_is_not_there_is_refused(cells: list[str], best: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        best_runs(RUNS, cells, best)


def test_a_loss_that_is_nowhere_a_number_is_refused() -> None:
    with pytest.raises(InputError, match="`best` must name a column with a positive number, but val has none"):
        best_runs(RUNS.assign(val=np.nan), ["width"], "val")
