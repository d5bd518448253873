from __future__ import annotations

from pathlib import Path

import optuna
import pytest
from omegaconf import OmegaConf

from mnist_scaling.errors import InputError
from mnist_scaling.results import COMPLETE, DIVERGED, FAILED, PRUNED
from mnist_scaling.tuning import study
from mnist_scaling.tuning.study import CellStudy

from .helpers import SAMPLER, make_cells


def make(tmp_path: Path, storage: str | None = None, sampler: object = SAMPLER) -> CellStudy:
    (cell,) = make_cells("model.width=8", "optim.batch_size=32")
    return CellStudy(cell, study.open_storage(storage, tmp_path), sampler, [])  # type: ignore[arg-type]


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
            study.tell(cell_study.study, ask.number, COMPLETE, ask.params["optim.lr"])
            params.append(ask.params)
        asked.append(params)
    assert asked[0] == asked[1]


def test_an_unreachable_storage_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"`hydra.sweeper.storage` must be a database that opens, but nonsense://x"):
        study.open_storage("nonsense://x", tmp_path)


@pytest.mark.parametrize(
    ("state", "loss", "told", "value"),
    [
        (COMPLETE, 0.5, "COMPLETE", 0.5),
        (DIVERGED, None, "COMPLETE", study.DIVERGED_VALUE),
        (PRUNED, 0.7, "PRUNED", None),
        (FAILED, None, "FAIL", None),
    ],
)
def test_what_optuna_is_told(tmp_path: Path, state: str, loss: float | None, told: str, value: float | None) -> None:
    cell_study = make(tmp_path)
    ask = cell_study.ask()
    study.tell(cell_study.study, ask.number, state, loss)
    trial = cell_study.study.trials[ask.number]
    assert (trial.state.name, trial.value) == (told, value)
    study.tell(cell_study.study, ask.number, COMPLETE, 9.0)  # a late second word changes nothing
    assert cell_study.study.trials[ask.number].value == value
    assert cell_study.counted() == 1


def test_a_reclaimed_setting_comes_back_at_its_place(tmp_path: Path) -> None:
    cell_study = make(tmp_path)
    asks = [cell_study.ask() for _ in range(3)]
    study.tell(cell_study.study, asks[0].number, COMPLETE, 1.0)
    study.tell(cell_study.study, asks[2].number, COMPLETE, 1.0)
    (zombie,) = cell_study.running()
    cell_study.reclaim(zombie)
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
    cell_study = CellStudy(cell, study.open_storage(None, tmp_path), qmc, [])
    lows = 0
    with pytest.warns(optuna.exceptions.ExperimentalWarning):
        for _ in range(9):
            ask = cell_study.ask()
            study.tell(cell_study.study, ask.number, COMPLETE, 1.0)
            lows += ask.index > 0 and ask.params["model.dropout"] < 0.15
    assert lows == 4  # a scrambled Sobol sequence puts half of every 2^k points in each half


def test_cells_are_user_attributes_for_the_dashboard(tmp_path: Path) -> None:
    (cell,) = make_cells("data.fraction=choice(0.25)", "model.width=choice(16)")
    cell_study = CellStudy(cell, study.open_storage(None, tmp_path), SAMPLER, [])
    attributes = cell_study.study.user_attrs
    assert cell_study.study.study_name == "width=16 data_fraction=0.25"
    assert (attributes["width"], attributes["data_fraction"]) == (16, 0.25)
    assert cell_study.study.metric_names == ["val_loss"]
