"""Expected gain against simulated searches, noise and importances with known answers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from optuna.distributions import FloatDistribution

from mnist_scaling.study.columns import COMPLETE
from mnist_scaling.tuning.cell import certificate
from mnist_scaling.tuning.cell.trial import Trial

SPACE = {"x": FloatDistribution(-1, 1), "y": FloatDistribution(-1, 1)}


def search(rng: np.random.Generator, n: int, dimensions: int) -> np.ndarray:
    """Losses of n uniform draws in a bowl."""
    return 0.05 * np.exp((rng.uniform(-1, 1, (n, dimensions)) ** 2).sum(axis=1))


@pytest.mark.parametrize("dimensions", [1, 2, 3])
@pytest.mark.parametrize("n", [8, 16])
def test_the_expected_gain_is_what_ten_more_trials_gain_on_average(dimensions: int, n: int) -> None:
    rng = np.random.default_rng(0)
    runs = [search(rng, n + certificate.MORE, dimensions) for _ in range(300)]
    expected = np.mean([certificate.expected_gain(y[:n]) or 0.0 for y in runs])
    gained = np.mean([np.log(y[:n].min() / y.min()) for y in runs])
    assert 0.5 < expected / gained < 2  # over a range of 0.003 to 0.14


def test_trials_that_were_stopped_count_as_beaten() -> None:
    y = np.sort(search(np.random.default_rng(1), 16, 2))
    whole, part = certificate.expected_gain(y), certificate.expected_gain(y[:8], beaten=8)
    assert whole is not None
    assert part == pytest.approx(whole, rel=0.5)


@pytest.mark.parametrize(("known", "beaten"), [([0.1] * 5, 0), ([0.1], 9), ([], 20)])
def test_too_few_trials_say_nothing(known: list[float], beaten: int) -> None:
    assert certificate.expected_gain(known, beaten) is None


def test_equal_losses_promise_nothing() -> None:
    assert certificate.expected_gain([0.1] * 10) == pytest.approx(0, abs=1e-12)


def test_noise_is_averaged_by_degrees_of_freedom() -> None:
    own = [math.exp(-0.1), 1.0, math.exp(0.1)]  # standard deviation .1, two degrees of freedom
    assert certificate.noise(own, None) == pytest.approx(0.1)
    assert certificate.noise([], 0.2) == 0.2
    assert certificate.noise(own, 0.2) == pytest.approx(math.sqrt((0.01 + 0.04) / 2))
    assert certificate.noise([1.0], None) is None
    assert certificate.pooled_noise([own, [2.0], [1.0, 1.0, 1.0]]) == pytest.approx(math.sqrt(0.01 / 2))
    assert certificate.pooled_noise([[1.0]]) is None


def test_importances_find_what_matters() -> None:
    rng = np.random.default_rng(0)
    trials = []
    for _ in range(40):
        x, y = rng.uniform(-1, 1, 2)
        trials.append(Trial(0, {"x": x, "y": y}, SPACE, state=COMPLETE, value=1 + x**2 + 0.05 * y**2))
    found = certificate.importances(SPACE, trials)
    assert sum(found.values()) == pytest.approx(1)
    assert found["x"] > 0.7
    assert certificate.importances(SPACE, trials) == found
    assert certificate.importances(SPACE, trials[:5]) == {}


def test_importances_take_a_range_that_was_widened() -> None:
    rng = np.random.default_rng(0)
    wide = {**SPACE, "x": FloatDistribution(-2, 2)}
    trials = [
        Trial(0, {"x": x, "y": y}, space, state=COMPLETE, value=1 + x**2)
        for space in (SPACE, wide)
        for x, y in rng.uniform(-1, 1, (10, 2))
    ]
    assert certificate.importances(wide, trials)["x"] > 0.8


def test_steps_that_do_not_fall_are_taken_to_fall_from_the_last_one_on() -> None:
    """One of six is better: each step is log(2) / 6, and the k-th of the next is 6 / k of that."""
    gain = certificate.expected_gain([1, 1, 1, 1, 1, 0.5], more=3)
    assert gain == pytest.approx(math.log(2) * (1 / 6 + 1 / 7 + 1 / 8))
