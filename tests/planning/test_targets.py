"""What a plan makes more certain is what `fit` quotes, as draws."""

from __future__ import annotations

import numpy as np
import pytest

from mnist_scaling.errors import InputError
from mnist_scaling.fitting.ahead import losses_ahead
from mnist_scaling.fitting.frontier.parametric import fit_cost
from mnist_scaling.fitting.misfit.posterior import Model, surface
from mnist_scaling.fitting.rows import Table
from mnist_scaling.fitting.slices import largest_cell
from mnist_scaling.planning.next_runs import TAIL, target
from tests.fitting.tables import ADDITIVE, additive_optimum, grid


def model_of(table: Table) -> Model:
    return Model(surface(table, 200, np.random.default_rng(0)), table, 0.03, 0.95)


@pytest.fixture(scope="module")
def model() -> Model:
    return model_of(grid(noise=0.03))


@pytest.mark.parametrize(("word", "variable"), [("alpha", "N"), ("beta", "D")])
def test_slopes_are_those_of_the_headline(model: Model, word: str, variable: str) -> None:
    found = target(model, None, word)
    quoted = model.slope(largest_cell(model.rows), variable)
    assert np.median(found.draws) == pytest.approx(quoted.value)
    assert found.known.all()
    low, high = np.quantile(model.posterior.slope(largest_cell(model.rows), variable), [TAIL, 1 - TAIL])
    assert (found.draws.min(), found.draws.max()) == pytest.approx((low, high))
    assert word in found.meaning


def test_a_loss_is_meant_ahead_at_four_times_the_compute(model: Model) -> None:
    cost = fit_cost(model.rows)
    found = target(model, cost, "loss")
    (ahead,) = (one for one in losses_ahead(model, cost)[0] if one.reach == 4)
    assert np.exp(np.median(found.draws)) == pytest.approx(ahead.value, rel=0.01)
    assert f"N = {ahead.N:.3g}, D = {ahead.D:.3g}" in found.meaning
    with pytest.raises(InputError, match="needs a compute at which it is meant.* choose target=alpha or target=beta"):
        target(model, None, "loss")


def test_surfaces_without_an_optimum_are_left_out(model: Model) -> None:
    cost = fit_cost(model.rows)
    assert cost is not None
    found = target(model, cost, "N_exponent")
    assert len(found.draws) == found.known.sum() > 100
    true = additive_optimum(ADDITIVE, cost.kappa_n, cost.kappa_d)[1]
    assert found.draws.min() < true < found.draws.max()


def test_what_a_model_of_one_variable_does_not_have_is_refused(model: Model) -> None:
    table = grid(noise=0.03)
    one = model_of(Table(table.loss, {"D": table.inputs["D"]}).take(table.inputs["N"] == table.inputs["N"][0]))
    assert target(one, None, "beta").known.all()
    for word in ("alpha", "N_exponent"):
        with pytest.raises(InputError, match=f"`target={word}` needs a model of"):
            target(one, None, word)
    with pytest.raises(InputError, match="`target` must be one of"):
        target(model, None, "gamma")
