"""What settles a comparison: how sure it is, and the least further runs, against arms whose truth is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from comparison_coverage import RunNoise, Truth, as_tuned, simulate

from mnist_scaling.fitting.comparing import Comparison, ComparisonOptions, compare
from mnist_scaling.fitting.comparing.multiplier import frontiers
from mnist_scaling.fitting.comparing.settle import Settling, _chance, settling
from mnist_scaling.fitting.laws import get_law
from mnist_scaling.reporting.documents.comparison_json import LuckRecord, Pair
from mnist_scaling.reporting.words.conclusion import settling_sentence

LAW = {"A": 60.0, "alpha": 0.3, "beta": 0.5}
N, D = (x.ravel() for x in np.meshgrid(1600 * 4.0 ** np.arange(4), 5000 * 2.0 ** np.arange(4), indexing="ij"))


def compared(apart: float, noise: RunNoise, tuned: bool = True) -> Comparison:
    truth = Truth(get_law("multiplicative"), LAW, LAW | {"A": LAW["A"] * np.exp(apart)})
    a, b = (as_tuned(arm, tuned) for arm in simulate(N, D, truth, noise, np.random.default_rng(1)))
    return compare(a, b, ComparisonOptions(draws=400, exponents=False))


@pytest.mark.parametrize(("apart", "better"), [(-0.2, 1.0), (0.2, 0.0)])
def test_arms_far_apart_are_settled(apart: float, better: float) -> None:
    found = settling(compared(apart, RunNoise(0.03, 0.5)), 12, 3, 3)
    assert found is not None
    assert found.settled
    assert found.p_better == pytest.approx(better, abs=0.02)


def test_the_cure_is_that_of_what_is_large() -> None:
    noise, luck = RunNoise(0.2, 0.0, repeats=3), RunNoise(0.005, 0.0, repeats=3, tuning=0.12, reach=(0.7, 0.3))
    noisy = settling(compared(0.02, noise, tuned=False), 1, 3, 0)
    lucky = settling(compared(0.02, luck), 12, 3, 3)
    assert noisy is not None
    assert lucky is not None
    assert noisy.trials == 1
    assert noisy.noise_share > 2 * lucky.noise_share
    assert lucky.trials > lucky.repeats


def test_arms_that_share_no_seed_have_factors_that_draws_do_not_move() -> None:
    """With three repeats d is Student's t of 2 degrees of freedom: it has quantiles, and no variance."""
    noise = RunNoise(0.04, 0.0, repeats=3, tuning=0.01, reach=(0.5, 0.2), across=0.5)
    cells = [x.ravel() for x in np.meshgrid(2000 * 2.0 ** np.arange(7), 3125 * 2.0 ** np.arange(5), indexing="ij")]
    arms = simulate(*cells, Truth(get_law("multiplicative"), LAW, LAW), noise, np.random.default_rng(0))
    options = [ComparisonOptions(draws=400, exponents=False, seed=seed) for seed in range(4)]
    known = [settling(compare(*arms, one), 12, 3, 3) for one in options]
    assert all(one is not None and one.apart for one in known)
    # Luck is what the draws of `compare` differ by from those without: so they must come of the same random numbers.
    found = compare(*arms, options[1])
    again = frontiers(found.surfaces, found.surfaces.noise.draw(400, np.random.default_rng(1))[0])
    assert found.frontiers is not None
    assert again is not None
    np.testing.assert_array_equal(again.draws, found.frontiers.draws)
    runs = [one.runs for one in known if one is not None]
    assert max(runs) < 2 * min(runs)
    # Three times the seeds lower the variance to a third, and the tails of their mean from t(2) to t(8).
    assert max(runs) < 6


def test_the_chance_is_the_share_of_later_estimates_that_settle() -> None:
    later = np.random.default_rng(0).normal(0.01, np.sqrt(0.02**2 - 0.01**2), 200_000)
    settled = (np.abs(later) >= 1.645 * 0.01) | (np.abs(later) + 1.96 * 0.01 <= 0.022)
    assert _chance(0.01, 0.02**2, 0.01**2, 0.95, 0.022) == pytest.approx(settled.mean(), abs=0.005)
    assert _chance(0.01, 0.02**2, 0.02**2, 0.95, 0.022) == 0
    assert _chance(0.0, 0.02**2, 0.001**2, 0.95, 0.03) == 1


def test_arms_without_a_common_loss_are_not_settled() -> None:
    found = compared(3.0, RunNoise(0.03, 0.5))
    assert not found.multipliers
    assert settling(found, 12, 3, 3) is None


def test_the_sentence_names_the_likely_arm_and_the_cure() -> None:
    pair = Pair(arms=[{"name": "adam"}, {"name": "sgd"}], tuning_luck=LuckRecord(0.02))
    open_ = Settling(3e10, 0.2, 0.3, 2.4, 2.0, 1.5)
    assert settling_sentence(replace(pair, settling=open_)).replace("\u00a0", " ") == (
        "At C = 3.0 × 10¹⁰ FLOPs adam has the lower loss with a probability of 0.80; 30 % of the variance is seeds' "
        "noise, the rest tuning luck. 2.0 times the trials and 1.5 times the repeats, 2.4 times the runs in all, "
        "should settle it in 4 of 5 cases."
    )
    assert settling_sentence(replace(pair, settling=replace(open_, runs=1.0, p_better=0.999))).replace(
        "\u00a0", " "
    ) == (
        "At C = 3.0 × 10¹⁰ FLOPs sgd has the lower loss with a probability of more than 0.98: no further run is needed."
    )
    assert "would not settle it" in settling_sentence(replace(pair, settling=replace(open_, runs=float("nan"))))
    assert settling_sentence(pair) == ""
    assert settling_sentence(replace(pair, settling=replace(open_, apart=True))).endswith(
        "The arms share no seed: one of them, run with the seeds of the other, is the cheaper cure, because what a "
        "seed gives to both cancels."
    )
