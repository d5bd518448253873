"""Rounds, resume and tables, on an analytic loss."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from mnist_scaling.config import RunConfig
from mnist_scaling.errors import InputError
from mnist_scaling.study import records
from mnist_scaling.study.columns import DIVERGED, NEIGHBOURS, TrainResult
from mnist_scaling.study.tables.csv_table import read_table
from mnist_scaling.tuning.optuna_mirror import Mirror
from mnist_scaling.tuning.task import Report
from mnist_scaling.tuning.workers.faults import SetUpError
from mnist_scaling.tuning.workers.job import Job

from .helpers import InProcess, Study, bowl

pytestmark = pytest.mark.slow

GRID = ("model.width=8,16", "data.fraction=1,0.5")


def tables(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    return read_table(folder / "trials.csv"), read_table(folder / "cells.csv")


def test_every_cell_gets_its_trials_and_repeats(tmp_path: Path) -> None:
    launch = InProcess()
    Study(tmp_path, launch, *GRID).run()
    trials, cells = tables(tmp_path)
    assert trials.groupby(["width", "data_fraction", "stage"]).size().unstack().to_numpy().tolist() == [[2, 3]] * 4
    assert cells["n_trials"].tolist() == [3] * 4
    assert cells["n_repeats"].tolist() == [2] * 4
    # One trial of every cell a round, the costly cells first, then all repeats together.
    assert [len(batch) for batch in launch.batches] == [4, 4, 4, 8]
    assert [subdir.split("/")[1] for subdir in launch.batches[0]] == ["data_fraction=1"] * 2 + ["data_fraction=0.5"] * 2


def test_the_first_trial_is_the_untuned_setting_in_every_cell(tmp_path: Path) -> None:
    Study(tmp_path, InProcess(), *GRID).run()
    trials, _ = tables(tmp_path)
    first = trials[(trials["stage"] == "trial") & (trials["number"] == 0)]
    assert first[["lr", "batch_size", "dropout"]].drop_duplicates().to_numpy().tolist() == [[5e-3, 32, 0.0]]


def test_cells_and_seeds_draw_differently(tmp_path: Path) -> None:
    Study(tmp_path / "a", InProcess(), *GRID).run()
    Study(tmp_path / "b", InProcess(), *GRID, "seed=5").run()
    drawn = [tables(tmp_path / x)[0].query("stage == 'trial' and number > 0")["lr"] for x in "ab"]
    assert drawn[0].nunique() == drawn[1].nunique() == 8
    assert not set(drawn[0]) & set(drawn[1])


def test_cells_row_is_the_best_trial_and_the_mean_over_repeats(tmp_path: Path) -> None:
    Study(tmp_path, InProcess(), "data.fraction=1,0.5", n_trials=5, n_repeats=3).run()
    trials, cells = tables(tmp_path)
    for _, cell in cells.iterrows():
        runs = trials[trials["data_fraction"] == cell["data_fraction"]]
        best = runs[runs["stage"] == "trial"].sort_values("val_loss").iloc[0]
        repeats = runs[runs["stage"] == "repeat"]
        assert cell["lr"] == best["lr"]
        assert cell["val_loss"] == best["val_loss"]
        assert cell["test_loss"] == pytest.approx(repeats["test_loss"].mean())
        assert cell["test_loss_se"] == pytest.approx(repeats["test_loss"].sem())
        assert (repeats["lr"] == best["lr"]).all()
        assert repeats["seed"].tolist() == [1, 2, 3]  # none of which a trial has seen
        assert (runs[runs["stage"] == "trial"]["seed"] == 0).all()
        assert cell["tuning_flops"] == runs[runs["stage"] == "trial"]["flops"].sum()


def test_a_rerun_adds_nothing_and_more_trials_top_up(tmp_path: Path) -> None:
    Study(tmp_path, InProcess(), *GRID).run()
    before = (tmp_path / "trials.csv").read_text()
    again = InProcess()
    Study(tmp_path, again, *GRID).run()
    assert again.batches == []
    assert (tmp_path / "trials.csv").read_text() == before

    Study(tmp_path, InProcess(), *GRID, n_trials=5).run()
    trials, cells = tables(tmp_path)
    assert cells["n_trials"].tolist() == [5] * 4
    kept = pd.read_csv(tmp_path / "trials.csv").query("stage == 'trial' and number < 3")["lr"].tolist()
    assert kept == pd.read_csv(pd.io.common.StringIO(before)).query("stage == 'trial'")["lr"].tolist()
    # Two repeats are of the setting that is selected now, wherever five trials found a better one; no earlier run is
    # gone, but repeats of another setting count for nothing.
    assert cells["n_repeats"].tolist() == [2] * 4
    best = trials[trials["stage"] == "trial"].sort_values("val_loss").drop_duplicates(["width", "data_fraction"])
    repeats = trials[trials["stage"] == "repeat"].merge(best, on=["width", "data_fraction"], suffixes=("", "_best"))
    selected = repeats[repeats["lr"] == repeats["lr_best"]]
    assert len(selected) == 8
    assert len(repeats) > 8
    means = selected.groupby(["width", "data_fraction"])["test_loss"].mean()
    assert cells["test_loss"].tolist() == pytest.approx(means.tolist())
    known = pd.read_csv(pd.io.common.StringIO(before)).query("stage == 'repeat'")["test_loss"]
    assert set(known) <= set(repeats["test_loss"])


def test_an_interrupted_study_resumes_to_the_same_numbers(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    Study(whole, InProcess(), *GRID, n_trials=4).run()

    class Killed(BaseException):
        """Like kill -9 in that nothing after it runs: neither the record nor the tell."""

    started = []

    def die_at_seventh(run: Job) -> None:
        started.append(run)
        if len(started) == 7:
            raise Killed

    with pytest.raises(Killed):
        Study(parts, InProcess(before=die_at_seventh, isolates=True), *GRID, n_trials=4).run()
    trials, _ = tables(parts)
    assert len(trials) == 6  # a stopped study leaves valid tables
    Study(parts, InProcess(), *GRID, n_trials=4).run()
    expected, got = (tables(folder)[0].drop(columns="seconds") for folder in (whole, parts))
    pd.testing.assert_frame_equal(got, expected)


def test_a_changed_config_is_refused_with_the_difference_named(tmp_path: Path) -> None:
    Study(tmp_path, InProcess(), *GRID).run()
    with pytest.raises(InputError, match=r"optim.schedule was cosine and is now linear; set it back.*another `name="):
        Study(tmp_path, InProcess(), *GRID, "optim.schedule=linear")


def test_a_new_cell_with_another_optimiser_or_seed_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    Study(tmp_path, InProcess(), *GRID).run()
    before = (tmp_path / "study.json").read_bytes()
    for given, difference in (
        ("optim=sgd", "optim.name was adam and is now sgd"),
        ("seed=1", "seed was 0 and is now 1"),
    ):
        with pytest.raises(InputError, match=difference):
            Study(tmp_path, InProcess(), "model.width=32,64", "data.fraction=1,0.5", given)
    assert (tmp_path / "study.json").read_bytes() == before


def test_ranges_may_grow_and_trials_and_repeats_may_be_added(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the remedy of search_edge asks for; whatever was run stays, and the mirror takes it too."""

    def sweep(lr: str, sizes: str, n_trials: int, n_repeats: int) -> None:
        given = ("model.width=4", f"optim.lr=tag(log,interval({lr}))", f"optim.batch_size={sizes}")
        mirror = Mirror(None, tmp_path)
        study = Study(tmp_path, InProcess(), *given, n_trials=n_trials, n_repeats=n_repeats, mirror=mirror)
        study.run()
        mirror.show([(cell, study.driver.ledger.trials(cell)) for cell in study.cells], again=True)
        mirror.close()

    sweep("1e-4,2e-3", "choice(16,32)", 4, 1)
    before = {path: path.read_bytes() for path in tmp_path.rglob("result.json")}
    assert tables(tmp_path)[1]["flags"].tolist() == ["search_edge"]
    sweep("1e-4,1", "choice(8,16,32)", 12, 2)
    assert {path: path.read_bytes() for path in before} == before
    trials, cells = tables(tmp_path)
    assert cells["n_trials"].tolist() == [12]
    assert cells["n_repeats"].tolist() == [2]
    assert cells["flags"].isna().all()
    assert cells["widened"].isna().all()
    assert trials["lr"].max() > 2e-3
    last = json.loads(next(tmp_path.rglob("trial-011/result.json")).read_text())
    assert json.loads(last["ranges"]["optim.batch_size"])["attributes"]["choices"] == [8, 16, 32]
    with pytest.raises(InputError, match="lr was 0.0001 to 1, logarithmic and is now 0.0001 to 0.002, log.* may grow"):
        sweep("1e-4,2e-3", "choice(8,16,32)", 12, 2)
    assert "mirror" not in capsys.readouterr().err


