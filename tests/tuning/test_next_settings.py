from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf
from optuna.trial import create_trial

from mnist_scaling.errors import InputError
from mnist_scaling.study import vocabulary
from mnist_scaling.study.vocabulary import COMPLETE, DIVERGED, FAILED, PRUNED
from mnist_scaling.tuning.cell.cell_study import CellStudy
from mnist_scaling.tuning.stored.storage import DIVERGED_VALUE, mend, open_storage, tell

from .helpers import SAMPLER, make_cells


def make(tmp_path: Path, storage: str | None = None, sampler: object = SAMPLER) -> CellStudy:
    (cell,) = make_cells("model.width=8", "optim.batch_size=32")
    return CellStudy(cell, open_storage(storage, tmp_path), sampler)  # type: ignore[arg-type]


@pytest.mark.parametrize("storage", [None, "sqlite:///{}/s.db", "journal:///{}/j.log"])
def test_storages_give_the_same_settings(tmp_path: Path, storage: str | None) -> None:
    asked = []
    for folder, url in ((tmp_path / "a", None), (tmp_path / "b", storage and storage.format(tmp_path))):
        folder.mkdir()
        cell_study = make(folder, url)
        params = []
        for i in range(5):
            ask = cell_study.ask()
            assert ask.index == i
            tell(cell_study.study, ask.number, COMPLETE, ask.params["optim.lr"])
            params.append(ask.params)
        asked.append(params)
    assert asked[0] == asked[1]


def test_an_unreachable_storage_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"`hydra.sweeper.storage` must be a database that opens, but nonsense://x"):
        open_storage("nonsense://x", tmp_path)


@pytest.mark.parametrize(
    ("state", "loss", "told", "value"),
    [
        (COMPLETE, 0.5, "COMPLETE", 0.5),
        (DIVERGED, None, "COMPLETE", DIVERGED_VALUE),
        (PRUNED, 0.7, "PRUNED", None),
        (FAILED, None, "FAIL", None),
    ],
)
def test_what_optuna_is_told(tmp_path: Path, state: str, loss: float | None, told: str, value: float | None) -> None:
    cell_study = make(tmp_path)
    ask = cell_study.ask()
    tell(cell_study.study, ask.number, state, loss)
    trial = cell_study.study.trials[ask.number]
    assert (trial.state.name, trial.value) == (told, value)
    tell(cell_study.study, ask.number, COMPLETE, 9.0)  # a late second word changes nothing
    assert cell_study.study.trials[ask.number].value == value
    assert cell_study.counted() == 1


def test_a_reclaimed_setting_comes_back_at_its_place(tmp_path: Path) -> None:
    cell_study = make(tmp_path)
    asks = [cell_study.ask() for _ in range(3)]
    tell(cell_study.study, asks[0].number, COMPLETE, 1.0)
    tell(cell_study.study, asks[2].number, COMPLETE, 1.0)
    (zombie,) = cell_study.running()
    cell_study.reclaim(zombie.number)
    assert cell_study.counted() == 2
    again = cell_study.ask()
    assert (again.index, again.params) == (1, asks[1].params)
    assert again.number == 3
    assert cell_study.ask().index == 3


def test_a_resumed_sampler_does_not_replay(tmp_path: Path) -> None:
    random = OmegaConf.create({"_target_": "optuna.samplers.RandomSampler"})
    first = [make(tmp_path, sampler=random).ask().params["optim.lr"] for _ in range(4)]
    assert len(set(first)) == 4


def test_a_quasi_random_sequence_stays_one_sequence(tmp_path: Path) -> None:
    qmc = OmegaConf.create({"_target_": "optuna.samplers.QMCSampler", "scramble": True})
    (cell,) = make_cells("optim.batch_size=32")
    cell_study = CellStudy(cell, open_storage(None, tmp_path), qmc)
    lows = 0
    for _ in range(9):
        ask = cell_study.ask()
        tell(cell_study.study, ask.number, COMPLETE, 1.0)
        lows += ask.index > 0 and ask.params["model.dropout"] < 0.15
    assert lows == 4  # a scrambled Sobol sequence puts half of every 2^k points in each half


def test_cells_are_user_attributes_for_the_dashboard(tmp_path: Path) -> None:
    (cell,) = make_cells("data.fraction=choice(0.25)", "model.width=choice(16)")
    cell_study = CellStudy(cell, open_storage(None, tmp_path), SAMPLER)
    attributes = cell_study.study.user_attrs
    assert cell_study.study.study_name == "width=16 data_fraction=0.25"
    assert (attributes["width"], attributes["data_fraction"]) == (16, 0.25)
    assert cell_study.study.metric_names == ["val_loss"]


