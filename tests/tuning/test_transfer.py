"""Who waits for whom, what is carried over, and that it does not depend on who finishes first."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from mnist_scaling.study.columns import COMPLETE, DIVERGED, FAILED, INDEPENDENT, NEIGHBOURS, PRUNED
from mnist_scaling.study.tables.csv_table import read_table
from mnist_scaling.tuning.cell import trial
from mnist_scaling.tuning.cell.trial import DIVERGED_VALUE, Trial
from mnist_scaling.tuning.sweep import next_jobs
from mnist_scaling.tuning.workers.job import Job

from .helpers import InProcess, Study, make_cells

pytestmark = pytest.mark.slow

GRID = ("model.width=4,8,16", "data.fraction=1,0.5")


def setting(lr: float) -> dict[str, float]:
    return {"optim.lr": lr, "optim.batch_size": 16, "model.dropout": 0.1}


def test_a_cell_waits_for_the_next_cheaper_one_along_each_axis() -> None:
    found = next_jobs.parents(make_cells(*GRID), NEIGHBOURS)
    names = {name: [cell.name for cell in cells] for name, cells in found.items()}
    assert names["width=4 data_fraction=0.5"] == []
    assert names["width=16 data_fraction=0.5"] == ["width=8 data_fraction=0.5"]
    assert sorted(names["width=16 data_fraction=1"]) == ["width=16 data_fraction=0.5", "width=8 data_fraction=1"]


def test_words_are_no_order_to_wait_in() -> None:
    found = next_jobs.parents(make_cells("optim=adam,sgd", "data.fraction=1,0.5"), NEIGHBOURS)
    names = {name: [cell.name for cell in cells] for name, cells in found.items()}
    assert sorted(map(len, names.values())) == [0, 0, 1, 1]
    assert all(name.split()[1] == parents[0].split()[1] for name, parents in names.items() if parents)


def test_independent_cells_wait_for_nobody() -> None:
    assert not any(next_jobs.parents(make_cells(*GRID), INDEPENDENT).values())


def selecting(params: dict[str, float]) -> list[Trial]:
    return [Trial(0, params, {}, state=COMPLETE, value=0.5)]


def test_a_setting_is_carried_as_it_is() -> None:
    (eight,) = make_cells("model.width=8")
    assert trial.carried_settings(eight, [selecting(setting(1e-2))]) == [setting(1e-2)]


def test_twins_are_left_out_and_other_spaces_not_carried() -> None:
    (eight,) = make_cells("model.width=8")
    assert len(trial.carried_settings(eight, [selecting(setting(1e-2)), selecting(setting(1e-2))])) == 1
    assert trial.carried_settings(eight, [selecting({"optim.lr": 1e-2})]) == []
    assert trial.carried_settings(eight, [[]]) == []


def test_a_neighbours_trials_are_shifted_to_where_the_carried_setting_lies() -> None:
    (eight,) = make_cells("model.width=8")
    outcomes = [(1e-2, COMPLETE, 0.2), (2e-2, COMPLETE, 0.3), (4e-2, PRUNED, None), (1e-3, DIVERGED, DIVERGED_VALUE)]
    outcomes.append((5e-3, FAILED, None))
    theirs = [Trial(i, setting(lr), eight.space, "", *of) for i, (lr, *of) in enumerate(outcomes)]
    own = [Trial(0, setting(1e-2), eight.space, state=COMPLETE, value=0.1)]
    shifted = trial.shifted_trials(eight.space, own, theirs)
    assert [t.value for t in shifted] == pytest.approx([0.1, 0.15, None, 50.0])
    assert [t.params["optim.lr"] for t in shifted] == pytest.approx([1e-2, 2e-2, 4e-2, 1e-3])
    assert trial.shifted_trials(eight.space, [], theirs) == []


def trials(folder: Path) -> pd.DataFrame:
    return read_table(folder / "trials.csv")


def test_a_cell_starts_from_what_its_neighbours_selected(tmp_path: Path) -> None:
    launch = InProcess()
    Study(tmp_path, launch, *GRID, n_trials=5, rule=NEIGHBOURS).run()
    table, cells = trials(tmp_path), read_table(tmp_path / "cells.csv")
    assert cells["n_trials"].tolist() == [5] * 6
    found = table[table["stage"] == "trial"].groupby(["width", "data_fraction"])["origin"].agg(list)
    assert found[4, 0.5] == ["control"] + ["sampler"] * 4
    assert found[16, 0.5] == ["transfer", "control"] + ["sampler"] * 3
    assert found[8, 1.0][:3] in (["transfer", "transfer", "control"], ["transfer", "control", "sampler"])
    of = cells.set_index(["width", "data_fraction"])["lr"]
    first = table.query("stage == 'trial' and width == 16 and data_fraction == 0.5 and number == 0")
    assert first["lr"].tolist() == [of[8, 0.5]]
    assert table.loc[table["stage"] == "repeat", "origin"].isna().all()


def test_a_cell_that_goes_on_does_not_begin_again(tmp_path: Path) -> None:
    """By then its neighbours select other settings, of which it would carry more."""
    for n_trials in (2, 5):
        Study(tmp_path, InProcess(), *GRID, n_trials=n_trials, rule=NEIGHBOURS).run()
    origins = trials(tmp_path).query("stage == 'trial'").groupby(["width", "data_fraction"])["origin"].agg(list)
    assert all(cell[2:] == ["sampler"] * 3 for cell in origins)


def test_an_interrupted_study_with_transfer_ends_at_the_same_numbers(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    Study(whole, InProcess(), *GRID, n_trials=4, rule=NEIGHBOURS, widen=True).run()

    class Killed(BaseException):
        pass

    for at in (1, 6, 11, 17, 24):
        parts, started = tmp_path / str(at), []

        def die(run: Job, started: list[Job] = started, at: int = at) -> None:
            started.append(run)
            if len(started) == at:
                raise Killed

        with pytest.raises(Killed):
            launch = InProcess(before=die)
            Study(parts, launch, *GRID, n_trials=4, rule=NEIGHBOURS, widen=True).run()
        Study(parts, InProcess(), *GRID, n_trials=4, rule=NEIGHBOURS, widen=True).run()
        pd.testing.assert_frame_equal(trials(parts).drop(columns="seconds"), trials(whole).drop(columns="seconds"))


def test_seeds_do_not_learn_from_each_other() -> None:
    found = next_jobs.parents(make_cells("seed=0,1", "data.fraction=1,0.5"), NEIGHBOURS)
    waits = {name: [parent.name for parent in parents] for name, parents in found.items()}
    assert waits["seed=1 data_fraction=1"] == ["seed=1 data_fraction=0.5"]
    assert waits["seed=1 data_fraction=0.5"] == []
