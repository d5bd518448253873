"""Runs of an Optuna storage as a table of runs, so that anyone's tuning can be fitted: `fit optuna=URL cells=[…]`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from mnist_scaling.errors import InputError
from mnist_scaling.study.files import write_atomically

FILE = "optuna_runs.csv"
"""The table, beside fits.json: one row per finished trial with its study, its parameters, its numbers and its value."""


def write_runs(place: str, folder: Path) -> Path:
    """Write the finished trials of every study in a storage: URL of a database, or the path of a journal file.

    InputError when the storage can't be read, or no trial in it is finished.
    """
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        if "://" not in place and not Path(place).is_file():
            raise FileNotFoundError("there is no such file")
        storage: Any = place if "://" in place else JournalStorage(JournalFileBackend(place))
        studies = [optuna.load_study(study_name=name, storage=storage) for name in optuna.get_all_study_names(storage)]
        done = optuna.trial.TrialState.COMPLETE
        rows = [
            {"study": study.study_name, "number": trial.number}
            | trial.params
            | trial.user_attrs
            | {"value": trial.value}
            for study in studies
            for trial in study.get_trials(deepcopy=False, states=(done,))
            if len(trial.values) == 1
        ]
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            "`optuna` must be a storage of Optuna's, a database's URL or a journal file, but it can't be read "
            f"({reason}): mend it, such as optuna=sqlite:///studies.db."
        ) from None
    for study in studies:
        if study.directions == [optuna.study.StudyDirection.MAXIMIZE]:
            raise InputError(
                f"`optuna` must be a storage of studies that lower a loss, but {study.study_name} maximises its value: "
                "export its trials as a table with the loss in a column, and give that as table=FILE.csv."
            )
    if not rows:
        raise InputError("`optuna` must be a storage with finished trials of one objective, but it has none: run some.")
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / FILE, pd.DataFrame(rows).to_csv(index=False))
    return folder / FILE