def test_other_axes_are_refused(tmp_path: Path) -> None:
    Study(tmp_path, InProcess(), *GRID).run()
    with pytest.raises(InputError, match="has width, data_fraction and this sweep has width"):
        Study(tmp_path, InProcess(), "model.width=8,16").run()


def test_new_cells_join_a_study(tmp_path: Path) -> None:
    Study(tmp_path, InProcess(), *GRID).run()
    launch = InProcess()
    Study(tmp_path, launch, "model.width=8,32", "data.fraction=1,0.5").run()
    assert all(subdir.startswith("width=32/") for batch in launch.batches for subdir in batch)
    assert tables(tmp_path)[1]["width"].tolist() == [8, 8, 16, 16, 32, 32]


def test_diverged_runs_have_no_loss_and_are_never_selected(tmp_path: Path) -> None:
    def diverge(run: RunConfig, report: Report | None = None) -> TrainResult:
        good = bowl(run)
        empty = {"val_loss": None, "val_error": None, "test_loss": None, "test_error": None, "train_loss": None}
        return replace(good, state=DIVERGED, **empty) if run.optim.lr > 1e-2 else good

    Study(tmp_path, InProcess(diverge), "model.width=8", n_trials=12).run()
    trials, cells = tables(tmp_path)
    diverged = trials[trials["state"] == DIVERGED]
    assert len(diverged) >= 2
    assert diverged["val_loss"].isna().all()
    assert cells["n_diverged"].tolist() == [len(diverged)]
    assert (cells["lr"] <= 1e-2).all()


