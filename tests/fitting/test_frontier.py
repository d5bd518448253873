"""Pareto front, hull, isoFLOP curves, the parametric frontier and the optimum of a served model."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import optimize, spatial

from mnist_scaling.errors import InputError
from mnist_scaling.fitting import Options, analyse, get_law, make_table
from mnist_scaling.fitting.frontier.isoflop import curves, interpolation_weights, isoflop
from mnist_scaling.fitting.frontier.methods import OF_MODEL
from mnist_scaling.fitting.frontier.parametric import fit_cost
from mnist_scaling.fitting.fronts import hull_rows, observed, pareto_rows, slope

from .tables import ADDITIVE, additive_optimum, design, grid

points = arrays(float, st.integers(3, 25).map(lambda n: (n, 2)), elements=st.floats(-5, 5, width=32), unique=True)


@settings(max_examples=60, deadline=None)
@given(points)
def test_pareto_by_definition(xy):
    c, y = xy.T
    found = set(pareto_rows(c, y).tolist())
    for i in range(len(c)):
        beaten = any((c[j] <= c[i] and y[j] <= y[i]) and (c[j] < c[i] or y[j] < y[i]) for j in range(len(c)))
        assert (i in found) == (not beaten)


@settings(max_examples=60, deadline=None)
@given(points)
def test_hull_lies_below_every_row(xy):
    c, y = xy.T
    rows = hull_rows(c, y)
    assert set(rows) <= set(pareto_rows(c, y))
    inside = (c >= c[rows[0]]) & (c <= c[rows[-1]])
    assert (np.interp(c[inside], c[rows], y[rows]) <= y[inside] + 1e-9).all()
    slopes = np.diff(y[rows]) / np.diff(c[rows])
    assert (slopes < 0).all()
    assert (np.diff(slopes) > -1e-9).all()


def test_hull_is_scipys_lower_left_part():
    xy = np.random.default_rng(0).standard_normal((60, 2))
    corners = set(spatial.ConvexHull(xy).vertices.tolist())
    assert set(hull_rows(*xy.T).tolist()) <= corners


def test_a_tie_in_loss_goes_to_the_cheaper_row():
    assert pareto_rows(np.array([2.0, 1.0, 3.0]), np.array([1.0, 1.0, 0.5])).tolist() == [1, 2]
    assert pareto_rows(np.array([1.0, 1.0]), np.array([2.0, 1.0])).tolist() == [1]


def isoflop_table(values, law="additive"):
    """Seven budgets of nine sizes around each optimum, C = 6 N D exactly."""
    log_c = np.log(np.geomspace(1e9, 1e12, 7))
    terms = values
    if law == "kaplan":  # its inner sum, of the same optimum
        ratio = values["alpha_N"] / values["alpha_D"]
        terms = {"A": values["Nc"] ** ratio, "B": values["Dc"], "alpha": ratio, "beta": 1.0}
    n0, n1 = additive_optimum(terms)
    middle = n0 + n1 * (log_c - np.log(6))
    n = np.exp(middle[:, None] + np.linspace(-0.6, 0.6, 9)).ravel()
    c = np.repeat(np.exp(log_c), 9)
    inputs = {"N": n, "D": c / (6 * n), "C": c}
    return make_table(get_law(law).predict(values, N=n, D=inputs["D"]), inputs)


def test_a_model_that_is_used_is_smaller_and_sees_more() -> None:
    """6 N D of training and 2 N per example of use pay for the least E + A/N^.35 + B/D^.6: minimised by scipy."""
    table = replace(isoflop_table(ADDITIVE), examples=None)
    found = analyse(table, Options(laws=("additive",), draws=50)).headline
    total, none = found.in_use[0].C, found.in_use[0]
    assert [one.times for one in found.in_use] == [0, 1, 3, 10]
    assert (none.N, none.value) == pytest.approx(
        next((one.N, one.value) for one in found.sizes if total == pytest.approx(one.C)), rel=0.02
    )
    assert total == pytest.approx(max(one.C for one in found.sizes if one.optimal and one.reach <= 1))
    for one in found.in_use:
        assert one.examples == pytest.approx(one.times * none.D)

        def loss(log_n: float, examples: float = one.examples) -> float:
            n = np.exp(log_n)
            return float(get_law("additive").predict(ADDITIVE, N=n, D=(total - 2 * n * examples) / (6 * n)))

        most = np.log(total / (2 * max(one.examples, 1)))
        best = optimize.minimize_scalar(loss, bounds=(np.log(none.N / 30), min(np.log(10 * none.N), most - 0.01)))
        assert pytest.approx(np.exp(best.x), rel=0.04) == one.N
        assert one.value == pytest.approx(best.fun, rel=0.01)
        assert one.C + 2 * one.N * one.examples == pytest.approx(total, rel=1e-6)
        assert one.N_low <= one.N <= one.N_high
    few = analyse(replace(table, examples=1.5 * none.D), Options(laws=("additive",), draws=50)).headline.in_use
    assert {bool(one.too_few) for one in few} == {False, True}
    assert [one.too_few for one in few] == [one.D > 1.5 * none.D or None for one in few]


def test_every_method_finds_the_exact_exponent():
    """E + A/N^.35 + B/D^.6 with C = 6 N D: N* ~ C^(.6 / .95), by Lagrange; the model's to what a misfit leaves open."""
    table = isoflop_table(ADDITIVE)
    exact = 0.6 / 0.95
    result = analyse(table, Options(laws=("additive",), draws=50))
    for method, tolerance in {"parametric": 5e-3, "isoflop": 5e-3, "hull": 0.02, "pareto": 0.05}.items():
        assert result.frontier[method].intervals["N_exponent"].value == pytest.approx(exact, abs=tolerance), method
        assert result.frontier[method].intervals["D_exponent"].value == pytest.approx(1 - exact, abs=tolerance), method
    assert all(c["quality"] == "ok" for c in result.frontier["isoflop"].extra["curves"])


