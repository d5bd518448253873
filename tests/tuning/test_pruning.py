"""Pruning through the job's own channel, on an analytic learning curve."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from omegaconf import OmegaConf

from mnist_scaling.config import RunConfig, TrialConfig
from mnist_scaling.study import vocabulary
from mnist_scaling.study.result import TrainResult
from mnist_scaling.study.tables import trials_and_cells
from mnist_scaling.study.vocabulary import PRUNED
from mnist_scaling.tuning.cell import cell_study, optuna_objects
from mnist_scaling.tuning.stored.channel import Channel
from mnist_scaling.tuning.stored.storage import open_storage, tell
from mnist_scaling.tuning.trainer import Report

from .helpers import InProcess, bowl, composed, make_tuner

PRUNERS = ("none", "median", "percentile", "successive_halving", "hyperband", "patient")


def curve(run: RunConfig, report: Report | None = None) -> TrainResult:
    """The bowl, approached from above in four quarters; it stops where it is told to."""
    end = bowl(run)
    assert end.val_loss is not None
    for number in (1, 2, 3):
        if report and report(number, end.val_loss * (1 + (4 - number) / 4)):
            seen = end.n_seen * number // 4
            stopped = {"n_seen": seen, "flops": 600 * seen, "flops_spent": 600 * seen}
            return replace(end, state=PRUNED, val_loss=None, val_error=None, **stopped)
    return end


def pruner(name: str) -> object:
    return composed([f"hydra/sweeper/pruner={name}"]).hydra.sweeper.pruner


@pytest.mark.parametrize("name", PRUNERS)
def test_every_pruner_composes_and_is_optunas(name: str) -> None:
    node = pruner(name)
    assert (node is None) == (name == "none")
    if node is not None:
        made = optuna_objects.make(node)  # type: ignore[arg-type]
        assert isinstance(made, optuna.pruners.BasePruner)


@pytest.mark.parametrize("name", ["median", "percentile", "successive_halving"])
def test_bad_trials_are_stopped_and_recorded_as_pruned(tmp_path: Path, name: str) -> None:
    launch = InProcess(tmp_path, curve, pruner=pruner(name))  # type: ignore[arg-type]
    make_tuner(tmp_path, launch, "model.width=8", n_trials=16).run()
    trials = trials_and_cells.read_table(tmp_path / "trials.csv")
    cells = trials_and_cells.read_table(tmp_path / "cells.csv")
    pruned = trials[trials["state"] == PRUNED]
    assert 2 <= len(pruned) <= 13
    assert set(pruned["stage"]) == {"trial"}, "repeats are never pruned"
    assert pruned["number"].min() > 0, "nor is the untuned control"
    assert pruned["val_loss"].isna().all()
    assert cells["n_trials"].tolist() == [16]
    # What was spent is what is counted.
    assert cells["tuning_flops"][0] == trials[trials["stage"] == "trial"]["flops"].sum()
    assert (pruned["flops"] < trials["flops"].max()).all()
    told = optuna.load_study(study_name="all", storage=open_storage(None, tmp_path)).trials
    by_state = {s: [t for t in told if t.state.name == s] for s in ("PRUNED", "COMPLETE", "FAIL")}
    assert len(by_state["PRUNED"]) == len(pruned)
    assert len(by_state["COMPLETE"]) == 16 - len(pruned)
    assert by_state["FAIL"] == []
    assert all(len(t.intermediate_values) == 3 for t in by_state["COMPLETE"])
    # The pruned are worse than the best by construction of the curve: the selection can't have suffered.
    assert cells["val_loss"][0] == trials["val_loss"].min()


def test_the_untuned_control_is_never_stopped(tmp_path: Path) -> None:
    tuner = make_tuner(tmp_path, InProcess(tmp_path), "model.width=8", n_trials=4, n_repeats=0)
    tuner.run()
    node = OmegaConf.create({"_target_": "optuna.pruners.ThresholdPruner", "upper": 0.0})
    for origin, stops in ((vocabulary.CONTROL, False), (vocabulary.TRANSFER, True), (vocabulary.SAMPLER, True)):
        ask = tuner.cells["all"].study.ask()
        trial = TrialConfig(stage="trial", study="all", index=ask.index, number=ask.number, origin=origin)
        assert Channel(trial, None, tmp_path, node).report(1, 5.0) is stops


def test_a_killed_trials_reports_do_not_count_twice(tmp_path: Path) -> None:
    """Its setting comes back and reports again: the pruner must decide as if it had never been killed."""
    tuner = make_tuner(tmp_path, InProcess(tmp_path), "model.width=8", n_trials=0, n_repeats=0)
    tuner.run()  # nothing but the cell's opening
    cell = tuner.cells["all"].study

    def report(loss: float) -> tuple[int, bool]:
        ask = cell.ask()
        trial = TrialConfig(stage="trial", study="all", index=ask.index, number=ask.number, origin=ask.origin)
        return ask.number, Channel(trial, None, tmp_path, pruner("successive_halving")).report(1, loss)  # type: ignore[arg-type]

    number, _ = report(1.0)
    tell(cell.study, number, vocabulary.COMPLETE, 1.0)
    report(2.0)
    (killed,) = cell.running()
    cell.reclaim(killed.number)
    number, stopped = report(2.0)
    assert stopped
    tell(cell.study, number, PRUNED, None)
    # Of 1.0, 2.0 and 1.5 only one is in the better half; with 2.0 counted twice 1.5 would go on.
    assert report(1.5)[1]


@pytest.mark.parametrize("name", ["successive_halving", "hyperband"])
def test_a_pruner_sees_the_place_of_a_trial_and_not_its_number(tmp_path: Path, name: str) -> None:
    """Hyperband takes a trial's bracket from its number, which a setting that came back has another of."""
    stops = []
    for kills in (0, 1, 2):
        folder = tmp_path / str(kills)
        tuner = make_tuner(folder, InProcess(folder), "model.width=8", n_trials=0, n_repeats=0)
        tuner.run()
        cell = tuner.cells["all"].study
        for _ in range(kills):
            cell.ask()
            cell.reclaim(cell.running()[0].number)
        for loss in (1.0, 4.0, 2.0, 3.0, 1.5, 1.2, 0.9, 1.1):
            ask = cell.ask()
            trial = TrialConfig(stage="trial", study="all", index=ask.index, number=ask.number)
            stops.append((ask.index, Channel(trial, None, folder, pruner(name)).report(1, loss)))  # type: ignore[arg-type]
            tell(cell.study, ask.number, vocabulary.COMPLETE, loss)
    assert stops[:8] == stops[8:16] == stops[16:]
    assert {stop for _, stop in stops} == {True, False}


