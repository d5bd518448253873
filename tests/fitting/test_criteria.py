"""AICc, the hold-out, and which law describes a table."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from mnist_scaling.fitting import Options, Settings, analyse, fit_law, get_law, make_table
from mnist_scaling.fitting.estimation.problem import EFFICIENT, huber
from mnist_scaling.fitting.estimation.solve import EMBEDDINGS
from mnist_scaling.fitting.fitted import aicc, hold_out

from .tables import ADDITIVE, design, grid

NORMALISER = np.sqrt(2 * np.pi) * (2 * stats.norm.cdf(EFFICIENT) - 1) + 2 / EFFICIENT * np.exp(-(EFFICIENT**2) / 2)

TRUTHS = {
    "additive": (0.02, 650.0, 72.9, 1.148, 0.7306),
    "multiplicative": (113.0, 0.2995, 0.4347),
    "multiplicative_floor": (0.02, 333.2, 0.3578, 0.5154),
    "kaplan": (124.4, 373.6, 0.7067, 0.6846),
    "kaplan_floor": (0.02, 220.5, 476.2, 0.9481, 0.8015),
}
"""Parameters of each nested law, in the order that the law has them."""


def test_aicc_is_the_normal_one_for_clean_residuals():
    """Differences between laws are those of n log(s^2) + 2 k + 2 k (k + 1) / (n - k - 1)."""
    r = 0.02 * np.tile([1.0, -1.0], 6)

    def normal(residual, p):
        n, k = len(residual), p + 1
        return n * np.log(np.mean(residual**2)) + 2 * k + 2 * k * (k + 1) / (n - k - 1)

    assert aicc(1.5 * r, 3) - aicc(r, 5) == pytest.approx(normal(1.5 * r, 3) - normal(r, 5), rel=1e-4)


def test_aicc_needs_rows():
    assert np.isnan(aicc(np.ones(5), 3))
    assert np.isfinite(aicc(np.ones(6), 3))


def test_one_outlier_does_not_decide():
    rng = np.random.default_rng(0)
    r = 0.02 * rng.standard_normal(30)
    good, worse = r.copy(), 1.5 * r
    good[0], worse[0] = 0.3, 0.25
    assert np.mean(good**2) > np.mean(worse**2)
    assert aicc(good, 3) < aicc(worse, 3)


def test_hold_out_predicts_the_largest_compute():
    table = grid(noise=0.02)
    law, logs = get_law("additive"), table.logs(("N", "D"))
    fit = fit_law(law, logs, table.y)
    found = hold_out(fit, np.log(table.inputs["C"]))
    assert found.n == 6
    assert table.inputs["C"][found.rows].min() > np.delete(table.inputs["C"], found.rows).max()
    seen = np.setdiff1d(np.arange(len(table)), found.rows)
    again = fit_law(law, {k: v[seen] for k, v in logs.items()}, table.y[seen], Settings(delta=fit.delta.value))
    held = {k: v[found.rows] for k, v in logs.items()}
    error = table.y[found.rows] - again.law.evaluate(again.theta[None], held)[0][0]
    assert found.rmse_log == pytest.approx(np.sqrt(np.mean(error**2)), rel=1e-4)


@pytest.mark.parametrize(
    ("name", "values", "noise"),
    [
        ("additive", ADDITIVE, 0.01),
        ("multiplicative", {"A": 40.0, "alpha": 0.2, "beta": 0.4}, 0.01),
        ("multiplicative", {"A": 40.0, "alpha": 0.2, "beta": 0.4}, 0.0),
    ],
)
def test_the_smallest_law_that_fits_describes_a_table(name, values, noise):
    """Coupled and Kaplan's law hold more than such tables need."""
    table = grid(name, values, noise=noise, inputs=design(6, 7))
    result = analyse(table, Options(laws=("additive", "multiplicative", "multiplicative_floor", "coupled"), draws=20))
    assert result.selected == name
    fits = {k: f.aicc for k, f in result.fitted.items()}
    assert fits[name] <= min(fits.values()) + 2


def test_a_law_without_an_aicc_still_counts():
    """Five rows leave the law with a floor none, but it fits far better: the straight line does not describe them."""
    n = np.geomspace(1e6, 1e9, 5)
    table = make_table(1.7 + 40 * n**-0.35 * np.exp(0.002 * np.array([1, -1, 1, -1, 1])), {"N": n})
    result = analyse(table, Options(draws=40))
    assert np.isnan(result.fitted["power_N_floor"].aicc)
    assert result.selected == "power_N_floor"


@pytest.mark.parametrize(("name", "nested"), [pair for pair in EMBEDDINGS if len(get_law(pair[0]).inputs) == 2])
def test_a_law_fits_no_worse_than_those_it_holds(name, nested):
    """On tables that obey the nested law."""
    values = {p.name: v for p, v in zip(get_law(nested).parameters, TRUTHS[nested], strict=True)}
    table = grid(nested, values, noise=0.02)
    logs = table.logs(("N", "D"))
    big, small = (fit_law(get_law(k), logs, table.y, Settings(delta=0.05)).objective for k in (name, nested))
    assert big <= small * (1 + 1e-6)


def test_the_least_cost_of_a_scale_is_found():
    """Of normal residuals inside Huber's threshold: s^2 = mean r^2 / (1 + slack), by a fine grid."""
    rng = np.random.default_rng(0)
    r = 0.02 * rng.standard_normal((3, 40))
    scales = np.geomspace(1e-3, 1, 20001)
    for row in r:
        cost = len(row) * np.log(scales * NORMALISER) + huber(row / scales[:, None], EFFICIENT).sum(axis=1)
        assert aicc(row, 3) == pytest.approx(2 * cost.min() + 2 * 4 + 2 * 4 * 5 / (40 - 5), abs=1e-5)
