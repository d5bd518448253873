"""A law with a misfit term: it finds what a law misses, and doubts more what lies farther away."""

from __future__ import annotations

import numpy as np
import pytest

from mnist_scaling.fitting.frontier.parametric import fit_cost, valley
from mnist_scaling.fitting.laws import get_law
from mnist_scaling.fitting.laws.base import Array, local_slope
from mnist_scaling.fitting.misfit.posterior import Posterior, posterior_draws, surface
from mnist_scaling.fitting.misfit.process import TREND, Axes, Shape, design, packed, products
from mnist_scaling.fitting.rows import Table, make_table
from mnist_scaling.fitting.slices import largest_cell
from tests.fitting.tables import ADDITIVE, additive_optimum, grid
from tests.fitting.tables import design as sizes


def found_in(table: Table, draws: int = 100) -> Posterior:
    return surface(table, draws, np.random.default_rng(0))


def width(draws: Array) -> float:
    return float(np.ptp(np.quantile(draws, [0.025, 0.975])))


def bent(size: float, noise: float = 0.01) -> Table:
    """The additive law with an exponent of D that bends by `size`."""
    inputs, rng = sizes(), np.random.default_rng(1)
    z = np.log(inputs["D"]) - np.log(inputs["D"]).mean()
    loss = get_law("additive").predict(ADDITIVE, N=inputs["N"], D=inputs["D"]) * np.exp(size * np.sin(2.0 * z))
    runs = loss[:, None] * np.exp(noise * rng.standard_normal((len(z), 3)))
    return make_table(runs.mean(axis=1), inputs, runs.std(axis=1, ddof=1) / np.sqrt(3), np.full(len(z), 3.0))


def test_a_law_that_is_true_is_found_with_hardly_a_misfit() -> None:
    table = grid(noise=0.003)
    found, law = found_in(table), get_law("additive")
    at = largest_cell(table)
    for variable in "ND":
        low, high = np.quantile(found.slope(at, variable), [0.005, 0.995])
        assert low < local_slope(law, law.internal(ADDITIVE)[None], at, variable)[0] < high
        assert high - low < 0.1
    assert np.median(found.misfit()) < 0.003
    low, high = np.quantile(found.floor(), [0.005, 0.995])
    assert low < ADDITIVE["E"] < high
    cost = fit_cost(table)
    assert cost is not None
    log_c = np.linspace(*np.quantile(cost.of(table), [0.5, 1.0]), 5)
    front = valley(found.log_loss, found.axes, cost, log_c)
    true = additive_optimum(ADDITIVE, cost.kappa_n, cost.kappa_d)[1]
    assert np.median(front.exponents["N"]) == pytest.approx(true, abs=0.05)
    assert np.isfinite(front.log_n).mean() > 0.9


def test_a_misfit_is_found_and_widens_intervals() -> None:
    straight, crooked = found_in(bent(0.0)), found_in(bent(0.05))
    assert np.quantile(crooked.misfit(), 0.025) > 0.01 > np.quantile(straight.misfit(), 0.975)
    at = largest_cell(bent(0.0))
    assert width(crooked.slope(at, "D")) > 1.5 * width(straight.slope(at, "D"))


def test_what_lies_farther_away_is_doubted_more() -> None:
    table = bent(0.03)
    corner = largest_cell(table)
    beyond = np.log([1.0, 2.0, 8.0, 30.0])
    widths = [width(y) for y in found_in(table).log_loss({k: corner[k] + beyond / 2 for k in "ND"}).T]
    assert widths == sorted(widths)
    assert widths[-1] > 3 * widths[0]


def test_draws_depend_on_the_generator_alone() -> None:
    table = grid(noise=0.03)
    at = largest_cell(table)
    one, two = (surface(table, 20, np.random.default_rng(5)).slope(at, "N") for _ in range(2))
    other = surface(table, 20, np.random.default_rng(6)).slope(at, "N")
    assert len(one) == 20
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("name", ["no repeats", "scattered", "long", "one variable", "on a ray", "few rows"])
def test_tables_of_other_kinds(name: str) -> None:
    rng = np.random.default_rng(3)
    inputs = sizes()
    if name in ("scattered", "long"):
        inputs = {k: np.exp(rng.uniform(6, 11, 4000 if name == "long" else 40)) for k in "ND"}
    if name == "on a ray":
        inputs = {"N": np.geomspace(1e3, 1e5, 12), "D": 20 * np.geomspace(1e3, 1e5, 12)}
    loss = get_law("additive").predict(ADDITIVE, N=inputs["N"], D=inputs["D"])
    if name == "one variable":
        inputs = {"D": np.geomspace(1e3, 1e5, 12)}
        loss = get_law("power_D_floor").predict({"E": 0.1, "B": 50.0, "beta": 0.6}, D=inputs["D"])
    if name == "few rows":
        inputs, loss = {k: inputs[k][:8] for k in "ND"}, loss[:8]
    table = make_table(loss * np.exp(0.02 * rng.standard_normal(len(loss))), inputs)
    found = found_in(table, 60)
    logs = table.logs(tuple(k for k in "ND" if k in inputs))
    inside = found.log_loss(logs)
    assert inside.shape == (60, len(loss))
    assert np.sqrt(np.mean((np.median(inside, axis=0) - np.log(loss)) ** 2)) < 0.02
    assert np.isfinite(found.slope(largest_cell(table), "D")).all()


def test_the_covariance_of_the_surface_is_that_of_its_coefficients() -> None:
    logs = {k: np.log(sizes()[k]) for k in "ND"}
    features = Axes.of(logs).features(logs)
    shape = Shape(np.array([[0.1, 0.2, 0.3]]), np.array([[0.7, 1.5]]))
    waves = design(features)
    of_coefficients = (waves * np.concatenate(shape.variances(), axis=1)) @ waves.T
    assert shape.covariance([products(f) for f in features])[0] == pytest.approx(
        packed(of_coefficients), rel=1e-9, abs=1e-15
    )
    # A slope has the variance that the size says, and more with a trend: here that of N, along N alone.
    u, half = 2.0, Axes.of(logs).half[0]
    n = Axes.of(logs).middle[0] + half * np.array([u - 1e-4, u + 1e-4])
    waves = design(Axes.of(logs).features({"N": n, "D": np.full(2, Axes.of(logs).middle[1])}))
    slope = (waves[1] - waves[0]) / 2e-4
    expected = 0.01 * (1 + (TREND * u) ** 2)
    assert (slope**2 * np.concatenate(shape.variances(), axis=1)[0]).sum() == pytest.approx(expected, rel=1e-4)


def test_the_sampler_finds_a_posterior_and_its_evidence() -> None:
    # A normal likelihood of standard deviation 0.1 around 1, on a standard normal prior.
    draws, evidence = posterior_draws(lambda z: -0.5 * ((z[:, 0] - 1) / 0.1) ** 2, 2, 2000, np.random.default_rng(0))
    assert draws.mean(axis=0) == pytest.approx([1 / 1.01, 0.0], abs=0.07)
    assert draws.std(axis=0) == pytest.approx([0.0995, 1.0], rel=0.1)
    assert evidence == pytest.approx(-0.5 * np.log(1.01 / 0.01) - 0.5 / 1.01, abs=0.15)
