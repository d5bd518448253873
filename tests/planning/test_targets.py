"""What a plan makes more certain is what `fit` quotes, as draws."""

from __future__ import annotations

import numpy as np
import pytest

from mnist_scaling.errors import InputError
from mnist_scaling.fitting.frontier.parametric import fit_cost
from mnist_scaling.fitting.headline import Model
from mnist_scaling.fitting.laws import get_law
from mnist_scaling.fitting.misfit.posterior import surface
from mnist_scaling.fitting.rows import Table
from mnist_scaling.fitting.slices import largest_cell
from mnist_scaling.planning.targets import TAIL, target
from tests.fitting.tables import ADDITIVE, grid


def model_of(table: Table) -> Model:
    return Model(surface(table, 200, np.random.default_rng(0)), table, 0.03, 0.95)


@pytest.fixture(scope="module")
def model() -> Model:
    return model_of(grid(noise=0.03))


@pytest.mark.parametrize(("word", "variable"), [("alpha", "N"), ("beta", "D")])
def test_slopes_are_those_of_the_headline(model: Model, word: str, variable: str) -> None:
    found = target(model, None, word)
    quoted = model.slope(largest_cell(model.rows), variable)
    assert found.interval.value == pytest.approx(quoted.value)
    assert found.known.all()
    low, high = np.quantile(model.posterior.slope(largest_cell(model.rows), variable), [TAIL, 1 - TAIL])
    assert (found.draws.min(), found.draws.max()) == pytest.approx((low, high))
    assert word in found.meaning


def test_a_loss_is_meant_ahead_unless_a_place_is_given(model: Model) -> None:
    cost = fit_cost(model.rows)
    at = {"N": float(np.log(1e4)), "D": float(np.log(2e4))}
    here, ahead = target(model, cost, "loss", at), target(model, cost, "loss")
    assert np.exp(here.interval.value) == pytest.approx(model.loss(**at).value, rel=1e-6)
    assert ahead.draws.std() > here.draws.std()
    with pytest.raises(InputError, match="needs a place"):
        target(model, None, "loss")


def test_surfaces_without_an_optimum_are_left_out(model: Model) -> None:
    cost, law = fit_cost(model.rows), get_law("additive")
    assert cost is not None
    found = target(model, cost, "N_exponent")
    assert len(found.draws) == found.known.sum() > 100
    true = law.optimum(law.internal(ADDITIVE)[None], cost.kappa_n, cost.kappa_d)
    assert true is not None
    assert found.interval.holds(true["n1"][0])


def test_what_a_model_of_one_variable_does_not_have_is_refused(model: Model) -> None:
    table = grid(noise=0.03)
    one = model_of(Table(table.loss, {"D": table.inputs["D"]}).take(table.inputs["N"] == table.inputs["N"][0]))
    assert target(one, None, "beta").known.all()
    for word in ("alpha", "N_exponent"):
        with pytest.raises(InputError, match=f"`target={word}` needs a model of"):
            target(one, None, word)
    with pytest.raises(InputError, match="`target` must be one of"):
        target(model, None, "gamma")