def test_a_failing_setting_is_recorded_and_the_study_goes_on(tmp_path: Path) -> None:
    def fail(run: RunConfig, report: Report | None = None) -> TrainResult:
        if run.optim.batch_size == 8:
            raise ZeroDivisionError("an odd setting")
        return bowl(run)

    Study(tmp_path, InProcess(fail), "model.width=8,16", n_trials=8).run()
    trials, cells = tables(tmp_path)
    failed = trials[trials["state"] == "FAILED"]
    assert set(failed["batch_size"]) == {8}
    assert failed["error"].str.contains("ZeroDivisionError: an odd setting").all()
    assert (cells["n_trials"] == 8).all()
    assert cells["n_failed"].sum() == len(failed)


def test_when_everything_fails_the_study_stops_and_nothing_counts(tmp_path: Path) -> None:
    def fail(run: RunConfig, report: Report | None = None) -> TrainResult:
        raise LookupError("no such layer")

    with pytest.raises(SetUpError, match="no such layer"):
        Study(tmp_path, InProcess(fail), *GRID).run()
    Study(tmp_path, InProcess(), *GRID).run()
    trials, cells = tables(tmp_path)
    assert cells["n_trials"].tolist() == [3] * 4
    assert (trials["state"] == "COMPLETE").all()


