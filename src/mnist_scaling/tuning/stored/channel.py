"""A job's connection to its study: reports on the way, its result at the end. Opened when it is first used."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from mnist_scaling.config import TrialConfig
from mnist_scaling.study import vocabulary
from mnist_scaling.tuning.workers import faults

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial


class SupersededError(Exception):
    """A trial has ended, or was given to another run, while this run still trained."""


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
    patience : float
        Seconds to wait for a database that does not answer.
    """

    def __init__(
        self,
        trial: TrialConfig,
        storage: str | None,
        folder: Path,
        pruner: DictConfig | None = None,
        patience: float = 0.0,
    ) -> None:
        self._trial, self._url, self._folder, self._pruner = trial, storage, folder, pruner
        self._patience = patience

    @property
    def prunes(self) -> bool:
        """Whether reports are sent to a pruner; repeats are never pruned."""
        return self._pruner is not None and self._trial.stage == vocabulary.TRIAL

    def report(self, number: int, loss: float) -> bool:
        """Tell an intermediate loss; whether the pruner wants the run to stop.

        Raises
        ------
        SupersededError
            See `check`.
        MachineError
            When the storage could not be reached for some seconds.
        """
        from mnist_scaling.tuning.stored import patience

        stop = faults.retry(lambda: self._report(number, loss))
        patience.hang_up(self._study)
        return stop

    def _report(self, number: int, loss: float) -> bool:
        from mnist_scaling.tuning.cell import trials
        from mnist_scaling.tuning.stored import storage

        if max(self.check().intermediate_values, default=number) > number:
            # A cluster may start a run again whose worker died; the sweep must ask for its trial anew.
            raise SupersededError(f"another run of trial {self._trial.number} of '{self._trial.study}' came further")
        storage.open_trial(self._study, self._trial.number).report(loss, step=number)
        stop = trials.is_stopped(self._study, self._trial.number)
        # The control shows what an untuned grid would measure: it runs to its end.
        return stop and self._trial.origin != vocabulary.CONTROL

    def check(self) -> FrozenTrial:
        """The trial, as long as it waits for this run.

        Raises
        ------
        SupersededError
            When a resumed sweep has given the trial's setting to another run, or the storage was made again. On a
            cluster a worker may outlive its sweep for long, and its record must not take the other run's place.
        """
        from mnist_scaling.tuning.cell import trials
        from mnist_scaling.tuning.stored import patience

        number = self._trial.number
        try:
            patience.forget(self._study)
            trial = self._study.get_trials(deepcopy=False)[number]
        except LookupError as error:  # no such study, or fewer trials
            raise SupersededError(f"there is no trial {number} of '{self._trial.study}' any more") from error
        if trial.state.is_finished() or trial.user_attrs.get(trials.INDEX) != self._trial.index:
            raise SupersededError(f"trial {number} of '{self._trial.study}' has ended without this run")
        return trial

    def notes(self) -> dict[str, Any]:
        """What sampler and pruner noted on the trial. The record keeps it for a storage that is emptied later.

        Raises
        ------
        SupersededError
            See `check`.
        """
        return dict(self.check().system_attrs)

    def tell(self, record: dict[str, Any]) -> None:
        """Tell how the run ended."""
        from mnist_scaling.tuning.stored import patience, storage

        loss = (record["result"] or {}).get("val_loss")
        storage.tell(self._study, self._trial.number, record["state"], loss)
        patience.hang_up(self._study)

    @functools.cached_property
    def _study(self) -> optuna.Study:
        import optuna

        from mnist_scaling.tuning.cell import optuna_objects
        from mnist_scaling.tuning.stored import study_copy
        from mnist_scaling.tuning.stored.storage import open_once

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        pruner = None if self._pruner is None else optuna_objects.make(self._pruner)
        storage = study_copy.held(self._folder) or open_once(self._url, self._folder, self._patience)
        return optuna.load_study(study_name=str(self._trial.study), storage=storage, pruner=pruner)
