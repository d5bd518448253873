"""Runs are chosen as the closed form of a linear Gaussian posterior says; luck and noise change what is chosen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mnist_scaling.fitting.laws.base import Array
from mnist_scaling.planning.next_runs import CELL, REPEATS, TRIALS, choose, condition, factors, gains, moves_of
from mnist_scaling.planning.places import Effort, Places, luck_of, new_places
from tests.fitting.tables import grid

EFFORT = Effort(trials=8, repeats=2)
LINE = np.linspace(-1, 1, 5)


def places(seed: float = 0.03, luck: float = 0.1, run: int = 5, cost: Array | None = None) -> Places:
    """Places along a line, the first `run` of which were run with the usual effort."""
    done = np.arange(len(LINE)) < run
    of_run = np.ones(len(LINE)) if cost is None else cost
    everywhere = np.ones(len(LINE))
    return Places({"N": LINE}, 8.0 * done, 2.0 * done, of_run, of_run, seed * everywhere, luck * everywhere)


def line_draws(x: Array, number: int = 4000) -> tuple[Array, Array]:
    """Draws of a line a + b x with standard normal a and b, whitened so that sample covariances are exact; and b."""
    raw = np.random.default_rng(0).standard_normal((number, 2))
    raw -= raw.mean(axis=0)
    raw = raw @ np.linalg.inv(np.linalg.cholesky(np.cov(raw.T))).T
    return raw @ np.stack([np.ones_like(x), x]), raw[:, 1]


def test_a_gain_is_that_of_the_closed_form() -> None:
    draws, slope = line_draws(LINE)
    variance = np.array([0.5, 0.1, 1.0, 0.1, 0.5])
    expected = LINE**2 / (1 + LINE**2 + variance)
    assert gains(factors(draws), factors(slope[:, None]), variance) == pytest.approx(expected)


def test_conditioning_gives_the_posterior_of_a_regression() -> None:
    draws, slope = line_draws(LINE)
    f, t = factors(draws), factors(slope[:, None])
    design = np.stack([np.ones_like(LINE), LINE], axis=1)
    information = np.eye(2)
    for place, variance in ((4, 0.3), (0, 0.2), (4, 0.5)):
        f, t = condition(f, t, place, variance)
        information += np.outer(design[place], design[place]) / variance
    left = np.linalg.inv(information)
    assert f.T @ f == pytest.approx(design @ left @ design.T)
    assert (t.T @ t).item() == pytest.approx(left[1, 1])


def test_more_runs_of_a_cell_are_one_more_measurement() -> None:
    of = places()
    trials, repeats, variance, cost = moves_of(of, EFFORT)
    now, luck = of.variance(EFFORT.power)[0], (0.1 * 8.0**-EFFORT.power) ** 2
    assert now == pytest.approx(luck + 0.03**2 / 2)
    for kind in (1, 2):
        after = (0.1 * (8 + trials[kind, 0]) ** -EFFORT.power) ** 2 + 0.03**2 / (2 + repeats[kind, 0])
        assert 1 / (1 / now + 1 / variance[kind, 0]) == pytest.approx(after)
    assert np.isinf(variance[0]).all()
    assert cost[2, 0] == 2
    assert cost[1, 0] == pytest.approx(4 + 2 * 4 / 12)  # the repeats are run again where a new trial is best
    fresh = moves_of(places(run=0), EFFORT)
    assert np.isinf(fresh[2][1:]).all()
    assert fresh[2][0, 0] == pytest.approx(now)
    assert fresh[3][0, 0] == 10


@pytest.mark.parametrize(("seed", "luck", "kind"), [(0.1, 0.02, REPEATS), (0.01, 0.4, TRIALS)])
def test_the_cure_is_that_of_what_is_large(seed: float, luck: float, kind: str) -> None:
    draws, slope = line_draws(LINE)
    plan = choose(0.1 * draws, slope, places(seed, luck), EFFORT, budget=12.0)
    assert plan.moves[0].kind == kind
    assert sum(move.cost for move in plan.moves if move.kind == kind) > plan.cost / 2
    assert plan.cost <= 12


def test_new_cells_are_chosen_where_the_target_is_learnt() -> None:
    draws, slope = line_draws(LINE)
    plan = choose(draws, slope, places(run=0), EFFORT, budget=20.0)
    assert [(move.kind, LINE[move.place]) for move in plan.moves] in ([(CELL, 1), (CELL, -1)], [(CELL, -1), (CELL, 1)])
    assert plan.left == pytest.approx(1 - sum(move.gain for move in plan.moves))


def test_a_dear_place_gives_way_to_cheap_ones() -> None:
    draws, slope = line_draws(LINE)
    dear = places(run=0, cost=np.array([1.0, 1.0, 1.0, 1.0, 100.0]))
    assert all(move.place != 4 for move in choose(draws, slope, dear, EFFORT, budget=900.0).moves)
    assert choose(draws, slope, dear, EFFORT, budget=5.0).moves == ()


def test_what_is_not_correlated_is_not_bought() -> None:
    draws, _ = line_draws(LINE)
    unrelated = np.random.default_rng(1).standard_normal(len(draws))
    assert choose(draws, unrelated, places(run=0), EFFORT, budget=1e6).moves == ()


def test_luck_gives_back_the_gain_that_it_was_found_from() -> None:
    trials = np.array([6.0, 12.0, 12.0])
    luck = luck_of(np.array([0.05, 0.01, np.nan]), trials, EFFORT.power)
    left = [luck * (trials + more) ** -EFFORT.power for more in (0, 10)]
    assert left[0] - left[1] == pytest.approx([0.05, 0.01, luck[2] * (12**-EFFORT.power - 22**-EFFORT.power)])
    assert luck_of(np.array([np.nan]), trials[:1], EFFORT.power) == 0


def test_new_places_are_new_and_within_what_can_be_run() -> None:
    table = grid()
    most = {"D": float(table.inputs["D"].max())}
    found = new_places(table, ("N", "D"), {}, most)
    there = np.log(np.stack([table.inputs[k] for k in "ND"]))
    gap = np.abs(np.stack([found[k] for k in "ND"])[:, :, None] - there[:, None]).max(axis=0)
    assert gap.min() > 0.05
    assert np.exp(found["D"]).max() == pytest.approx(most["D"])
    assert np.exp(found["N"]).max() > table.inputs["N"].max()
    missing = new_places(table.take(np.arange(len(table)) != 7), ("N", "D"), {}, most)
    assert len(missing["N"]) == len(found["N"]) + 1


def test_places_join() -> None:
    whole = places().join(replace(places(run=0), logs={"N": LINE + 5}))
    assert len(whole) == 10
    assert whole.logs["N"][5:] == pytest.approx(LINE + 5)
    assert np.isinf(whole.variance(EFFORT.power)[5:]).all()