def test_a_worker_that_dies_twice_costs_one_trial_only(tmp_path: Path) -> None:
    class Died(Exception):
        """A launcher's way to say that a process is gone; the rest of its batch is lost with it."""

    def die(job: Job) -> None:
        if job.cell.startswith("width=16") and job.index == 1 and job.stage == "trial":
            raise Died

    launch = InProcess(before=die)
    Study(tmp_path, launch, *GRID).run()
    trials, cells = tables(tmp_path)
    failed = trials[trials["state"] == "FAILED"]
    assert failed[["width", "number"]].drop_duplicates().to_numpy().tolist() == [[16, 1]]
    assert failed["error"].str.startswith("it left no record twice").all()
    assert len(failed) == 2
    assert cells["n_trials"].tolist() == [3] * 4


def test_more_trials_a_batch_fill_more_workers(tmp_path: Path) -> None:
    launch = InProcess()
    Study(tmp_path, launch, "model.width=8,16", n_trials=5, batch=2).run()
    assert [len(batch) for batch in launch.batches] == [4, 4, 2, 4]
    assert tables(tmp_path)[1]["n_trials"].tolist() == [5, 5]


def test_tables_can_be_rebuilt_from_the_records(tmp_path: Path) -> None:
    Study(tmp_path, InProcess(), *GRID).run()
    before = [(tmp_path / name).read_bytes() for name in ("trials.csv", "cells.csv")]
    for name in ("trials.csv", "cells.csv"):
        (tmp_path / name).unlink()
    Study(tmp_path, InProcess(), *GRID).run()
    assert [(tmp_path / name).read_bytes() for name in ("trials.csv", "cells.csv")] == before


def test_an_optimum_at_the_edge_is_flagged(tmp_path: Path) -> None:
    Study(tmp_path, InProcess(), "optim.lr=tag(log,interval(0.05,0.5))", n_trials=10).run()
    _, cells = tables(tmp_path)
    assert cells["flags"].tolist() == ["search_edge"]  # the bowl's optimum, 0.01, lies below the range
    assert "lr" in cells["edges"][0].split(";")


def test_an_optimum_at_a_limit_is_tuned_within_limits(tmp_path: Path) -> None:
    bound = "optim.lr=tag(log,limit_low,interval(0.05,0.5))"  # the bowl's optimum, 0.01, lies below
    Study(tmp_path, InProcess(), bound, n_trials=20, widen=True).run()
    trials, cells = tables(tmp_path)
    assert cells["widened"].isna().all() or "lr" not in cells["widened"][0].split(";")
    assert trials["lr"].min() >= 0.05
    assert "lr" in cells["limits"][0].split(";")
    assert "lr" not in str(cells["edges"][0]).split(";")
    record = json.loads((tmp_path / "all/cell.json").read_text())
    assert record["limits"]["optim.lr"] == ["low"]


def test_a_range_is_widened_once_and_halfway(tmp_path: Path) -> None:
    narrow = "optim.lr=tag(log,interval(0.05,0.5))"  # the bowl's optimum, 0.01, lies below
    Study(tmp_path, InProcess(), narrow, n_trials=16, widen=True).run()
    trials, cells = tables(tmp_path)
    tried = trials[trials["stage"] == "trial"].sort_values("number")["lr"]
    assert tried[:8].min() >= 0.05
    assert tried.iloc[8] == pytest.approx(0.05 / 10**0.5)
    assert tried.min() >= 0.005, "by one decade, once"
    assert cells["widened"].tolist() == ["lr"]
    assert cells["n_trials"].tolist() == [16]
    assert cells["val_loss"][0] == trials["val_loss"].min()


def test_a_cell_is_certified(tmp_path: Path) -> None:
    Study(tmp_path, InProcess(), *GRID, n_trials=20, n_repeats=3).run()
    _, cells = tables(tmp_path)
    # The bowl's seeds differ by a millionth: no search is done against such a noise.
    assert cells["tuned"].tolist() == ["no"] * 4
    assert (cells["expected_gain"] > cells["noise"]).all()
    shares = cells[["importance_lr", "importance_batch_size", "importance_dropout"]]
    assert shares.sum(axis=1).to_numpy() == pytest.approx(1)
    assert (shares["importance_batch_size"] < 0.3).all()  # of which the bowl knows nothing


