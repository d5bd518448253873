"""The same exponents under other conventions, laws, deltas and rows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mnist_scaling.fitting import Options, analyse, fit_law, get_law
from mnist_scaling.fitting.sensitivity import sensitivity
from mnist_scaling.fitting.uncertainty.noise import seed_noise

from .tables import grid


@pytest.fixture(scope="module")
def result():
    table = grid(noise=0.03)
    loss = table.loss.copy()
    loss[12] *= 1.5
    conventions = {
        "N": {"square": table.inputs["N"] ** 2},
        "C": {"squared data": table.inputs["C"] * table.inputs["D"]},
    }
    table = replace(table, loss=loss, conventions=conventions)
    return analyse(table, Options(laws=("additive", "kaplan"), draws=100, classes=10))


def by_setting(result, group):
    return {v.setting: v for v in sensitivity(result) if v.group == group}


def test_base_is_the_analysis_itself(result):
    name = result.selected
    base = by_setting(result, "base")["as fitted"]
    assert base.law == name
    for key, value in result.fitted[name].fit.values.items():
        if key in base.exponents:
            assert base.exponents[key] == pytest.approx(value)


def test_squared_sizes_halve_the_exponent(result):
    base = by_setting(result, "base")["as fitted"].exponents
    other = by_setting(result, "N")["square"].exponents
    key = "alpha" if "alpha" in base else "alpha_N"
    assert other[key] == pytest.approx(base[key] / 2, rel=1e-3)
    assert other["N* hull"] == pytest.approx(2 * base["N* hull"])


def test_other_flops_move_the_frontier_only(result):
    base = by_setting(result, "base")["as fitted"].exponents
    other = by_setting(result, "C")["squared data"].exponents
    assert other["N* parametric"] != pytest.approx(base["N* parametric"], rel=0.05)
    assert {k: v for k, v in other.items() if "N*" not in k} == {k: v for k, v in base.items() if "N*" not in k}


def test_every_law_and_delta_has_its_row(result):
    assert {v.law for v in by_setting(result, "law").values()} | {result.selected} == {
        "additive",
        "kaplan",
    }
    assert set(by_setting(result, "delta")) == {"0.001", "0.01", "0.1"}
    assert set(by_setting(result, "loss")) == {"squared", "absolute"}


def test_without_the_outlier_is_a_fit_without_its_row(result):
    (label,) = [k for k in by_setting(result, "rows") if "row 12 " in k]
    law = get_law(result.selected)
    kept = result.table.take(result.table.rows != 12)
    fit = fit_law(law, kept.logs(law.inputs), kept.y, seeds=seed_noise(kept))
    found = by_setting(result, "rows")[label].exponents
    for key in found.keys() & fit.values.keys():
        assert found[key] == pytest.approx(fit.values[key], rel=1e-6)
