"""Pruning by what travels with a job, on an analytic learning curve."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import pytest
from omegaconf import OmegaConf

from mnist_scaling.config import RunConfig
from mnist_scaling.study.columns import COMPLETE, CONTROL, PRUNED, SAMPLER, TRANSFER, TrainResult
from mnist_scaling.study.tables.csv_table import read_table
from mnist_scaling.tuning.cell import optuna_objects
from mnist_scaling.tuning.cell.optuna_objects import stopped
from mnist_scaling.tuning.cell.trial import Trial
from mnist_scaling.tuning.task import Report
from mnist_scaling.tuning.workers.job import Job, Parcel, Pruning
from mnist_scaling.tuning.workers.perform import perform

from .helpers import InProcess, Study, Trains, bowl, composed, make_cells

pytestmark = pytest.mark.slow

PRUNERS = ("none", "median", "percentile", "successive_halving", "hyperband", "patient")


def curve(run: RunConfig, report: Report | None = None) -> TrainResult:
    """The bowl, approached from above in four quarters; it stops where it is told to."""
    end = bowl(run)
    assert end.val_loss is not None
    reports: list[tuple[float, float]] = []
    for number in (1, 2, 3) if report else ():
        reports.append((number / 4, end.val_loss * (1 + (4 - number) / 4)))
        if report and report(number, reports[-1][1]):
            seen = end.n_seen * number // 4
            spent: dict[str, Any] = {"n_seen": seen, "flops": 600 * seen, "flops_spent": 600 * seen}
            return replace(end, state=PRUNED, val_loss=None, val_error=None, reports=tuple(reports), **spent)
    return replace(end, reports=tuple(reports))


def pruner(name: str) -> Any:
    return composed([f"hydra/sweeper/pruner={name}"]).hydra.sweeper.pruner


@pytest.mark.parametrize("name", PRUNERS)
def test_every_pruner_composes_and_is_optunas(name: str) -> None:
    node = pruner(name)
    assert (node is None) == (name == "none")
    if node is not None:
        made = optuna_objects.make(node)
        assert isinstance(made, optuna.pruners.BasePruner)


@pytest.mark.parametrize("name", ["median", "percentile", "successive_halving"])
def test_bad_trials_are_stopped_and_recorded_as_pruned(tmp_path: Path, name: str) -> None:
    Study(tmp_path, InProcess(curve), "model.width=8", n_trials=16, pruner=pruner(name)).run()
    trials = read_table(tmp_path / "trials.csv")
    cells = read_table(tmp_path / "cells.csv")
    pruned = trials[trials["state"] == PRUNED]
    assert 2 <= len(pruned) <= 13
    assert set(pruned["stage"]) == {"trial"}, "repeats are never pruned"
    assert pruned["number"].min() > 0, "nor is the untuned control"
    assert pruned["val_loss"].isna().all()
    assert cells["n_trials"].tolist() == [16]
    # What was spent is what is counted.
    assert cells["tuning_flops"][0] == trials[trials["stage"] == "trial"]["flops"].sum()
    assert (pruned["flops"] < trials["flops"].max()).all()
    # The pruned are worse than the best by construction of the curve: the selection can't have suffered.
    assert cells["val_loss"][0] == trials["val_loss"].min()


@pytest.mark.parametrize(("n_trials", "batch"), [(8, 1), (8, 2)])
def test_an_early_trial_that_is_made_again_is_not_judged_by_later_rounds(
    tmp_path: Path, n_trials: int, batch: int
) -> None:
    """Its record was lost; with later, better trials as judges it would come back pruned."""
    options: dict[str, Any] = {"n_trials": n_trials, "batch": batch, "n_repeats": 0}
    node = pruner("successive_halving")
    Study(tmp_path, InProcess(curve), "model.width=8", pruner=node, **options).run()
    before = read_table(tmp_path / "trials.csv").drop(columns="seconds")
    for index in range(n_trials):
        next(tmp_path.rglob(f"trial-{index:03d}/result.json")).unlink()
        Study(tmp_path, InProcess(curve), "model.width=8", pruner=node, **options).run()
        after = read_table(tmp_path / "trials.csv").drop(columns="seconds")
        pd.testing.assert_frame_equal(after, before)


@pytest.mark.parametrize(("origin", "state"), [(CONTROL, COMPLETE), (TRANSFER, PRUNED), (SAMPLER, PRUNED)])
def test_the_untuned_control_is_never_stopped_but_reports(tmp_path: Path, origin: str, state: str) -> None:
    always = {"_target_": "optuna.pruners.ThresholdPruner", "upper": 0.0}
    (cell,) = make_cells("model.width=8")
    values = {**cell.values, "trial.stage": "trial"}
    job = Job(cell.name, "run", (), {}, "trial", 0, 0, origin, pruning=Pruning(always, (), cell.name), values=values)
    outcome = perform(Parcel(job, values, str(tmp_path), {"data.dir": str(tmp_path)}), Trains(curve))
    assert outcome.record is not None
    assert outcome.record["state"] == state


def finished(*losses: float) -> tuple[Trial, ...]:
    """Trials that ended, with one report each, as a pruner judged them."""
    found: list[Trial] = []
    for index, loss in enumerate(losses):
        _, notes = stopped(Pruning(node_of("successive_halving"), tuple(found), "cell"), index, [loss])
        found.append(Trial(index, {}, {}, state=COMPLETE, value=loss, reports=(loss,), notes=notes))
    return tuple(found)


def node_of(name: str) -> dict[str, Any]:
    node = OmegaConf.to_container(pruner(name), resolve=True)
    assert isinstance(node, dict)
    return node


def test_a_trial_is_judged_by_those_of_earlier_rounds_alone() -> None:
    given = Pruning(node_of("successive_halving"), finished(1.0, 2.0), "cell")
    assert stopped(given, 2, [9.0])[0]
    assert stopped(given, 3, [9.0])[0], "whatever runs beside it"
    assert not stopped(given, 3, [0.5])[0]
    assert not stopped(Pruning(given.pruner, (), "cell"), 1, [9.0])[0], "and the first round by nobody"


def test_all_of_a_trials_reports_are_judged_in_their_turn() -> None:
    """What the pruner noted after the first report decides at the second, in whatever process that is."""
    given = Pruning(node_of("successive_halving"), finished(1.0, 2.0, 3.0), "cell")
    once, noted = stopped(given, 4, [0.5])
    again, more = stopped(given, 4, [0.5, 0.4])
    assert not once
    assert not again
    assert set(noted) < set(more)


def test_hyperband_takes_a_trials_bracket_from_its_place_and_its_cell() -> None:
    node, earlier = node_of("hyperband"), finished(1.0, 4.0, 2.0, 3.0, 1.5, 1.2, 0.9, 1.1)
    stops = {
        cell: [stopped(Pruning(node, earlier, cell), i, [2.5])[0] for i in range(8, 20)]
        for cell in ("width=2", "width=4")
    }
    assert all(set(found) == {True, False} for found in stops.values())
    assert stops["width=2"] != stops["width=4"]