def test_seeds_are_an_axis(tmp_path: Path) -> None:
    Study(tmp_path, InProcess(), "seed=0,1,2", "model.width=4,8").run()
    trials, cells = tables(tmp_path)
    assert sorted(cells["seed"]) == [0, 0, 1, 1, 2, 2]
    assert (cells["n_repeats"] == 2).all()
    tried, repeated = (trials[trials["stage"] == stage] for stage in ("trial", "repeat"))
    assert (tried["run_seed"] == tried["seed"]).all()
    seeds = repeated[repeated["width"] == 4].set_index("seed")["run_seed"]
    assert seeds.groupby("seed").agg(list).to_dict() == {0: [1000, 2000], 1: [1001, 2001], 2: [1002, 2002]}
    again = InProcess()
    Study(tmp_path, again, "seed=0,1,2", "model.width=4,8").run()
    assert again.batches == []


def test_with_nothing_to_tune_a_cell_has_one_trial_and_says_so(tmp_path: Path) -> None:
    fixed = ("optim.lr=0.01", "optim.batch_size=32", "model.dropout=0.1")
    Study(tmp_path, InProcess(), "model.width=4,8", *fixed, n_trials=8, n_repeats=3).run()
    trials, cells = tables(tmp_path)
    assert cells["n_trials"].tolist() == [1, 1]
    assert cells["n_repeats"].tolist() == [3, 3]
    assert cells["tuned"].tolist() == ["nothing tuned"] * 2
    assert cells["expected_gain"].isna().all()
    assert len(trials) == 8


@pytest.mark.parametrize("fails", [True, False])
def test_a_repeat_that_is_lost_leaves_a_flag(tmp_path: Path, fails: bool) -> None:
    def train(run: RunConfig, report: Report | None = None) -> TrainResult:
        good = bowl(run)
        empty = {"val_loss": None, "val_error": None, "test_loss": None, "test_error": None, "train_loss": None}
        lost = run.model.width == 8 and run.seed == 2
        if lost and fails:
            raise ZeroDivisionError
        return replace(good, state=DIVERGED, **empty) if lost else good

    Study(tmp_path, InProcess(train), "model.width=4,8", n_repeats=3).run()
    _, cells = tables(tmp_path)
    assert cells["n_repeats"].tolist() == [3, 2]
    assert ["repeat_lost" in str(flags).split(";") for flags in cells["flags"]] == [False, True]


def test_a_launchers_error_stands_in_the_record_of_what_it_lost(tmp_path: Path) -> None:
    class NodeLost(Exception):
        pass

    def die(job: Job) -> None:
        if job.index == 1 and job.stage == "trial":
            raise NodeLost("node 7 is gone")

    Study(tmp_path, InProcess(before=die), "model.width=4,8").run()
    trials, _ = tables(tmp_path)
    errors = trials[trials["state"] == "FAILED"]["error"]
    assert len(errors) == 2
    assert errors.str.contains("the launcher ended with NodeLost: node 7 is gone").all()


def test_a_study_of_another_version_is_refused(tmp_path: Path) -> None:
    Study(tmp_path, InProcess(), "model.width=4").run()
    path = tmp_path / "study.json"
    path.write_text(path.read_text().replace('"version": 2,', "", 1))
    with pytest.raises(InputError, match=r"of version 2, but .*study.json has version 1: go on with the version"):
        Study(tmp_path, InProcess(), "model.width=4")


