"""AICc, hold-out, rolling origin and the choice among laws."""

from __future__ import annotations

import numpy as np
import pytest

from mnist_scaling.fitting import Options, Settings, analyse, fit_law, get_law
from mnist_scaling.fitting.choice import Candidate, aicc, choose, hold_out, rolling_origin
from mnist_scaling.fitting.interval import Interval

from .tables import ADDITIVE, design, grid


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
    found = hold_out(fit, logs, table.y, np.log(table.inputs["C"]))
    assert found.n == 6
    assert table.inputs["C"][found.rows].min() > np.delete(table.inputs["C"], found.rows).max()
    seen = np.setdiff1d(np.arange(len(table)), found.rows)
    again = fit_law(law, {k: v[seen] for k, v in logs.items()}, table.y[seen], Settings(delta=fit.delta.value))
    error = table.y[found.rows] - again.log_predict({k: v[found.rows] for k, v in logs.items()})
    assert found.rmse_log == pytest.approx(np.sqrt(np.mean(error**2)), rel=1e-4)


def test_rolling_origin_predicts_the_upper_half_once():
    table = grid(noise=0.02)
    law, logs = get_law("multiplicative"), table.logs(("N", "D"))
    found = rolling_origin(fit_law(law, logs, table.y), logs, table.y, np.log(table.inputs["C"]))
    assert found.n == len(table) - len(table) // 2
    assert len(set(found.rows.tolist())) == found.n


def test_the_right_law_is_selected():
    for name, values in {"additive": ADDITIVE, "multiplicative": {"A": 40.0, "alpha": 0.2, "beta": 0.4}}.items():
        table = grid(name, values, noise=0.01, inputs=design(6, 7))
        result = analyse(table, Options(laws=("additive", "multiplicative"), draws=100))
        assert result.choice.selected == name


def test_without_noise_the_simplest_exact_law_is_selected():
    """Coupled and Kaplan's law hold more than an exact table needs."""
    result = analyse(grid("multiplicative", {"A": 40.0, "alpha": 0.2, "beta": 0.4}), Options(draws=50))
    assert result.choice.selected == "multiplicative"


def law(name, aicc_, holdout, slope=(0.3, 0.4)):
    return Candidate(name, 3, aicc_, holdout, {"slope": Interval(sum(slope) / 2, *slope)})


def test_choice_when_both_agree():
    assert choose([law("a", 0, 0.1), law("b", 20, 0.5)]).selected == "a"


def test_no_choice_when_aicc_and_holdout_disagree():
    found = choose([law("a", 0, 0.5), law("b", 20, 0.1)])
    assert (found.selected, found.disagree) == (None, True)
    assert "AICc prefers a" in found.reason
    assert "hold-out prefers b" in found.reason


def test_no_choice_when_tied_laws_contradict_each_other():
    found = choose([law("a", 0, 0.1), law("b", 1, 0.1, (0.5, 0.6))])
    assert (found.selected, found.disagree) == (None, True)
    assert "0.350 [0.300, 0.400]" in found.reason


def test_a_law_out_of_the_running_may_differ():
    assert choose([law("a", 0, 0.1), law("b", 30, 0.1, (0.5, 0.6))]).selected == "a"


def test_choice_of_one_and_of_none():
    assert choose([law("a", 0, np.nan)]).selected == "a"
    assert choose([law("a", np.nan, np.nan)]).selected is None
    assert choose([]).selected is None
