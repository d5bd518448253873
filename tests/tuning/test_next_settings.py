"""What a cell tries next, as a function of its trials: the sampler's seeds, rounds, ranges and transferred settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from omegaconf import DictConfig, OmegaConf

from mnist_scaling.study.columns import COMPLETE, CONTROL, PRUNED, SAMPLER, TRANSFER
from mnist_scaling.tuning.cell.composition import Cell
from mnist_scaling.tuning.cell.next_settings import Effort, next_trials
from mnist_scaling.tuning.cell.trial import Trial

from . import helpers
from .helpers import make_cells

pytestmark = pytest.mark.slow


def one_cell(*more: str) -> Cell:
    (cell,) = make_cells("model.width=8", "optim.batch_size=32", *more)
    return cell


def ended(trial: Trial) -> Trial:
    return replace(trial, state=COMPLETE, value=float(trial.params["optim.lr"]))


def tuned(
    cell: Cell,
    n: int,
    together: int = 1,
    sampler: DictConfig = helpers.SAMPLER,
    neighbours: Sequence[Sequence[Trial]] = (),
    lost: int | None = None,
) -> list[Trial]:
    """The trials of a cell, of which one may have been lost on the way and asked for again."""
    effort, done = Effort(n, 0, together), list[Trial]()
    while found := next_trials(cell, done, neighbours, effort, sampler):
        again = [trial for trial in found if trial.index == lost]
        done = sorted([*done, *(ended(t) for t in found if t not in again)], key=lambda trial: trial.index)
        lost = None if again else lost
    return done


def test_every_place_has_a_draw_of_its_own() -> None:
    random = OmegaConf.create({"_target_": "optuna.samplers.RandomSampler"})
    assert len({trial.params["optim.lr"] for trial in tuned(one_cell(), 5, sampler=random)}) == 5


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_a_quasi_random_sequence_stays_one_sequence() -> None:
    qmc = OmegaConf.create({"_target_": "optuna.samplers.QMCSampler", "scramble": True})
    (cell,) = make_cells("optim.batch_size=32")
    lows = [trial.params["model.dropout"] < 0.15 for trial in tuned(cell, 9, sampler=qmc)[1:]]
    assert sum(lows) == 4  # a scrambled Sobol sequence puts half of every 2^k points in each half


def test_a_carried_value_beyond_a_range_makes_room_for_itself() -> None:
    cell = one_cell()
    setting = {"optim.lr": 0.2, "model.dropout": 0.1}
    theirs = [Trial(0, setting, cell.space, state=COMPLETE, value=0.5)]
    found = tuned(cell, 3, neighbours=[theirs])
    assert next((trial.origin, dict(trial.params)) for trial in found) == (TRANSFER, setting)
    assert [trial.origin for trial in found] == [TRANSFER, CONTROL, SAMPLER]
    assert {trial.ranges["optim.lr"].high for trial in found} == {0.2}  # type: ignore[attr-defined]


@pytest.mark.parametrize("target", ["RandomSampler", "TPESampler", "QMCSampler", "GPSampler"])
@pytest.mark.parametrize("together", [1, 2, 3])
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_a_lost_trial_is_asked_for_again_and_changes_no_other(target: str, together: int) -> None:
    if target == "GPSampler" and together != 2:
        pytest.skip("it is slow, and nothing in it depends on this")
    sampler = OmegaConf.create({"_target_": f"optuna.samplers.{target}"})
    expected = tuned(one_cell(), 6, together, sampler)
    for lost in range(6):
        assert tuned(one_cell(), 6, together, sampler, lost=lost) == expected
        others = [trial for trial in expected if trial.index != lost]
        (again,) = next_trials(one_cell(), others, (), Effort(6, 0, together), sampler)
        assert ended(again) == expected[lost]


def test_trials_of_a_round_do_not_learn_from_each_other() -> None:
    cell, effort = one_cell(), Effort(8, 0, 2)
    done = tuned(cell, 4, 2)
    first, second = next_trials(cell, done, (), effort, helpers.SAMPLER)
    for outcome in (replace(first, state=PRUNED), ended(first), replace(ended(first), value=9.0)):
        assert next_trials(cell, [*done, outcome], (), effort, helpers.SAMPLER) == [second]


def test_a_sampler_learns_from_its_neighbours_trials() -> None:
    """With twenty of them that say lr = 0.02, the first draws of a TPE lie nearer to it than without."""
    rng = np.random.default_rng(0)
    distances: dict[bool, list[float]] = {True: [], False: []}
    for seed in range(12):
        cell, theirs = one_cell(f"seed={seed}"), []
        for index in range(20):
            lr, dropout = float(np.exp(rng.uniform(np.log(1e-3), np.log(5e-2)))), float(rng.uniform(0, 0.3))
            params, loss = {"optim.lr": lr, "model.dropout": dropout}, 0.1 + abs(np.log(lr / 0.02))
            theirs.append(Trial(index, params, cell.space, state=COMPLETE, value=loss))
        own = [replace(theirs[0], value=1.0), replace(theirs[1], value=1.0)]
        for told in (True, False):
            neighbours = [theirs] if told else []
            (trial,) = next_trials(cell, own, neighbours, Effort(3, 0), helpers.SAMPLER)
            distances[told].append(abs(np.log(trial.params["optim.lr"] / 0.02)))
    assert np.mean(distances[True]) < 0.7 * np.mean(distances[False])


def test_a_raised_number_of_trials_leaves_what_was_widened() -> None:
    """The ranges of a record tell what was widened, also where the present effort would have widened later."""
    (cell,) = make_cells("optim.lr=tag(log,interval(0.05,0.5))", "optim.batch_size=32")
    done = list[Trial]()
    while found := next_trials(cell, done, (), Effort(6, 0, 2, widen=True), helpers.SAMPLER):
        done += map(ended, found)
    assert [trial.ranges["optim.lr"].low for trial in done] == pytest.approx([0.05] * 4 + [0.005] * 2)  # type: ignore[attr-defined]
    more = Effort(20, 0, 2, widen=True)
    assert {t.ranges["optim.lr"].low for t in next_trials(cell, done, (), more, helpers.SAMPLER)} == {0.005}  # type: ignore[attr-defined]
    (again,) = next_trials(cell, [*done[:4], done[5]], (), more, helpers.SAMPLER)
    assert ended(again) == done[4]


def test_a_range_that_has_grown_holds_for_trials_to_come() -> None:
    """What was tried in the older range is asked for again as it was, when it is lost."""
    narrow, wide = (one_cell(f"optim.lr=tag(log,interval(1e-3,{high}))") for high in ("1e-2", "1"))
    done = tuned(narrow, 5, together=2)
    more = [*done]
    while found := next_trials(wide, more, (), Effort(8, 0, 2), helpers.SAMPLER):
        more += map(ended, found)
    assert [trial.ranges["optim.lr"].high for trial in more] == [1e-2] * 6 + [1] * 2  # type: ignore[attr-defined]
    for index in range(8):
        others = [trial for trial in more if trial.index != index]
        (again,) = next_trials(wide, others, (), Effort(8, 0, 2), helpers.SAMPLER)
        assert ended(again) == more[index]
