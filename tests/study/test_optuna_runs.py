"""Finished trials of an Optuna storage become a table of runs."""

from __future__ import annotations

from pathlib import Path

import optuna
import pandas as pd
import pytest

from mnist_scaling.arms.optuna_runs import write_runs
from mnist_scaling.config.fit_schema import FitConfig
from mnist_scaling.errors import InputError


def test_finished_trials_of_every_study_are_rows(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/studies.db"
    for width in (8, 16):
        study = optuna.create_study(study_name=f"width {width}", storage=url)
        for value in (0.5, 0.25):
            trial = optuna.trial.create_trial(
                params={"lr": value},
                distributions={"lr": optuna.distributions.FloatDistribution(0, 1)},
                user_attrs={"width": width},
                value=value / width,
            )
            study.add_trial(trial)
        study.add_trial(optuna.trial.create_trial(state=optuna.trial.TrialState.FAIL))
    runs = pd.read_csv(write_runs(url, tmp_path / "fits"))
    assert runs.columns.tolist() == ["study", "number", "lr", "width", "value"]
    assert runs["value"].tolist() == [0.0625, 0.03125, 0.03125, 0.015625]


def test_a_study_whose_value_is_to_rise_is_refused(tmp_path: Path) -> None:
    """The best run of a cell is the one of the lowest value: of accuracies that would be the worst."""
    url = f"sqlite:///{tmp_path}/studies.db"
    study = optuna.create_study(study_name="accuracy", storage=url, direction="maximize")
    study.add_trial(optuna.trial.create_trial(value=0.9))
    with pytest.raises(InputError, match="studies that lower a loss, but accuracy maximises its value"):
        write_runs(url, tmp_path / "fits")


def test_a_storage_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"can't be read \(there is no such file\)"):
        write_runs(str(tmp_path / "optuna.journal"), tmp_path)
    with pytest.raises(InputError, match="`optuna` must go with out=FOLDER"):
        FitConfig(optuna="sqlite:///x.db")
    with pytest.raises(InputError, match="`cells` must go with table"):
        FitConfig(name="mine", cells=["width"])
