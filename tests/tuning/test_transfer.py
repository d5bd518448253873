"""Who waits for whom, what is carried over, and that it does not depend on who finishes first."""

from __future__ import annotations

from math import sqrt
from pathlib import Path

import pandas as pd
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from mnist_scaling import results
from mnist_scaling.config import RunConfig, with_values
from mnist_scaling.errors import InputError
from mnist_scaling.training import compute
from mnist_scaling.tuning.transfer import Transfer, Tuned

from .helpers import InProcess, make_cells, make_tuner

GRID = ("model.width=4,8,16", "data.fraction=1,0.5")


def transfer(rule: str) -> Transfer:
    return Transfer(rule, "optim.lr", compute.fan_in, compute.steps)


def setting(lr: float) -> dict[str, float]:
    return {"optim.lr": lr, "optim.batch_size": 16, "model.dropout": 0.1}


def test_a_cell_waits_for_the_next_cheaper_one_along_each_axis() -> None:
    found = transfer("none").parents(make_cells(*GRID))
    names = {name: [cell.name for cell in cells] for name, cells in found.items()}
    assert names["width=4 data_fraction=0.5"] == []
    assert names["width=16 data_fraction=0.5"] == ["width=8 data_fraction=0.5"]
    assert sorted(names["width=16 data_fraction=1"]) == ["width=16 data_fraction=0.5", "width=8 data_fraction=1"]


def test_words_are_no_order_to_wait_in() -> None:
    found = transfer("none").parents(make_cells("optim=adam,sgd", "data.fraction=1,0.5"))
    names = {name: [cell.name for cell in cells] for name, cells in found.items()}
    assert sorted(map(len, names.values())) == [0, 0, 1, 1]
    assert all(name.split()[1] == parents[0].split()[1] for name, parents in names.items() if parents)


def test_independent_cells_wait_for_nobody() -> None:
    assert not any(transfer("independent").parents(make_cells(*GRID)).values())


def test_the_width_rule_follows_the_fan_in() -> None:
    four, eight = make_cells("model.width=4,8")
    (got,) = transfer("width").settings(eight, [Tuned(four, setting(1e-2))], [])
    assert got == setting(1e-2) | {"optim.lr": pytest.approx(1e-2 / sqrt(2))}
    (got,) = transfer("none").settings(eight, [Tuned(four, setting(1e-2))], [])
    assert got == setting(1e-2)
    mup = make_cells("model.width=4,8", "model.parametrization=mup")
    (got,) = transfer("width").settings(mup[1], [Tuned(mup[0], setting(1e-2))], [])
    assert got["optim.lr"] == 1e-2  # µP carries rates itself


def test_twins_are_left_out_and_other_spaces_not_carried() -> None:
    four, eight = make_cells("model.width=4,8")
    twice = transfer("width").settings(eight, [Tuned(four, setting(1e-2)), Tuned(four, setting(1e-2))], [])
    assert len(twice) == 1
    assert transfer("width").settings(eight, [Tuned(four, {"optim.lr": 1e-2})], []) == []


def test_lent_trials_lie_where_the_carried_setting_does() -> None:
    four, eight = make_cells("model.width=4,8")
    distributions = four.space

    def trial(lr: float, loss: float | None, state: TrialState = TrialState.COMPLETE) -> FrozenTrial:
        return create_trial(state=state, value=loss, params=setting(lr), distributions=distributions)

    trials = [trial(1e-2, 0.2), trial(2e-2, 0.3), trial(4e-2, None, TrialState.PRUNED), trial(1e-3, 100.0)]
    trials.append(trial(5e-3, None, TrialState.FAIL))
    own = [trial(1e-2 / sqrt(2), 0.1)]
    lent = transfer("width").lent(eight, own, Tuned(four, setting(1e-2)), trials, [])
    assert [t.value for t in lent] == pytest.approx([0.1, 0.15, None, 50.0])
    expected = [1e-2 / sqrt(2), 2e-2 / sqrt(2), 4e-2 / sqrt(2), 1e-3]  # the last one is at the range's end
    assert [t.params["optim.lr"] for t in lent] == pytest.approx(expected)
    assert transfer("width").lent(eight, [], Tuned(four, setting(1e-2)), trials, []) == []


def test_the_fitted_rule_finds_a_law_of_width_and_steps() -> None:
    cells = make_cells("model.width=2,4,8,16,32", "data.fraction=1,0.25,0.0625")
    law = lambda run: 0.3 * run.model.width**-0.6 * compute.steps(run) ** -0.2  # noqa: E731

    def tuned(cell: object, batch: int) -> Tuned:
        values = {**setting(1.0), "optim.batch_size": batch}
        return Tuned(cell, values | {"optim.lr": law(with_values(cell.run, values))})  # type: ignore[attr-defined, arg-type]

    known = [tuned(cell, (8, 16, 32)[i % 3]) for i, cell in enumerate(cells[:12])]
    (got,) = transfer("fitted").settings(cells[-1], [known[-1]], known)
    expected = law(with_values(cells[-1].run, {"optim.batch_size": known[-1].setting["optim.batch_size"]}))
    assert got["optim.lr"] == pytest.approx(expected)
    # Too few cells to fit: the width rule.
    (got,) = transfer("fitted").settings(cells[-1], [known[-1]], known[:4])
    ratio = compute.fan_in(known[-1].cell.run) / compute.fan_in(cells[-1].run)
    assert got["optim.lr"] == pytest.approx(known[-1].setting["optim.lr"] * sqrt(ratio))


def test_an_unknown_rule_is_refused() -> None:
    with pytest.raises(InputError, match="`hydra.sweeper.transfer.rule` must be one of independent, none, width"):
        transfer("depth")


def trials(folder: Path) -> pd.DataFrame:
    return results.read_table(folder / "trials.csv")


def test_a_cell_starts_from_what_its_neighbours_selected(tmp_path: Path) -> None:
    launch = InProcess(tmp_path)
    make_tuner(tmp_path, launch, *GRID, n_trials=5, rule=transfer("none")).run()
    table, cells = trials(tmp_path), results.read_table(tmp_path / "cells.csv")
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
    make_tuner(whole, InProcess(whole), *GRID, n_trials=4, rule=transfer("fitted"), widen=True).run()

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
            make_tuner(parts, launch, *GRID, n_trials=4, rule=transfer("fitted"), widen=True).run()
        make_tuner(parts, InProcess(parts), *GRID, n_trials=4, rule=transfer("fitted"), widen=True).run()
        pd.testing.assert_frame_equal(trials(parts).drop(columns="seconds"), trials(whole).drop(columns="seconds"))
