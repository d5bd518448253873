"""A study that fits a time: its intervals are those of the linear model, and it becomes an experiment."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from mnist_scaling import new_study
from mnist_scaling.errors import InputError
from mnist_scaling.new_study import Offer, WholeGrid, best, intervals, offers

PACE = (10.0, 2.0, 24)


@pytest.fixture(scope="module")
def grid() -> WholeGrid:
    """9 sizes x 7 amounts of data; a run takes 0.02 to 5 seconds."""
    n, d = np.meshgrid(
        np.log(2000 * 2 ** (np.arange(9) / 2)), np.log(50_000 / 2.0 ** np.arange(7)[::-1]), indexing="ij"
    )
    seconds = 3e-9 * np.exp(n + d)
    return WholeGrid(n, d, seconds, 2 * seconds)


def work(grid: WholeGrid, offer: Offer) -> float:
    """Seconds of one core that the runs of an offer take."""
    at = np.ix_(offer.sizes, offer.amounts)
    return float(offer.trials * grid.trial[at].sum() + offer.repeats * grid.repeat[at].sum())


def test_an_interval_is_that_of_the_regression_on_the_cells(grid: WholeGrid) -> None:
    sizes, amounts, variance = (0, 2, 4), (1, 2), 0.004
    z = grid.waves[0][np.ix_(sizes, amounts)].reshape(6, -1)
    left = np.linalg.inv(np.eye(z.shape[1]) + z.T @ z / variance)
    found = intervals(grid, sizes, amounts, variance)
    for name, slope in zip(("alpha", "beta"), grid.waves[1:], strict=True):
        t = slope[-1, -1]
        assert found[name] == pytest.approx(3.92 * np.sqrt(t @ left @ t), rel=1e-6)


def test_more_cells_and_less_noise_say_more(grid: WholeGrid) -> None:
    few, many, quiet = (
        intervals(grid, sizes, amounts, variance)
        for sizes, amounts, variance in (
            ((2, 4), (2, 3), 0.004), ((0, 1, 2, 3, 4), (0, 1, 2, 3), 0.004), ((0, 1, 2, 3, 4), (0, 1, 2, 3), 0.001),
        )
    )  # fmt: skip
    for slope in ("alpha", "beta"):
        assert few[slope] > many[slope] > quiet[slope]


def test_no_offer_lets_n_and_d_move_together(grid: WholeGrid) -> None:
    found = offers(grid, 120.0)
    assert len(found) > 20
    for offer in found:
        at = np.ix_(offer.sizes, offer.amounts)
        assert min(len(offer.sizes), len(offer.amounts)) >= 2
        assert abs(np.corrcoef(grid.log_n[at].ravel(), grid.log_d[at].ravel())[0, 1]) < 1e-9
        assert work(grid, offer) <= 120


def test_the_best_offer_takes_the_time_and_says_more_with_more_of_it(grid: WholeGrid) -> None:
    short, long = (best(grid, minutes, 2, lambda offer: work(grid, offer) / 2) for minutes in (0.5, 10.0))
    assert 0.8 * 30 <= work(grid, short) / 2 <= 30
    assert 0.8 * 600 <= work(grid, long) / 2 <= 600
    assert long.cells > short.cells
    assert all(long.widths[slope] < short.widths[slope] for slope in ("alpha", "beta"))
    assert short.widths == offers(grid, 60.0)[0].widths


def test_an_offer_that_waits_for_a_chain_of_runs_gives_way_to_a_shorter_one(grid: WholeGrid) -> None:
    found = best(grid, 1.0, 2, lambda offer: work(grid, offer))
    assert 0.5 * 60 <= work(grid, found) <= 60


def test_too_little_time_is_refused_with_what_is_needed(grid: WholeGrid) -> None:
    with pytest.raises(InputError, match=r"`minutes` must hold three cells .* got 0.001: give minutes=0.1 or more"):
        best(grid, 0.001, 2, lambda offer: work(grid, offer) / 2)
    assert best(grid, 0.1, 2, lambda offer: work(grid, offer) / 2).cells >= 4


@pytest.mark.slow
def test_an_experiment_holds_the_study_that_was_chosen(tmp_path: Path) -> None:
    found = new_study.propose("ten", 10, 2, tmp_path, PACE)
    assert 0.8 * 600 <= found.seconds <= 600
    text = Path(found.path).read_text()
    assert text.startswith("# @package _global_\n")
    sweeper = yaml.safe_load(text)["hydra"]["sweeper"]
    assert (sweeper["n_trials"], sweeper["n_repeats"]) == (found.offer.trials, found.offer.repeats)
    assert [f"{key}={values}" for key, values in sweeper["params"].items()] == list(found.axes)
    sizes, amounts = (str(values).split(",") for values in sweeper["params"].values())
    assert min(len(sizes), len(amounts)) >= 2
    assert len(sizes) * len(amounts) == found.offer.cells
    assert found.command == "python -m mnist_scaling.train -m experiment=ten"
    with pytest.raises(InputError, match="`name` must be new, but there is an experiment"):
        new_study.propose("ten", 10, 2, tmp_path)
