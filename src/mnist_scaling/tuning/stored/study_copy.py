"""A cell's study as it was at one moment, for a worker that can't reach the storage: it travels with the job.

A pruner may see the trials of earlier rounds, which have ended before a job starts, and the job's own reports, but no
trial that runs beside it (`trials.judged`). So it decides by the copy as it would by the storage itself.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.trial import FrozenTrial

from mnist_scaling.tuning.cell.trials import EXCLUDED
from mnist_scaling.tuning.stored.storage import user_attributes

_HELD: dict[Path, BaseStorage] = {}


@dataclass(frozen=True)
class StudyCopy:
    """All trials of a study, and what decides which of them count."""

    name: str
    trials: Sequence[FrozenTrial]
    """In the order of their numbers, which the copy keeps."""
    attributes: Mapping[str, Any]
    """User attributes of the study."""

    @classmethod
    def of(cls, study: optuna.Study) -> StudyCopy:
        """The study as it is now."""
        known = user_attributes(study)
        attributes = {EXCLUDED: list(known[EXCLUDED])} if EXCLUDED in known else {}
        return cls(study.study_name, study.get_trials(deepcopy=False), attributes)

    @contextlib.contextmanager
    def held(self, folder: Path) -> Iterator[None]:
        """Make the copy, in this process's memory, what jobs with that study's folder take for its storage."""
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        storage = InMemoryStorage()
        study = optuna.create_study(study_name=self.name, storage=storage, direction="minimize")
        study.add_trials(self.trials)
        for key, value in self.attributes.items():
            study.set_user_attr(key, value)
        _HELD[folder] = storage
        try:
            yield
        finally:
            del _HELD[folder]


def held(folder: Path) -> BaseStorage | None:
    """The storage in memory that is held for a folder, if there is one."""
    return _HELD.get(folder)
