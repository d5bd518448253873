"""AICc, hold-out, rolling origin and the choice among laws."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from mnist_scaling.fitting import Options, Settings, analyse, fit_law, get_law
from mnist_scaling.fitting.estimation.problem import EFFICIENT, huber
from mnist_scaling.fitting.laws import ALL
from mnist_scaling.fitting.selection.choice import Again, Candidate, choose
from mnist_scaling.fitting.selection.criteria import aicc, aicc_of_each, hold_out, rolling_origin
from mnist_scaling.fitting.uncertainty.interval import Interval

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


def test_rolling_origin_predicts_the_upper_half_once():
    table = grid(noise=0.02)
    law, logs = get_law("multiplicative"), table.logs(("N", "D"))
    found = rolling_origin(fit_law(law, logs, table.y), np.log(table.inputs["C"]))
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


def candidate(name, aicc_, holdout=0.1, slope=(0.3, 0.4), misfit=1.0):
    return Candidate(get_law(name), aicc_, holdout, {"N": Interval(sum(slope) / 2, *slope)}, misfit)


def test_the_law_that_holds_all_others_is_selected_when_none_of_them_is_rejected():
    """The additive law fits best, but the data do not reject a coupled one: naming the additive might be wrong."""
    found = choose([candidate("additive", 0), candidate("coupled", 3), candidate("multiplicative", 30)])
    assert found.selected == "coupled"
    assert found.simplest == "additive"
    assert list(found.weights) == ["additive", "coupled"]
    assert found.weights["coupled"] / found.weights["additive"] == pytest.approx(np.exp(-3 / 2 / 1.5))


def test_a_law_alone_in_the_running_is_selected():
    found = choose([candidate("additive", 0), candidate("coupled", 8.1)])
    assert found.selected == "additive"
    assert found.reason == "the only law that the data do not reject"


def test_laws_that_say_the_same_need_not_be_told_apart():
    same = (0.345, 0.355)
    found = choose([candidate("additive", 0, slope=same), candidate("coupled", 3, slope=(0.335, 0.365))])
    assert found.selected == "additive"
    assert choose([candidate("additive", 0, slope=same), candidate("coupled", 3, slope=(0.31, 0.37))]).selected == (
        "coupled"
    )


def test_nothing_is_settled_between_laws_that_no_law_holds():
    found = choose([candidate("additive", 0), candidate("multiplicative", 3)])
    assert (found.selected, found.disagree) == (None, True)
    assert found.reason == "not settled between additive and multiplicative"


def test_no_choice_when_another_law_predicts_far_better():
    found = choose([candidate("additive", 0, 0.5), candidate("multiplicative", 20, 0.1)])
    assert (found.selected, found.disagree) == (None, True)
    assert "AICc prefers additive (hold-out error 0.5), hold-out prefers multiplicative (0.1" in found.reason
    assert choose([candidate("additive", 0, 0.2), candidate("multiplicative", 20, 0.1)]).selected == "additive"


def test_no_law_is_selected_where_a_surface_fits_better_or_repeats_say_that_none_fits():
    surface = choose([candidate("additive", 0), candidate("quadratic", -4.5)])
    assert surface.selected is None
    assert surface.reason.startswith("no law fits: a quadratic surface")
    assert "quadratic" in surface.weights
    assert choose([candidate("additive", 0), candidate("quadratic", -3.5)]).selected == "additive"
    misfit = choose([candidate("additive", 0, misfit=0.009)])
    assert (misfit.selected, misfit.reason[:11]) == (None, "no law fits")


def again(share):
    """Twenty redrawn tables, in `share` of which the multiplicative law is not rejected beside the additive."""
    coupled = np.where(np.arange(20) < 20 * share, 20.0, 3.0)
    return Again({"additive": 1.0}, {"additive": {"additive": np.zeros(20), "coupled": coupled}})


def test_a_choice_that_redrawn_tables_do_not_repeat_is_not_settled():
    laws = [candidate("additive", 0), candidate("coupled", 3)]
    assert choose(laws, again(0.45)).selected == "coupled"
    found = choose(laws, again(0.55))
    assert (found.selected, found.disagree) == (None, True)
    assert found.stability == pytest.approx(0.45)
    assert found.reason.endswith("comes out in 45 % of redrawn tables")


def test_choice_of_one_and_of_none():
    assert choose([candidate("additive", 0, np.nan)]).selected == "additive"
    assert choose([candidate("additive", np.nan, np.nan)]).selected is None
    assert choose([]).selected is None


@pytest.mark.parametrize("name", [law.name for law in ALL.values() if law.nests and len(law.inputs) == 2])
def test_a_law_fits_no_worse_than_those_it_nests(name):
    """On tables that obey the nested law."""
    law = get_law(name)
    for nested in law.nests:
        values = {p.name: v for p, v in zip(get_law(nested).parameters, TRUTHS[nested], strict=True)}
        table = grid(nested, values, noise=0.02)
        if "U" in law.inputs:
            table = replace(table, inputs={**table.inputs, "U": table.inputs["D"]})
        objectives = [fit_law(one, table.logs(one.inputs), table.y, Settings(delta=0.05)).objective
                      for one in (law, get_law(nested))]  # fmt: skip
        assert objectives[0] <= objectives[1] * (1 + 1e-6)


def test_the_least_cost_of_a_scale_is_found():
    """Of normal residuals inside Huber's threshold: s^2 = mean r^2 / (1 + slack), by a fine grid."""
    rng = np.random.default_rng(0)
    r = 0.02 * rng.standard_normal((3, 40))
    scales = np.geomspace(1e-3, 1, 20001)
    for row, found in zip(r, aicc_of_each(r, 3), strict=True):
        cost = len(row) * np.log(scales * NORMALISER) + huber(row / scales[:, None], EFFICIENT).sum(axis=1)
        assert found == pytest.approx(2 * cost.min() + 2 * 4 + 2 * 4 * 5 / (40 - 5), abs=1e-5)