@pytest.mark.parametrize("stage", ["trial", "repeat"])
def test_a_record_of_another_cell_is_refused(tmp_path: Path, stage: str) -> None:
    Study(tmp_path, InProcess(), "model.width=4,8").run()
    (tmp_path / f"width=8/{stage}-000/result.json").replace(tmp_path / f"width=4/{stage}-000/result.json")
    with pytest.raises(InputError, match=f"width=4/{stage}-000.* differs from cell 'width=4': model.width was 8"):
        Study(tmp_path, InProcess(), "model.width=4,8")


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_a_lost_trial_is_made_again_with_the_same_setting(tmp_path: Path, batch: int) -> None:
    """Whichever it is, the one that tests a wider range included."""
    narrow = ("model.width=8,16", "optim.lr=tag(log,interval(0.05,0.5))")
    options: dict[str, Any] = {"n_trials": 9, "batch": batch, "rule": NEIGHBOURS, "widen": True, "n_repeats": 0}
    Study(tmp_path, InProcess(), *narrow, **options).run()
    expected = tables(tmp_path)
    assert set(expected[1]["widened"]) == {"lr"}
    for index in range(9):
        for width in (8, 16):
            (tmp_path / f"width={width}/trial-{index:03d}/result.json").unlink()
        again = InProcess()
        Study(tmp_path, again, *narrow, **options).run()
        assert sorted(run for batch in again.batches for run in batch) == [
            f"width={width}/trial-{index:03d}" for width in (16, 8)
        ]
        for found, wanted in zip(tables(tmp_path), expected, strict=True):
            pd.testing.assert_frame_equal(found.drop(columns="seconds"), wanted.drop(columns="seconds"))


def test_rows_do_not_depend_on_who_was_faster(tmp_path: Path) -> None:
    tables_of = []
    for isolates in (False, True):
        folder = tmp_path / str(isolates)
        Study(folder, InProcess(isolates=isolates), *GRID, n_trials=8, batch=2, rule=NEIGHBOURS, widen=True).run()
        tables_of.append([table.drop(columns="seconds") for table in tables(folder)])
    for one, other in zip(*tables_of, strict=True):
        pd.testing.assert_frame_equal(one, other)


def test_the_untuned_setting_gets_the_repeats_seeds_and_moves_nothing(tmp_path: Path) -> None:
    """Every row of a study without them stays as it was; a finished study gets them when it is taken up again."""
    without, with_them = tmp_path / "without", tmp_path / "with"
    Study(without, InProcess(), *GRID).run()
    Study(with_them, InProcess(), *GRID, repeat_control=True).run()
    (before, cells), (after, same_cells) = tables(without), tables(with_them)
    control = (after["stage"] == "repeat") & (after["number"] >= 2)
    # Of one cell that selected it, the untuned setting's repeats are those of the selection.
    selected = (cells["lr"] == 5e-3).sum()
    assert selected == 3
    assert after[control]["lr"].tolist() == [5e-3] * 2 * (4 - selected)
    assert after[control]["seed"].tolist() == [1, 2] * (4 - selected)
    repeated = [cell["repeated"] for cell in records.read_cells(with_them).values()]
    assert sorted(repeated) == [1, 1, 1, 2]
    pd.testing.assert_frame_equal(
        before.drop(columns="seconds"), after[~control].reset_index(drop=True).drop(columns="seconds")
    )
    pd.testing.assert_frame_equal(cells.drop(columns="seconds"), same_cells.drop(columns="seconds"))

    launch = InProcess()
    Study(without, launch, *GRID, repeat_control=True).run()
    assert sum(len(batch) for batch in launch.batches) == 2 * (4 - selected)
    resumed = tables(without)[0]
    pd.testing.assert_frame_equal(resumed.drop(columns="seconds"), after.drop(columns="seconds"))
    again = InProcess()
    Study(without, again, *GRID, repeat_control=True).run()
    assert not any(again.batches)

    # What can't be trained is not repeated.
    Study(tmp_path / "bad", InProcess(diverges_untuned), "data.fraction=1", repeat_control=True).run()
    trials, _ = tables(tmp_path / "bad")
    assert (trials["stage"] == "repeat").sum() == 2


def diverges_untuned(run: RunConfig, report: Report | None = None) -> TrainResult:
    """The bowl, whose untuned setting diverges."""
    found = bowl(run)
    return found if run.optim.lr != 5e-3 else replace(found, state=DIVERGED, val_loss=None)