def test_multiplicative_law_has_no_frontier_of_its_own():
    """Its surfaces have none but by their misfit, which is small without noise; the reason stands in its place."""
    result = analyse(
        grid("multiplicative", {"A": 40.0, "alpha": 0.2, "beta": 0.4}), Options(laws=("multiplicative",), draws=0)
    )
    found = result.frontier["parametric"]
    assert found.status.startswith("no best size: ")
    assert np.isnan(found.intervals["N_exponent"].value)
    assert result.headline.N_exponent.why.startswith("No best size: ")


def test_cost_model_is_recovered():
    inputs = design()
    table = make_table(np.ones(len(inputs["N"])), inputs | {"C": 4.0 * inputs["N"] ** 0.8 * inputs["D"] ** 1.1})
    found = fit_cost(table)
    assert (np.exp(found.constant), found.kappa_n, found.kappa_d) == pytest.approx((4.0, 0.8, 1.1))
    assert found.rmse_log == pytest.approx(0, abs=1e-9)


def test_without_flops_6nd_is_assumed_and_said():
    table = grid()
    table = make_table(table.loss, {k: table.inputs[k] for k in "ND"})
    cost = fit_cost(table)
    assert cost.assumed
    assert cost.kappa_n == cost.kappa_d == 1
    assert "needs C" in observed(table, "hull").status


def test_interpolation_is_exact_for_cubics():
    x = np.array([0.0, 0.7, 1.5, 2.0, 3.1])
    y = 1 + x - 0.3 * x**2 + 0.05 * x**3
    for at in (0.0, 0.3, 1.0, 2.9, 3.1):
        weights = interpolation_weights(x, at)
        assert weights @ y == pytest.approx(1 + at - 0.3 * at**2 + 0.05 * at**3)
    assert interpolation_weights(x, 3.2) is None
    assert interpolation_weights(x, -0.1) is None


def test_a_grid_is_interpolated_to_common_budgets():
    """Curves formed between rows lie on the law itself, and D follows from the cost."""
    table = grid()
    family, how = curves(table)
    assert "interpolated" in how
    law = get_law("additive")
    for curve in family:
        exact = law.predict(ADDITIVE, N=np.exp(curve.log_n), D=np.exp(curve.log_d))
        np.testing.assert_allclose(np.exp(curve.weights @ table.y), exact, rtol=2e-3)
        cost = 6 * (np.exp(curve.log_n) + 500 * np.sqrt(np.exp(curve.log_n))) * np.exp(curve.log_d)
        np.testing.assert_allclose(cost, np.exp(curve.log_c), rtol=1e-6)


def test_nearly_equal_budgets_are_shifted():
    """C off by up to 4 %: without the shift the losses would be off by as much as the curve is deep."""
    exact = isoflop_table(ADDITIVE)
    off = np.exp(np.random.default_rng(0).uniform(-0.04, 0.04, len(exact)))
    inputs = {"N": exact.inputs["N"], "D": exact.inputs["D"] * off, "C": exact.inputs["C"] * off}
    table = make_table(get_law("additive").predict(ADDITIVE, N=inputs["N"], D=inputs["D"]), inputs)
    found = isoflop(table)
    assert "nearly equal" in found.extra["how"]
    errors = {"as they are": [], "shifted": []}
    for curve in curves(table)[0]:
        exact = get_law("additive").predict(ADDITIVE, N=np.exp(curve.log_n), D=np.exp(curve.log_c - curve.log_n) / 6)
        errors["as they are"] += list(table.loss[curve.rows] / exact - 1)
        errors["shifted"] += list(np.exp(curve.weights @ table.y) / exact - 1)
    assert np.std(errors["shifted"]) < 0.3 * np.std(errors["as they are"])
    assert found.intervals["N_exponent"].value == pytest.approx(0.6 / 0.95, abs=0.01)


def test_edges_are_left_out_and_said():
    """Only sizes below the optimum: the best is always the largest, and no exponent is made of that."""
    table = isoflop_table(ADDITIVE)
    small = np.tile(np.arange(9) < 4, 7)
    found = isoflop(table.take(small))
    assert {c["quality"] for c in found.extra["curves"]} == {"edge"}
    assert {c["side"] for c in found.extra["curves"]} == {"largest"}
    assert np.isnan(found.intervals["N_exponent"].value)
    assert "0 of 7 budgets" in found.status


