"""Records against storages: whatever a study meets, no finished run is run again, overwritten or lost."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import pytest

from mnist_scaling.config import RunConfig
from mnist_scaling.errors import InputError
from mnist_scaling.study.result import TrainResult
from mnist_scaling.study.tables.trials_and_cells import read_table
from mnist_scaling.study.vocabulary import NEIGHBOURS
from mnist_scaling.tuning.cell.cell_study import CellStudy
from mnist_scaling.tuning.stored import reconcile
from mnist_scaling.tuning.stored.storage import mend, open_storage
from mnist_scaling.tuning.trainer import Report
from mnist_scaling.tuning.workers.job import Job

from .helpers import SAMPLER, InProcess, make_cells, make_tuner
from .test_pruning import curve, pruner

GRID = ("model.width=8,16", "optim.lr=tag(log,interval(0.05,0.5))")  # whose low end is to be widened
EFFORT: dict[str, Any] = {"n_trials": 6, "n_repeats": 1, "batch": 2, "rule": NEIGHBOURS, "widen": True}


class Killed(BaseException):
    """Like kill -9 in that nothing after it runs."""


def reporting(run: RunConfig, report: Report | None = None) -> TrainResult:
    """The shared curve, which also records what it has reported, as a real run does."""
    reports: list[tuple[float, float]] = []

    def listen(number: int, loss: float) -> bool:
        assert report is not None
        reports.append((number / 4, loss))
        return report(number, loss)

    return replace(curve(run, listen if report else None), reports=tuple(reports))


def sweep(folder: Path, *arguments: str, dies_at: int | None = None, **effort: Any) -> list[str]:
    """A sweep whose runs are pruned; the folders of the runs that it made."""
    made: list[str] = []

    def before(run: RunConfig) -> None:
        if len(made) == dies_at:
            raise Killed
        made.append(f"{run.model.width} {run.trial.stage} {run.trial.index}")

    mend(None, folder)
    launch = InProcess(folder, reporting, before, pruner("successive_halving"))  # type: ignore[arg-type]
    make_tuner(folder, launch, *(arguments or GRID), **(EFFORT | effort)).run()
    return made


def rows(folder: Path) -> pd.DataFrame:
    return read_table(folder / "trials.csv").drop(columns="seconds")


def journal(folder: Path) -> Path:
    return folder / "optuna.journal"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study, not to be changed."""
    folder = tmp_path_factory.mktemp("whole")
    sweep(folder)
    assert (rows(folder)["state"] == "PRUNED").any()
    assert "lr" in str(read_table(folder / "cells.csv")["widened"].iloc[0])
    return folder


@pytest.fixture
def study(whole: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(whole, tmp_path / "study"))


def told(folder: Path) -> list[tuple[Any, ...]]:
    """What every cell's study holds, but for its times and numbers."""
    found = []
    for summary in optuna.get_all_study_summaries(open_storage(None, folder)):
        loaded = optuna.load_study(study_name=summary.study_name, storage=open_storage(None, folder))
        for t in loaded.trials:
            attributes = {key: value for key, value in t.user_attrs.items() if key != "owner"}
            notes = {key: value for key, value in t.system_attrs.items() if key != "fixed_params"}
            found.append((summary.study_name, t.state, t.value, t.params, attributes, notes, t.intermediate_values))
        found.append((summary.study_name, loaded.user_attrs))
    return found


@pytest.mark.parametrize("left", [None, b""], ids=["deleted", "emptied"])
def test_a_storage_without_trials_is_told_all_that_the_records_hold(study: Path, whole: Path, left: bytes) -> None:
    journal(study).unlink()
    if left is not None:
        journal(study).write_bytes(left)
    assert sweep(study) == []
    pd.testing.assert_frame_equal(rows(study), rows(whole))
    assert sorted(told(study), key=str) == sorted(told(whole), key=str)
    assert sweep(study) == []


@pytest.mark.parametrize("dies_at", [1, 3, 5, 6, 8, 11])
def test_a_killed_study_without_its_journal_ends_with_the_same_rows(dies_at: int, whole: Path, tmp_path: Path) -> None:
    with pytest.raises(Killed):
        sweep(tmp_path, dies_at=dies_at)
    journal(tmp_path).unlink()
    sweep(tmp_path)
    pd.testing.assert_frame_equal(rows(tmp_path), rows(whole))


def test_more_trials_than_before_after_the_journal_is_gone(study: Path, tmp_path: Path) -> None:
    undisturbed = Path(shutil.copytree(study, tmp_path / "undisturbed"))
    sweep(undisturbed, n_trials=8)
    journal(study).unlink()
    made = sweep(study, n_trials=8)
    assert [run for run in made if "trial" in run] == [f"{w} trial {i}" for w in (8, 16) for i in (6, 7)]
    pd.testing.assert_frame_equal(rows(study), rows(undisturbed))


