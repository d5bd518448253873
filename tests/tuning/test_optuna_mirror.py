"""Optuna's storages as a mirror: filled after each trial, caught up whole, and read by nobody."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import optuna
import pandas as pd
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna_dashboard import get_note

from mnist_scaling.study.columns import CONTROL, NEIGHBOURS, SAMPLER, TRANSFER
from mnist_scaling.tuning.optuna_mirror import GRID, Mirror, _range_of, _write_note, without_password

from .helpers import InProcess, Study

pytestmark = pytest.mark.slow


def sweep(folder: Path, url: str | None = None, n_trials: int = 3) -> None:
    """A sweep with its mirror, as `CellSweeper` does it."""
    mirror = Mirror(url, folder)
    study = Study(folder, InProcess(), "model.width=4,8", n_trials=n_trials, rule=NEIGHBOURS, mirror=mirror)
    for _ in range(2):
        mirror.show(((cell, study.driver.ledger.trials(cell)) for cell in study.cells), again=True)
        study.run()
    mirror.close()


def mirrored(url: str) -> dict[str, list[tuple[int, float | None]]]:
    """What a storage has of each cell: the places and losses of its trials."""
    storage: str | optuna.storages.BaseStorage = url
    if url.startswith("/"):
        storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(url))
    found = {}
    for name in optuna.get_all_study_names(storage):
        if name.endswith(GRID):
            continue
        study = optuna.load_study(study_name=name, storage=storage)
        assert study.metric_names == ["val_loss"]
        assert f"width={study.user_attrs['width']}" == name.split()[-1]
        trials = study.get_trials()
        found[name.split()[-1]] = sorted((t.number, t.value) for t in trials)
    return found


def expected(folder: Path) -> dict[str, list[tuple[int, float | None]]]:
    table = pd.read_csv(folder / "trials.csv").query("stage == 'trial'")
    return {f"width={w}": list(zip(own["number"], own["val_loss"], strict=True)) for w, own in table.groupby("width")}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "study"


def test_every_trial_is_in_the_folders_journal(folder: Path) -> None:
    sweep(folder)
    assert mirrored(str(folder / "optuna.journal")) == expected(folder)
    before = (folder / "optuna.journal").read_bytes()
    sweep(folder)
    assert (folder / "optuna.journal").read_bytes() == before, "nothing is added twice"


def test_the_dashboard_has_a_note_on_each_cell(folder: Path) -> None:
    sweep(folder)
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(folder / "optuna.journal")))
    cells = pd.read_csv(folder / "cells.csv")
    for width in (4, 8):
        note = get_note(optuna.load_study(study_name=f"width={width}", storage=storage))
        (row,) = cells[cells["width"] == width].to_dict("records")
        assert f"| lr | {row['lr']:.5g} |" in note
        assert f"3 trials, runs in `{folder}/width={width}/`" in note
        assert re.search(r"\*\*Trial \d is selected\*\* \(origin: (control|transfer|sampler)\)", note)
        assert all(f"`{origin}` is" in note for origin in (CONTROL, TRANSFER, SAMPLER))


def test_the_newest_study_is_the_grid_with_the_best_trial_of_each_cell(folder: Path) -> None:
    for n_trials in (2, 3):
        sweep(folder, n_trials=n_trials)
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(folder / "optuna.journal")))
    newest = max(storage.get_all_studies(), key=lambda study: study._study_id)
    assert newest.study_name == GRID
    cells = pd.read_csv(folder / "cells.csv")
    found = {t.params["width"]: (t.value, t.user_attrs["optim.lr"]) for t in storage.get_all_trials(newest._study_id)}
    assert found == {row.width: (row.val_loss, row.lr) for row in cells.itertuples()}
    note = get_note(optuna.load_study(study_name=GRID, storage=storage))
    own = {study.study_name: study._study_id for study in storage.get_all_studies()}
    linked = [f"\n{row.width}|[{row.val_loss:.4f}](../{own[f'width={row.width}']}/note)" for row in cells.itertuples()]
    assert all(line in note for line in linked)


def test_plots_of_the_grid_have_numbers_in_order_and_in_logarithms_above_0() -> None:
    ranges = [_range_of(pd.Series(values)) for values in ([16, 2, 11], [0.5, 1.0], [0.2, 0.0], ["b", "a"], [True])]
    assert ranges == [
        IntDistribution(2, 16, log=True), FloatDistribution(0.5, 1.0, log=True), FloatDistribution(0.0, 0.2),
        CategoricalDistribution(["a", "b"]), CategoricalDistribution([True]),
    ]  # fmt: skip


@pytest.mark.parametrize("values", [[None, 1.0, 2.0], [None, 4, 8], [None, "a"], [0, 1], [True, False]])
def test_every_value_of_an_axis_is_in_its_range(values: list[object]) -> None:
    """null beside numbers, too, such as an axis without and with clipping, which pandas reads as NaN."""
    axis = pd.DataFrame({"clip": values})
    for params in axis.to_dict("records"):
        optuna.create_trial(value=1.0, params=params, distributions={"clip": _range_of(axis["clip"])})


def test_a_note_of_several_parts_is_read_as_one_and_what_it_lacks_is_written() -> None:
    study = optuna.create_study()
    for parts in (("first", ", then", ", last"), ("first", ", again"), ("first", ", again")):
        _write_note(study, *parts)
        assert get_note(study) == "".join(parts)
    assert study._storage.get_study_system_attrs(study._study_id)["dashboard:note_ver"] == 2


def test_a_trial_that_was_deleted_meanwhile_is_no_fault_of_the_storage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = Study(tmp_path, InProcess(), "model.width=4,8", n_trials=2, n_repeats=0)
    study.run()
    shown = [(cell, study.driver.ledger.trials(cell)) for cell in study.cells]
    mirror = Mirror(None, tmp_path)
    (tmp_path / "width=4/trial-000").rename(tmp_path / "away")
    mirror.show(shown)
    mirror.close()
    assert "Warning" not in capsys.readouterr().err
    found = mirrored(str(tmp_path / "optuna.journal"))
    assert [len(found[cell]) for cell in ("width=4", "width=8")] == [0, 2]


def test_a_trial_waits_for_those_before_it_so_that_its_number_is_that_of_its_run(tmp_path: Path) -> None:
    study = Study(tmp_path, InProcess(), "model.width=4,8", n_trials=3, n_repeats=0)
    study.run()
    mirror = Mirror(None, tmp_path)
    cell = study.cells[0]
    first, second, third = study.driver.ledger.trials(cell)
    for ended in ([second], [second, third], [first, second, third]):
        mirror.show([(cell, ended)])
    mirror.close()
    numbers = [(number, value) for number, value in mirrored(str(tmp_path / "optuna.journal"))["width=4"]]
    assert numbers == [(trial.index, trial.value) for trial in (first, second, third)]


def test_a_finished_study_fills_another_storage(folder: Path) -> None:
    sweep(folder)
    url = f"sqlite:///{folder.parent}/all.db"
    sweep(folder, url)
    assert mirrored(url) == expected(folder)


def test_a_tilde_is_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    mirrors = [Mirror(url, tmp_path) for url in ("sqlite:///~/all.db", "journal:///~/all", "postgresql://a~b/c")]
    assert [mirror._url for mirror in mirrors] == [
        f"sqlite:///{tmp_path}/all.db", f"journal:///{tmp_path}/all", "postgresql://a~b/c",
    ]  # fmt: skip


def test_two_folders_of_one_name_share_a_database(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/all.db"
    sweep(tmp_path / "a/study", url)
    sweep(tmp_path / "b/study", url)
    assert sorted(s.n_trials for s in optuna.get_all_study_summaries(url)) == [2] * 2 + [3] * 4


@pytest.mark.parametrize("damage", ["deleted", "torn", "nonsense"])
def test_a_damaged_journal_is_made_again(folder: Path, damage: str, capsys: pytest.CaptureFixture[str]) -> None:
    sweep(folder)
    path = folder / "optuna.journal"
    content = path.read_bytes()
    if damage == "deleted":
        path.unlink()
    else:
        path.write_bytes(content[: len(content) // 2] if damage == "torn" else b"nonsense\n" + content)
    sweep(folder, n_trials=4)
    assert mirrored(str(path)) == expected(folder)
    assert capsys.readouterr().err == ""


def test_a_mirror_that_is_away_costs_one_warning_and_no_row(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    away = folder.parent / "away"
    url = f"sqlite:///{away}/all.db"
    sweep(folder, url)
    said = capsys.readouterr().err
    assert said.count("Warning: the mirror for Optuna's dashboard") == 1
    assert "can't be written (OperationalError). The study goes on without it" in said
    assert len(pd.read_csv(folder / "trials.csv")) == 10
    away.mkdir()
    sweep(folder, url)
    assert mirrored(url) == expected(folder)
    shutil.rmtree(away)


@pytest.mark.parametrize("key", ["hydra.sweeper.storage", "++hydra.sweeper.storage", "hydra.sweeper"])
def test_no_part_of_a_url_that_may_hold_a_password_is_kept(key: str) -> None:
    url = "postgresql://me:word@dbhost/db?sslpassword=word"
    value = f"{{storage: '{url}', n_trials: 2}}" if key == "hydra.sweeper" else url
    assert without_password(f"{key}={value}") == f"{key}=…"
    assert without_password("hydra.sweeper.n_trials=2") == "hydra.sweeper.n_trials=2"
    assert without_password(f"name={url}") == f"name={url}"
