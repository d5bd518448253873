"""A job's line to its study: report on the way, tell at the end. Opened only when something is said."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from omegaconf import DictConfig

from mnist_scaling.config import TrialConfig
from mnist_scaling.study import vocabulary

if TYPE_CHECKING:
    import optuna
    from optuna.storages import BaseStorage


class Channel:
    """The study of one trial, as its job sees it from whatever process or machine it runs on.

    Parameters
    ----------
    trial : TrialConfig
        Which trial of which study.
    storage : str or None
        URL of the storage; None for the default one in `folder`.
    folder : Path
        multirun/<name>.
    pruner : DictConfig or None
        Node of the ``hydra/sweeper/pruner`` group; None never stops a run.
    """

    def __init__(self, trial: TrialConfig, storage: str | None, folder: Path, pruner: DictConfig | None = None) -> None:
        self._trial, self._url, self._folder, self._pruner = trial, storage, folder, pruner

    @property
    def prunes(self) -> bool:
        """Whether anyone listens to reports: repeats are never pruned."""
        return self._pruner is not None and self._trial.stage == vocabulary.TRIAL

    def report(self, number: int, loss: float) -> bool:
        """Tell an intermediate loss; whether the pruner wants the run to stop."""
        from mnist_scaling.tuning import storage, trials

        storage.open_trial(self._study, self._trial.number).report(loss, step=number)
        latest = self._study.get_trials(deepcopy=False)[self._trial.number]
        stop = self._study.pruner.prune(cast("optuna.Study", trials.Judges(self._study, latest)), latest)
        # The control shows what an untuned grid would measure: it runs to its end.
        return stop and self._trial.origin != vocabulary.CONTROL

    def tell(self, record: dict[str, Any]) -> None:
        """Tell how the run ended."""
        from mnist_scaling.tuning import storage

        loss = (record["result"] or {}).get("val_loss")
        storage.tell(self._study, self._trial.number, record["state"], loss)

    @functools.cached_property
    def _study(self) -> optuna.Study:
        import optuna

        from mnist_scaling.tuning import optuna_objects

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        pruner = None if self._pruner is None else optuna_objects.make(self._pruner)
        storage = _storage(self._url, self._folder)
        return optuna.load_study(study_name=str(self._trial.study), storage=storage, pruner=pruner)


@functools.lru_cache(maxsize=1)
def _storage(url: str | None, folder: Path) -> BaseStorage:
    """One storage a process: a journal is replayed when opened, and read on from there afterwards."""
    from mnist_scaling.tuning.storage import open_storage

    return open_storage(url, folder)
