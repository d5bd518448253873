"""Who waits for whom, what is carried over, and that it does not depend on who finishes first."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from mnist_scaling.config import RunConfig
from mnist_scaling.study.tables import trials_and_cells
from mnist_scaling.study.vocabulary import INDEPENDENT, NEIGHBOURS
from mnist_scaling.tuning.cell import transfer
from mnist_scaling.tuning.cell.transfer import Tuned

from .helpers import InProcess, make_cells, make_tuner

GRID = ("model.width=4,8,16", "data.fraction=1,0.5")


def setting(lr: float) -> dict[str, float]:
    return {"optim.lr": lr, "optim.batch_size": 16, "model.dropout": 0.1}


def test_a_cell_waits_for_the_next_cheaper_one_along_each_axis() -> None:
    found = transfer.parents(make_cells(*GRID), NEIGHBOURS)
    names = {name: [cell.name for cell in cells] for name, cells in found.items()}
    assert names["width=4 data_fraction=0.5"] == []
    assert names["width=16 data_fraction=0.5"] == ["width=8 data_fraction=0.5"]
    assert sorted(names["width=16 data_fraction=1"]) == ["width=16 data_fraction=0.5", "width=8 data_fraction=1"]


def test_words_are_no_order_to_wait_in() -> None:
    found = transfer.parents(make_cells("optim=adam,sgd", "data.fraction=1,0.5"), NEIGHBOURS)
    names = {name: [cell.name for cell in cells] for name, cells in found.items()}
    assert sorted(map(len, names.values())) == [0, 0, 1, 1]
    assert all(name.split()[1] == parents[0].split()[1] for name, parents in names.items() if parents)


def test_independent_cells_wait_for_nobody() -> None:
    assert not any(transfer.parents(make_cells(*GRID), INDEPENDENT).values())


def test_a_setting_is_carried_as_it_is() -> None:
    four, eight = make_cells("model.width=4,8")
    assert transfer.settings(eight, [Tuned(four, setting(1e-2))]) == [setting(1e-2)]


def test_twins_are_left_out_and_other_spaces_not_carried() -> None:
    four, eight = make_cells("model.width=4,8")
    assert len(transfer.settings(eight, [Tuned(four, setting(1e-2)), Tuned(four, setting(1e-2))])) == 1
    assert transfer.settings(eight, [Tuned(four, {"optim.lr": 1e-2})]) == []


def test_a_neighbours_trials_are_shifted_to_where_the_carried_setting_lies() -> None:
    four, eight = make_cells("model.width=4,8")
    distributions = four.space

    def trial(lr: float, loss: float | None, state: TrialState = TrialState.COMPLETE) -> FrozenTrial:
        return create_trial(state=state, value=loss, params=setting(lr), distributions=distributions)

    trials = [trial(1e-2, 0.2), trial(2e-2, 0.3), trial(4e-2, None, TrialState.PRUNED), trial(1e-3, 100.0)]
    trials.append(trial(5e-3, None, TrialState.FAIL))
    own = [trial(1e-2, 0.1)]
    shifted = transfer.shifted_trials(eight, own, Tuned(four, setting(1e-2)), trials)
    assert [t.value for t in shifted] == pytest.approx([0.1, 0.15, None, 50.0])
    expected = [1e-2, 2e-2, 4e-2, 1e-3]
    assert [t.params["optim.lr"] for t in shifted] == pytest.approx(expected)
    assert transfer.shifted_trials(eight, [], Tuned(four, setting(1e-2)), trials) == []


def trials(folder: Path) -> pd.DataFrame:
    return trials_and_cells.read_table(folder / "trials.csv")


def test_a_cell_starts_from_what_its_neighbours_selected(tmp_path: Path) -> None:
    launch = InProcess(tmp_path)
    make_tuner(tmp_path, launch, *GRID, n_trials=5, rule=NEIGHBOURS).run()
    table, cells = trials(tmp_path), trials_and_cells.read_table(tmp_path / "cells.csv")
    assert cells["n_trials"].tolist() == [5] * 6
    found = table[table["stage"] == "trial"].groupby(["width", "data_fraction"])["origin"].agg(list)
    assert found[4, 0.5] == ["control"] + ["sampler"] * 4
    assert found[16, 0.5] == ["transfer", "control"] + ["sampler"] * 3
    assert found[8, 1.0][:3] in (["transfer", "transfer", "control"], ["transfer", "control", "sampler"])
    of = cells.set_index(["width", "data_fraction"])["lr"]
    first = table.query("stage == 'trial' and width == 16 and data_fraction == 0.5 and number == 0")
    assert first["lr"].tolist() == [of[8, 0.5]]
    assert table.loc[table["stage"] == "repeat", "origin"].isna().all()


def test_an_interrupted_study_with_transfer_ends_at_the_same_numbers(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    make_tuner(whole, InProcess(whole), *GRID, n_trials=4, rule=NEIGHBOURS, widen=True).run()

    class Killed(BaseException):
        pass

    for at in (1, 6, 11, 17, 24):
        parts, started = tmp_path / str(at), []

        def die(run: RunConfig, started: list[RunConfig] = started, at: int = at) -> None:
            started.append(run)
            if len(started) == at:
                raise Killed

        with pytest.raises(Killed):
            launch = InProcess(parts, before=die)
            make_tuner(parts, launch, *GRID, n_trials=4, rule=NEIGHBOURS, widen=True).run()
        make_tuner(parts, InProcess(parts), *GRID, n_trials=4, rule=NEIGHBOURS, widen=True).run()
        pd.testing.assert_frame_equal(trials(parts).drop(columns="seconds"), trials(whole).drop(columns="seconds"))


def test_seeds_do_not_learn_from_each_other() -> None:
    found = transfer.parents(make_cells("seed=0,1", "data.fraction=1,0.5"), NEIGHBOURS)
    waits = {name: [parent.name for parent in parents] for name, parents in found.items()}
    assert waits["seed=1 data_fraction=1"] == ["seed=1 data_fraction=0.5"]
    assert waits["seed=1 data_fraction=0.5"] == []
