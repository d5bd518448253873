"""What benchmarks/coverage.py counts: true values by hand, and tallies of intervals whose truth is known."""

from __future__ import annotations

import coverage
import numpy as np
import pytest
from coverage_suite import BROKEN, Condition, log_loss, points

pytestmark = pytest.mark.slow

PRODUCT = Condition("multiplicative")


def test_true_values_are_those_of_the_formula() -> None:
    found, places = coverage.truth_of(PRODUCT)
    assert found["slope_N"] == pytest.approx(0.2995, abs=1e-6)
    assert found["middle_D"] == pytest.approx(0.4347, abs=1e-6)
    assert "N*" not in found  # the product law has no optimum
    at = places[0]
    assert found["loss x 2"] == pytest.approx(np.log(113) - 0.2995 * at["N"] - 0.4347 * at["D"])
    # A * alpha / kappa_N against B * beta / kappa_D: N* ~ C^(beta / (alpha * kappa_D + beta * kappa_N)).
    additive, _ = coverage.truth_of(Condition("additive"))
    assert additive["N*"] == pytest.approx(0.7306 / (1.148 + 0.7306 * 1.5335), rel=1e-2)
    n, d = (float(v.max()) for v in points("7x5"))
    model, data = 650 * n**-1.148, 72.9 * d**-0.7306
    assert additive["slope_N"] == pytest.approx(1.148 * model / (0.02 + model + data), rel=1e-5)


def test_a_broken_truth_bends() -> None:
    n, d = np.log(np.full(3, 5e3)), np.log(np.array([1e2, 1.01e2, 1e6]))
    low, near, _ = log_loss(BROKEN, n, d)
    assert (low - near) / np.log(1.01) == pytest.approx(0.6, abs=1e-3)


def test_a_table_is_counted_by_what_its_intervals_hold() -> None:
    record = coverage.one(PRODUCT, 0, 60)
    known = {"truth": "multiplicative", "grid": "7x5", "noise": 0.04, "what": "se"}
    assert known.items() <= record.items()
    ends = [[0.25, 0.3, 0.35], [0.31, 0.33, 0.35], None]
    records = [known | {"table": k, "intervals": {"slope_N": e} if e else {}} for k, e in enumerate(ends)]
    held, width, given = coverage.summary(records)["slope_N"]
    assert (held, given) == (0.5, pytest.approx(2 / 3))
    assert width == pytest.approx(0.07)
    assert "| all | 3 |" in coverage.page(records)
