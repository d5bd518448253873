from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from mnist_scaling.fitting.uncertainty.least_squares import exponents


def test_exact_plane_is_recovered_without_width() -> None:
    n, d = (x.ravel() for x in np.meshgrid([1e3, 4e3, 2e4], [1e2, 1e3, 5e4]))
    alpha, beta = exponents(7 * n**-0.31 * d**-0.52, n, d)
    assert alpha.value == pytest.approx(0.31, abs=1e-12)
    assert beta.value == pytest.approx(0.52, abs=1e-12)
    assert alpha.high - alpha.low < 1e-10


def test_interval_is_that_of_linregress() -> None:
    rng = np.random.default_rng(0)
    x = np.geomspace(1e2, 1e5, 7)
    loss = 3 * x**-0.4 * np.exp(0.1 * rng.standard_normal(7))
    line = stats.linregress(np.log(x), np.log(loss))
    half = stats.t.ppf(0.975, 5) * line.stderr
    found = exponents(loss, x)[0]
    assert found.value == pytest.approx(-line.slope)
    assert found.low == pytest.approx(-line.slope - half)
    assert found.high == pytest.approx(-line.slope + half)


def test_two_points_have_a_slope_but_no_interval() -> None:
    found = exponents([4.0, 1.0], [1.0, 4.0])[0]
    assert found.value == pytest.approx(1.0)
    assert not found.bounded


@pytest.mark.parametrize(
    ("loss", "x"), [([1.0], [2.0]), ([1.0, 2.0, 3.0], [5.0, 5.0, 5.0]), ([1.0, np.nan, np.nan], [1.0, 2.0, 3.0])]
)
def test_no_slope_where_there_is_none(loss: list[float], x: list[float]) -> None:
    assert not exponents(loss, x)[0].known


def test_missing_losses_are_left_out() -> None:
    assert exponents([1.0, np.nan, 0.25, 0.125], [1, 2, 4, 8])[0].value == pytest.approx(1.0)
