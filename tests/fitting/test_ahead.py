"""Leave-future-out: rows above a budget, foreseen from those below it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mnist_scaling.errors import InputError
from mnist_scaling.fitting import Options, analyse
from mnist_scaling.fitting.ahead import BUDGETS, leave_future_out

from .tables import design, grid


def test_what_is_foreseen_does_not_know_the_losses_ahead():
    result = analyse(grid(noise=0.02), Options(draws=0))
    rows, found = result.model.rows, leave_future_out(result.model, result.options.seed)
    assert np.mean([one.inside for one in found]) > 0.8
    cost = rows.inputs["C"]
    for reach in BUDGETS:
        ahead = [one for one in found if one.reach == reach]
        assert {one.row for one in ahead} == set(np.flatnonzero(cost > cost.max() / reach))
        assert {one.seen for one in ahead} == {len(rows) - len(ahead)}
    other = replace(rows, loss=np.where(cost > cost.max() / BUDGETS[0], 2 * rows.loss, rows.loss))
    again = leave_future_out(replace(result.model, rows=other), result.options.seed)
    for one, two in zip(found, again, strict=True):
        assert two.measured == pytest.approx(2 * one.measured)
        if one.reach == BUDGETS[0]:
            assert one.predicted == two.predicted
            assert not two.inside


NEAR = {"N": np.array([1e4, 1e4, 2e4, 2e4]), "D": np.array([1e4, 2e4, 1e4, 2e4])}
"""Of a cost within a factor of four: below an eighth of the largest there is no row at all."""


@pytest.mark.parametrize("inputs", [design(2, 2), NEAR | {"C": 6 * NEAR["N"] * NEAR["D"]}])
def test_too_few_rows_below_are_refused(inputs):
    result = analyse(grid(inputs=inputs), Options(draws=0))
    with pytest.raises(InputError, match="add cells, or leave it out"):
        leave_future_out(result.model, result.options.seed)
