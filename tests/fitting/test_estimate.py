"""One law on one table: exact where there is no noise, honest about bounds, starts and ridges."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnist_scaling.errors import InputError
from mnist_scaling.fitting import Settings, fit_law, get_law, make_table
from mnist_scaling.fitting.estimation.estimate import fit_problem
from mnist_scaling.fitting.estimation.problem import EFFICIENT, SMALLEST_DELTA, Delta, Problem, choose_delta, huber
from mnist_scaling.fitting.uncertainty.noise import SeedNoise, seed_noise, weights_from

from .tables import ADDITIVE, design, grid

TRUTHS = {
    "power_N": {"A": 3.0, "alpha": 0.3},
    "power_D_floor": {"E": 0.05, "B": 30.0, "beta": 0.5},
    "additive": ADDITIVE,
    "multiplicative": {"A": 40.0, "alpha": 0.2, "beta": 0.4},
    "multiplicative_floor": {"E": 0.05, "A": 40.0, "alpha": 0.25, "beta": 0.45},
    "coupled": {"E": 0.02, "A": 9.0, "B": 300.0, "alpha": 0.6, "beta": 0.9, "gamma": 0.6},
    "kaplan": {"Nc": 50.0, "Dc": 700.0, "alpha_N": 0.3, "alpha_D": 0.6},
}


@pytest.mark.parametrize("name", TRUTHS)
def test_exact_losses_give_the_parameters_back(name):
    law = get_law(name)
    inputs = design(7, 9)
    if len(law.inputs) == 1:
        inputs = {k: np.geomspace(200, 1e6, 25) for k in law.inputs}
    table = grid(name, TRUTHS[name], inputs=inputs)
    fit = fit_law(law, table.logs(law.inputs), table.y)
    assert fit.converged
    assert fit.rmse < 1e-7
    for key, value in TRUTHS[name].items():
        assert fit.values[key] == pytest.approx(value, rel=2e-3, abs=1e-6), key


def test_repeated_law_is_recovered():
    law = get_law("repeated")
    n, u, passes = (
        a.ravel() for a in np.meshgrid(np.geomspace(1e7, 1e10, 6), np.geomspace(1e8, 1e10, 4), [1, 4, 15, 60])
    )
    truth = {"E": 1.7, "A": 400.0, "B": 2000.0, "alpha": 0.33, "beta": 0.37, "Rd": 12.0, "Rn": 6.0}
    loss = law.predict(truth, N=n, D=u * passes, U=u)
    logs = {"N": np.log(n), "D": np.log(u * passes), "U": np.log(u)}
    fit = fit_law(law, logs, np.log(loss))
    assert fit.values["Rd"] == pytest.approx(12.0, rel=1e-3)
    assert fit.values["beta"] == pytest.approx(0.37, rel=1e-3)


@settings(max_examples=15, deadline=None)
@given(factor=st.floats(1e-6, 1e6), seed=st.integers(0, 100))
def test_units_do_not_matter(factor, seed):
    """Counting N in millions changes A and nothing else."""
    table = grid(noise=0.05, seed=seed)
    law = get_law("additive")
    one = fit_law(law, table.logs(law.inputs), table.y)
    logs = table.logs(law.inputs)
    other = fit_law(law, {"N": logs["N"] + np.log(factor), "D": logs["D"]}, table.y)
    assert other.objective == pytest.approx(one.objective, rel=1e-6)
    assert other.values["alpha"] == pytest.approx(one.values["alpha"], rel=1e-3, abs=1e-4)


def test_the_order_of_rows_does_not_matter():
    table = grid(noise=0.05)
    mixed = table.take(np.random.default_rng(0).permutation(len(table)))
    law = get_law("additive")
    a, b = (fit_law(law, t.logs(law.inputs), t.y) for t in (table, mixed))
    np.testing.assert_allclose(a.theta, b.theta, rtol=1e-5)


def test_an_outlier_moves_huber_less_than_squares():
    table = grid("multiplicative", TRUTHS["multiplicative"], noise=0.02)
    y = table.y.copy()
    y[-1] += 2.0
    law, logs = get_law("multiplicative"), table.logs(("N", "D"))
    errors = {}
    for loss in ("huber", "squared", "absolute"):
        values = fit_law(law, logs, y, Settings(loss=loss)).values
        errors[loss] = abs(values["alpha"] - 0.2) + abs(values["beta"] - 0.4)
    assert errors["huber"] < 0.2 * errors["squared"]
    assert errors["absolute"] < 0.2 * errors["squared"]


def test_huber_by_hand():
    np.testing.assert_allclose(huber(np.array([0.5, -0.5, 3.0, -3.0]), 1.0), [0.125, 0.125, 2.5, 2.5])
    np.testing.assert_allclose(huber(np.array([3.0]), np.inf), [4.5])


def test_auto_delta_follows_the_noise():
    table = grid("multiplicative", TRUTHS["multiplicative"], noise=0.06)
    law = get_law("multiplicative")
    seeds = seed_noise(table)
    assert seeds.scale == pytest.approx(0.06 / np.sqrt(3), rel=0.25)
    fit = fit_law(law, table.logs(law.inputs), table.y, seeds=seeds)
    assert fit.delta.value == pytest.approx(EFFICIENT * 0.06 / np.sqrt(3), rel=0.4)
    assert "repeats" in fit.delta.reason or "residuals" in fit.delta.reason


def test_auto_delta_says_when_the_law_misses():
    found = choose_delta(
        "auto", np.array([0.3, -0.3, 0.2, -0.25, 0.3]), 2, SeedNoise(np.array([1e-4]), 10.0, np.array([10.0]))
    )
    assert found.value > 0.1
    assert "more than seed noise" in found.reason
    assert choose_delta("auto", np.zeros(5), 2, None).value == SMALLEST_DELTA
    assert choose_delta(1e-3, np.zeros(5), 2, None) == choose_delta(1e-3, np.ones(5), 2, 0.1)


@pytest.mark.parametrize(("delta", "text"), [(0.0, "delta > 0"), (-1.0, "delta > 0"), ("big", "number or auto")])
def test_bad_delta_is_refused(delta, text):
    with pytest.raises(InputError, match=text):
        choose_delta(delta, np.zeros(3), 1, None)


def test_inverse_variance_weights():
    table = make_table(np.ones(4), {"N": np.arange(1.0, 5.0)}, np.array([0.01, 0.01, 0.01, 0.1]))
    weights = weights_from("inverse_variance", table)
    assert weights.mean() == pytest.approx(1)
    assert weights[0] == weights[1] > weights[3]
    with pytest.raises(InputError, match="needs a positive standard error"):
        weights_from("inverse_variance", replace(table, se=None))
    with pytest.raises(InputError, match="one of equal, inverse_variance"):
        weights_from("variance", table)


def test_starts_agree_on_an_easy_table():
    table = grid(noise=0.03)
    fit = fit_law(get_law("additive"), table.logs(("N", "D")), table.y)
    assert fit.starts > 100
    assert fit.agreeing > fit.polished // 2


def test_the_best_start_is_the_one_that_is_polished():
    """The other one has no slope to follow: both terms are gone at alpha = beta = 10."""
    table = grid(noise=0.03)
    law, logs = get_law("additive"), table.logs(("N", "D"))
    dead = law.internal({"E": 0.5, "A": 1.0, "B": 1.0, "alpha": 10.0, "beta": 10.0})
    good = law.internal(ADDITIVE)
    for starts in ([dead, good], [good, dead]):
        assert fit_problem(Problem(law, logs, table.y), Delta(0.05, ""), np.array(starts), polished=1).rmse < 0.05


def test_a_floor_at_its_bound_is_reported():
    x = np.geomspace(10, 1e5, 12)
    y = np.log(5 / x**0.3) - 0.004 * np.log(x) ** 2
    fit = fit_law(get_law("power_N_floor"), {"N": np.log(x)}, y)
    assert fit.at_bound == ("E",)
    assert fit.values["E"] == 0


def test_a_ridge_is_reported():
    """Over a factor of 1.2 in N nothing can tell a floor from an exponent."""
    x = np.linspace(100, 120, 12)
    fit = fit_law(get_law("power_N_floor"), {"N": np.log(x)}, np.log(1 + 20 / x**0.5))
    assert set(fit.ridge) == {"E", "alpha"}


def test_leverages_add_up_to_the_parameters():
    table = grid(noise=0.05)
    fit = fit_law(get_law("additive"), table.logs(("N", "D")), table.y)
    assert fit.leverage.sum() == pytest.approx(fit.free)


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        (slice(0, 4), "needs at least as many rows as its 5 parameters, but got 4"),
        (slice(0, 5), "distinct values of D, but got 1"),
    ],
)
def test_too_little_is_refused(rows, text):
    table = grid().take(np.arange(30)[rows])
    with pytest.raises(InputError, match=text):
        fit_law(get_law("additive"), table.logs(("N", "D")), table.y)


def test_unknown_loss_is_refused():
    with pytest.raises(InputError, match="one of huber, squared, absolute"):
        Settings(loss="cauchy")