def test_without_a_pruner_nobody_asks_for_reports() -> None:
    trial = TrialConfig(stage="trial", study="all")
    assert not Channel(trial, None, Path()).prunes
    node = OmegaConf.create({"_target_": "optuna.pruners.MedianPruner"})
    assert Channel(trial, None, Path(), node).prunes
    assert not Channel(replace(trial, stage="repeat"), None, Path(), node).prunes


def test_a_trial_is_not_judged_by_those_that_run_beside_it(tmp_path: Path) -> None:
    """What a companion has reported depends on who is faster; what is pruned must not."""
    tuner = make_tuner(tmp_path, InProcess(tmp_path), "model.width=8", n_trials=0, n_repeats=0)
    tuner.run()
    cell = tuner.cells["all"].study
    node = pruner("successive_halving")

    def report(ask: cell_study.Ask, loss: float) -> bool:
        trial = TrialConfig(stage="trial", study="all", index=ask.index, number=ask.number, origin=ask.origin)
        return Channel(trial, None, tmp_path, node).report(1, loss)  # type: ignore[arg-type]

    first = [cell.ask(together=2) for _ in range(2)]
    assert not report(first[0], 1.0)
    assert not report(first[1], 9.0), "its companion is no judge"
    for ask in first:
        tell(cell.study, ask.number, vocabulary.COMPLETE, 1.0 + ask.index)
    second = [cell.ask(together=2) for _ in range(2)]
    assert report(second[0], 9.0), "those before it are"
    assert not report(second[1], 0.5)


def test_an_early_trial_that_is_made_again_is_not_judged_by_later_rounds(tmp_path: Path) -> None:
    """Its record was lost; with later, better trials as judges it would come back pruned."""
    tuner = make_tuner(tmp_path, InProcess(tmp_path), "model.width=8", n_trials=0, n_repeats=0)
    tuner.run()
    cell = tuner.cells["all"].study
    node = pruner("successive_halving")
    for _ in range(2):
        for ask in [cell.ask(together=2) for _ in range(2)]:
            trial = TrialConfig(stage="trial", study="all", index=ask.index, number=ask.number, origin=ask.origin)
            Channel(trial, None, tmp_path, node).report(1, 1.0 - 0.2 * ask.index)  # type: ignore[arg-type]
            tell(cell.study, ask.number, vocabulary.COMPLETE, 1.0 - 0.2 * ask.index)
    cell.reclaim(0)
    again = cell.ask(together=2)
    assert again.index == 0
    trial = TrialConfig(stage="trial", study="all", index=0, number=again.number, origin="sampler")
    assert not Channel(trial, None, tmp_path, node).report(1, 1.0)  # type: ignore[arg-type]