def test_a_kill_while_trials_are_imported_loses_none(study: Path, whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal(study).unlink()
    real = optuna.storages.journal.JournalFileBackend.append_logs

    def dies_after(most: int) -> Callable[..., None]:
        writes = iter(range(most))

        def append(self: Any, logs: Any) -> None:
            if next(writes, None) is None:
                raise Killed
            real(self, logs)

        return append

    for most in (3, 4, 5, 4, 5, 4):
        monkeypatch.setattr(optuna.storages.journal.JournalFileBackend, "append_logs", dies_after(most))
        with pytest.raises(Killed):
            sweep(study)
        assert len(told(study)) < len(told(whole))
    monkeypatch.undo()
    assert sweep(study) == []
    pd.testing.assert_frame_equal(rows(study), rows(whole))
    assert sorted(told(study), key=str) == sorted(told(whole), key=str)


def test_a_deleted_run_is_made_again_and_named(study: Path, whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(study / "width=16/trial-003")
    made = sweep(study)
    assert made == ["16 trial 3"]
    assert "the records of 1 finished runs are gone, so that they are run again: width=16 trial 3." in (
        capsys.readouterr().err
    )
    pd.testing.assert_frame_equal(rows(study), rows(whole))


def test_a_storage_full_of_trials_and_an_empty_folder_are_refused(study: Path) -> None:
    for cell in study.glob("width=*"):
        shutil.rmtree(cell)
    before = told(study)
    with pytest.raises(InputError, match="must hold the records of its finished runs, but .* has none and the storage"):
        sweep(study)
    assert told(study) == before


def change(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


def test_a_record_that_contradicts_its_trial_is_named_and_nothing_is_touched(study: Path) -> None:
    def other_rate(record: dict[str, Any]) -> None:
        record["config"]["optim.lr"] *= 1.5

    def other_loss(record: dict[str, Any]) -> None:
        record["result"]["val_loss"] *= 1.5

    path = study / "width=8/trial-000/result.json"
    kept, before = path.read_text(), told(study)
    for edit, what in ((other_rate, "another setting"), (other_loss, "another outcome")):
        change(path, edit)
        with pytest.raises(InputError, match=f"trial 0 of cell 'width=8' has {what} in the storage"):
            sweep(study)
        path.write_text(kept)
    assert told(study) == before
    assert sweep(study) == []


def test_another_cells_record_is_not_imported(study: Path) -> None:
    journal(study).unlink()
    shutil.copy(study / "width=16/trial-002/result.json", study / "width=8/trial-002/result.json")
    with pytest.raises(
        InputError, match=r"width=8/trial-002/result.json differs from cell 'width=8': model.width was 16"
    ):
        sweep(study)


def test_a_run_that_ended_after_its_sweep_is_taken_in_whatever_its_trials_number(whole: Path, tmp_path: Path) -> None:
    """Its worker lived on and left a record; meanwhile another sweep had asked for the setting anew, and was killed."""
    with pytest.raises(Killed):
        sweep(tmp_path, dies_at=0)
    (cell, _) = make_cells(*GRID)
    study = CellStudy(cell, open_storage(None, tmp_path), SAMPLER)
    (running,) = [t for t in study.running() if t.user_attrs["index"] == 0]
    study.reclaim(running.number)
    again = study.ask(together=2)
    assert (again.index, again.params) == (0, running.params)
    assert again.number != running.number
    (tmp_path / "width=8/trial-000").mkdir(parents=True, exist_ok=True)
    shutil.copy(whole / "width=8/trial-000/result.json", tmp_path / "width=8/trial-000/result.json")
    assert "8 trial 0" not in sweep(tmp_path)
    pd.testing.assert_frame_equal(rows(tmp_path), rows(whole))


def test_a_finished_record_is_never_cleared(study: Path) -> None:
    tuner = make_tuner(study, InProcess(study), *GRID, **EFFORT)
    cell = tuner.cells["width=8"]
    job = cell.study.ask()
    path = study / "width=8/trial-006/result.json"
    path.parent.mkdir()
    record = json.loads((study / "width=8/trial-005/result.json").read_text())
    path.write_text(json.dumps(record | {"number": 6}))
    with pytest.raises(InputError, match="A finished run must not be overwritten"):
        tuner.ledger.make_room(Job(cell.cell, "trial", 6, job.number, 0, job.params, ""))
    assert path.exists()


def test_a_choice_is_the_same_as_number_and_as_text() -> None:
    row = {"lr": 0.1, "batch_size": 8, "dropout": "0"}
    assert reconcile.same_setting({"optim.lr": 0.1 * (1 + 1e-15), "optim.batch_size": "8", "model.dropout": 0}, row)
    assert not reconcile.same_setting({"optim.lr": 0.1001}, row)