def test_a_carried_value_beyond_a_range_makes_room_for_itself(tmp_path: Path) -> None:
    cell_study = make(tmp_path)
    setting = {"optim.lr": 0.2, "model.dropout": 0.1}
    cell_study.open([setting])
    assert cell_study.space["optim.lr"].high == 0.2  # type: ignore[attr-defined]
    assert set(cell_study.widened) == {"optim.lr"}
    ask = cell_study.ask()
    assert (ask.params, ask.origin) == (setting, vocabulary.TRANSFER)
    assert cell_study.ask().origin == vocabulary.CONTROL
    assert cell_study.ask().origin == vocabulary.SAMPLER


def test_only_the_first_opening_counts(tmp_path: Path) -> None:
    make(tmp_path).open([{"optim.lr": 0.01, "model.dropout": 0.1}])
    again = make(tmp_path)
    again.open([{"optim.lr": 0.02, "model.dropout": 0.2}])
    assert again.ask().params["optim.lr"] == 0.01


def test_a_trial_is_asked_for_in_one_write(tmp_path: Path) -> None:
    """Setting, place, origin and group: a kill at any moment leaves a whole trial or none."""
    cell_study = make(tmp_path)
    cell_study.open([{"optim.lr": 0.01, "model.dropout": 0.1}])
    journal = tmp_path / "optuna.journal"
    for _ in range(4):  # transferred, the control, two of the sampler's
        before = len(journal.read_text().splitlines())
        ask = cell_study.ask()
        assert len(journal.read_text().splitlines()) == before + 1
        found = make(tmp_path).trials()[ask.number]
        assert (found.params, found.user_attrs["index"], found.user_attrs["origin"]) == (
            ask.params,
            ask.index,
            ask.origin,
        )


@pytest.mark.parametrize("target", ["RandomSampler", "TPESampler", "QMCSampler"])
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_a_reclaimed_place_changes_no_later_setting(tmp_path: Path, target: str) -> None:
    """A kill between two trials of a round, whatever the sampler."""
    sampler = OmegaConf.create({"_target_": f"optuna.samplers.{target}"})
    asked = []
    for folder, killed in ((tmp_path / "whole", None), (tmp_path / "killed", 3)):
        folder.mkdir()
        found: dict[int, dict[str, object]] = {}
        cell_study = make(folder, sampler=sampler)
        while len(found) < 6:
            ask = cell_study.ask(together=2)
            found[ask.index] = ask.params
            if ask.index == killed:
                killed = None
                cell_study.reclaim(ask.number)
                del found[ask.index]
                cell_study = make(folder, sampler=sampler)
            else:
                tell(cell_study.study, ask.number, COMPLETE, ask.params["optim.lr"])
        asked.append(found)
    assert asked[0] == asked[1]


def test_a_failed_trial_can_be_taken_back(tmp_path: Path) -> None:
    cell_study = make(tmp_path)
    first = cell_study.ask()
    tell(cell_study.study, first.number, FAILED, None)
    assert cell_study.counted() == 1
    cell_study.reclaim(first.number)
    assert cell_study.counted() == 0
    again = cell_study.ask()
    assert (again.index, again.params) == (0, first.params)


def test_a_sampler_learns_from_its_neighbours_trials(tmp_path: Path) -> None:
    """With twenty of them that say lr = 0.02, the very first draw of a TPE lies there."""
    told, alone = make(tmp_path / "a"), make(tmp_path / "b")
    rng = np.random.default_rng(0)
    theirs = []
    for _ in range(20):
        lr, dropout = float(np.exp(rng.uniform(np.log(1e-3), np.log(5e-2)))), float(rng.uniform(0, 0.3))
        loss = 0.1 + abs(np.log(lr / 0.02))
        params = {"optim.lr": lr, "model.dropout": dropout}
        theirs.append(create_trial(params=params, distributions=told.cell.space, value=loss))
    told.neighbour_trials = lambda own: theirs
    asked = [study_.ask().params["optim.lr"] for study_ in (told, alone)]
    assert abs(np.log(asked[0] / 0.02)) < 0.7
    assert len(told.trials()) == 1, "what it learns from stays out of the study"
    assert asked[0] != asked[1]


def test_a_torn_journal_is_mended(tmp_path: Path) -> None:
    """A full disk leaves half an entry; what was written once there was room again follows on the same line."""
    cell_study = make(tmp_path)
    first = cell_study.ask()
    path = tmp_path / "optuna.journal"
    before = path.read_text()
    assert before.startswith('{"op_code":')
    tell(cell_study.study, first.number, COMPLETE, 0.5)
    told = path.read_text()[len(before) :]
    half = before.splitlines()[-1][:40]
    path.write_text(before + half + told + half)
    mend(None, tmp_path)
    assert path.read_text() == before + told
    again = make(tmp_path)
    assert [t.value for t in again.trials()] == [0.5]
    again.ask()
    assert make(tmp_path).counted() == 1
