"""Runs are chosen as the closed form of a linear Gaussian posterior says; luck and noise change what is chosen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mnist_scaling.config.fit_schema import BootstrapConfig, FitConfig
from mnist_scaling.errors import InputError
from mnist_scaling.fitting.laws.base import Array
from mnist_scaling.plan import _counts
from mnist_scaling.planning.checks import REPEATS, TRIALS
from mnist_scaling.planning.measurements import CellEffort, Places, beyond, luck_of, new_cells
from mnist_scaling.planning.next_runs import (
    CELL,
    choose,
    condition,
    factors,
    gains,
    moves_of,
    next_runs,
)
from mnist_scaling.planning.studied import Studied, studied

EFFORT = CellEffort(trials=8, repeats=2)
LINE = np.linspace(-1, 1, 5)


@pytest.fixture(scope="module")
def of(study: Path) -> Studied:
    of = studied(FitConfig(name=str(study), bootstrap=BootstrapConfig(draws=400), laws="additive"))
    return replace(of, counts=_counts)  # a study of our own program


def places(seed: float = 0.03, luck: float = 0.1, run: int = 5, cost: Array | None = None) -> Places:
    """Places along a line, the first `run` of which were run with the usual effort."""
    done = np.where(np.arange(len(LINE)) < run, 1.0, 0.0)
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


def test_new_cells_of_a_study_are_new(of: Studied) -> None:
    found = new_cells(of)
    known = set(zip(of.cells["width"], of.cells["data_fraction"], strict=True))
    offered = {(cell.axes["width"], cell.axes["data_fraction"]) for cell in found}
    assert len(offered) == len(found) == 5 * 4 - 16
    assert not known & offered
    assert max(share for _, share in offered) == 1, "there are no more data"
    assert max(width for width, _ in offered) == 2 * of.cells["width"].max()


def test_levels_go_one_step_beyond_the_largest() -> None:
    assert beyond(np.array([2.0, 4.0, 4.0, 16.0])) == pytest.approx([2, 4, 16, 64])
    assert len(beyond(np.geomspace(1, 9, 50))) == 13
    assert 1 / 64 in beyond(np.array([1 / 64, 1 / 16]))


def test_next_runs_of_a_study_keep_to_the_budget_and_grow_its_cells(of: Studied) -> None:
    spent = float((of.costs["flops"] * of.costs["runs"]).sum())
    found = next_runs(of, "loss", 0.5 * spent, "flops")
    assert 0 < found.choice.cost <= 0.5 * spent
    assert found.choice.left < 0.9
    assert found.choice.left == pytest.approx(1 - sum(move.gain for move in found.choice.moves))
    assert found == replace(next_runs(of, "loss", 0.5 * spent, "flops"), target=found.target)
    with pytest.raises(InputError, match="`target` must be one of"):
        next_runs(of, "gamma", spent, "flops")


def test_the_replay_of_a_table_buys_no_second_run_of_a_row() -> None:
    import planning as benchmark

    rng = np.random.default_rng(0)
    f = rng.standard_normal((6, 10))
    posterior = benchmark.Mixture(np.zeros(1), f, f.sum(axis=1, keepdims=True), noise=3.0)
    run, ones = np.where(np.arange(10) < 3, 1.0, 0.0), np.ones(10)
    rows = benchmark.bought(posterior, Places({}, 0 * ones, run, 0 * ones, ones, 3 * ones, 0 * ones), budget=7.0)
    assert sorted(rows) == [3, 4, 5, 6, 7, 8, 9]


def test_places_join() -> None:
    whole = places().join(replace(places(run=0), logs={"N": LINE + 5}))
    assert len(whole) == 10
    assert whole.logs["N"][5:] == pytest.approx(LINE + 5)
    assert np.isinf(whole.variance(EFFORT.power)[5:]).all()