def test_off_centre_minima_are_marked():
    found = isoflop(isoflop_table(ADDITIVE).take(np.tile(np.arange(9) < 6, 7)))
    assert {c["quality"] for c in found.extra["curves"]} == {"off_centre"}


def test_argmin_by_choice():
    table = isoflop_table(ADDITIVE)
    assert isoflop(table, "argmin").intervals["N_exponent"].value == pytest.approx(0.6 / 0.95, abs=0.02)
    with pytest.raises(InputError, match="one of parabola, argmin"):
        isoflop(table, "quartic")


def test_a_scattered_table_says_why_there_are_no_curves():
    rng = np.random.default_rng(0)
    n, d = np.exp(rng.uniform(8, 14, 20)), np.exp(rng.uniform(8, 14, 20))
    table = make_table(get_law("additive").predict(ADDITIVE, N=n, D=d), {"N": n, "D": d, "C": 6 * n * d})
    assert "fewer than 3 budgets" in isoflop(table).status


def test_the_slope_of_optima_by_the_textbook():
    rng = np.random.default_rng(0)
    x = np.log(np.geomspace(1e15, 1e19, 9))
    y = 0.5 * x + 0.1 * rng.standard_normal(9)
    assert slope(x, y) == pytest.approx(np.polyfit(x, y, 1)[0])
    assert np.isnan(slope(x[:2], y[:2]))


def test_what_is_read_off_the_cells_has_a_bootstrap_interval():
    """Fresh noise about the law: it holds the value and is as wide as twice the noise's own scatter of the slope."""
    exact = isoflop_table(ADDITIVE)

    def noisy(seed):
        errors = 0.01 * np.random.default_rng(seed).standard_normal(len(exact))
        return replace(exact, loss=exact.loss * np.exp(errors))

    result = analyse(noisy(100), Options(laws=("additive",), draws=200, kind="wild"))
    for method in ("pareto", "hull", "isoflop"):
        found = result.frontier[method].intervals["N_exponent"]
        assert found.low < found.value < found.high, method
        scatter = np.std([read(noisy(seed), method) for seed in range(40)])
        assert found.high - found.low == pytest.approx(2 * 1.96 * scatter, rel=0.5), method


def test_what_a_method_makes_of_the_model_is_what_it_makes_of_a_table_without_noise():
    """A coarse grid's hull is biased: the model of noisy rows shows the same bias as the law itself."""
    exact = grid()
    errors = 0.005 * np.random.default_rng(3).standard_normal(len(exact))
    noisy = replace(exact, loss=exact.loss * np.exp(errors))
    found = analyse(noisy, Options(laws=("additive",), draws=50, kind="wild")).frontier
    for method in ("pareto", "hull"):
        bias = read(exact, method) - 0.6 / 0.95
        assert abs(bias) > 0.05
        assert found[method].extra[OF_MODEL]["N_exponent"] - 0.6 / 0.95 == pytest.approx(bias, rel=0.2), method
    assert OF_MODEL not in found["parametric"].extra


def read(table, method):
    return (isoflop(table) if method == "isoflop" else observed(table, method)).intervals["N_exponent"].value


def test_budgets_that_end_at_an_edge_are_left_out_and_counted_and_the_rest_has_an_interval():
    table = isoflop_table(ADDITIVE)
    kept = np.tile(np.arange(9), 7) < np.repeat([4, 4, 9, 9, 9, 9, 9], 9)
    noisy = replace(table, loss=table.loss * np.exp(0.002 * np.random.default_rng(0).standard_normal(len(table))))
    found = analyse(noisy.take(kept), Options(laws=("additive",), draws=100, kind="wild")).frontier["isoflop"]
    assert found.status == "left out: 2 of 7 budgets, without a minimum inside the sizes that were tried"
    assert found.intervals["N_exponent"].bounded
    assert found.intervals["N_exponent"].value == pytest.approx(0.6 / 0.95, abs=0.03)


@pytest.mark.parametrize("shift", [1.0, 1.01])
def test_amounts_that_differ_by_whole_batches_are_one_level(shift):
    """Every second model sees 1 % more: five levels of D, and L(N) at each of them."""
    table = grid()
    d = table.inputs["D"] * np.where(np.unique(table.inputs["N"], return_inverse=True)[1] % 2, shift, 1.0)
    table = make_table(table.loss, {**table.inputs, "D": d})
    assert len(table.levels("D")) == 6
    assert [len(rows) for rows in table.by_level("D").values()] == [5] * 6


def test_surfaces_without_an_optimum_are_said():
    found = analyse(grid(noise=0.2), Options(draws=50)).frontier["parametric"]
    assert found.intervals["N_exponent"].bounded
    assert re.fullmatch(r"of the \d\d % of the surfaces that have an optimum", found.status)
