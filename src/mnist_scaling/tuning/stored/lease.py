"""The claim of a sweep on its study, in a storage that several sweeps may share: one sweep per study.

The lock in the study's folder keeps two sweeps of one folder apart. Two checkouts that share a database have a folder
each, but the same names of studies; there the claim decides. Claims are the trials of an Optuna study of their own,
because a storage numbers trials one after another: of all claims that are still RUNNING the first holds the study.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.trial import TrialState, create_trial

from mnist_scaling.errors import InputError
from mnist_scaling.tuning.stored.patience import hurry
from mnist_scaling.tuning.workers.faults import is_fault

NAME = "sweeps"
"""Of the Optuna study: one trial per sweep, its value the seconds that the sweep took."""

HOST, PID, NAMESPACE, FOLDER, SEEN = "host", "pid", "namespace", "folder", "seen"
"""User attributes of a claim: whose it is, and when that sweep was last heard of, in seconds since 1970."""

BEAT_SECONDS = 20.0
SILENT_SECONDS = 180.0
"""A claim that its sweep has not renewed for so long is watched for two beats, since clocks differ; then it is void."""


class Lease:
    """The right to drive a study, from `with` to its end.

    Parameters
    ----------
    storage : optuna storage
    prefix : str
        Before the names of the study's Optuna studies.
    folder : Path
        The study's.
    beat, silent : float
        Seconds.

    Raises
    ------
    InputError
        On entering, when another sweep drives the study.
    """

    def __init__(
        self,
        storage: BaseStorage,
        prefix: str,
        folder: Path,
        beat: float = BEAT_SECONDS,
        silent: float = SILENT_SECONDS,
    ) -> None:
        self._storage, self._folder, self._beat, self._silent = storage, folder.resolve(), beat, silent
        self._study_name = prefix + NAME
        self._ended = threading.Event()
        self._renewed = time.monotonic()
        self._thread = threading.Thread(target=self._renew_on, daemon=True, name="lease")

    def __enter__(self) -> Lease:
        study = optuna.create_study(
            study_name=self._study_name, storage=self._storage, direction="minimize", load_if_exists=True
        )
        attributes = {HOST: socket.gethostname(), PID: os.getpid(), NAMESPACE: _namespace()}
        attributes |= {FOLDER: str(self._folder), SEEN: time.time()}
        claim = create_trial(state=TrialState.RUNNING, user_attrs=attributes)
        self._claim = self._storage.create_new_trial(study._study_id, template_trial=claim)
        self._started = self._renewed = time.monotonic()
        self._thread.start()  # before the others' claims are looked at, which may take longer than our claim lasts
        try:
            self._settle_earlier(study._study_id, attributes)
        except BaseException:
            self._end(TrialState.FAIL)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end(TrialState.COMPLETE)

    def check(self) -> None:
        """Check that this sweep still holds the study, which it may have lost while its process was stopped.

        Raises
        ------
        InputError
            When another sweep has taken it over.
        """
        if time.monotonic() - self._renewed > 2 * self._beat:
            self._renew()
        if self._storage.get_trial(self._claim).state != TrialState.RUNNING:
            raise InputError(
                f"A study takes one sweep at a time, but another one has taken over {self._folder} while this one was "
                "not heard of: let that one finish; what this one measured is kept."
            )

    def _settle_earlier(self, study: int, own: Mapping[str, Any]) -> None:
        """Void the earlier claims whose sweeps are gone; refuse to go on beside one that is not."""
        mine = self._storage.get_trial(self._claim).number
        for trial in self._storage.get_all_trials(study, deepcopy=False, states=(TrialState.RUNNING,)):
            if trial.number >= mine:
                continue
            owner = trial.user_attrs
            if all(owner[key] == own[key] for key in (HOST, PID, NAMESPACE, FOLDER)):
                # This sweep's own, from before a fault: the storage could not be told its end, or its answer was lost.
                self._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
                continue
            if not self._is_gone(trial._trial_id, owner):
                raise InputError(
                    f"A study takes one sweep at a time, but process {owner[PID]} on {owner[HOST]} is running "
                    f"{self._study_name.removesuffix(f': {NAME}')} in {owner[FOLDER]} on the same storage: wait for "
                    "it, or give this one another `name=`."
                )
            self._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
            print(
                f"Warning: process {owner[PID]} on {owner[HOST]} is gone: this sweep takes over its study, which ran "
                f"in {owner[FOLDER]}.",
                file=sys.stderr,
            )

    def _is_gone(self, claim: int, owner: Mapping[str, Any]) -> bool:
        if (owner[HOST], owner[NAMESPACE]) == (socket.gethostname(), _namespace()) and not _lives(owner[PID]):
            return True
        if time.time() - owner[SEEN] < self._silent:
            return False
        time.sleep(2 * self._beat)
        return self._storage.get_trial(claim).user_attrs[SEEN] == owner[SEEN]

    def _renew_on(self) -> None:
        with hurry():
            while not self._ended.wait(self._beat):
                try:
                    self._renew()
                except Exception as error:  # a storage that is gone is found by the sweep itself
                    if not is_fault(error):
                        return

    def _renew(self) -> None:
        # Optuna refuses to change a claim that another sweep has ended, which `check` finds.
        with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
            self._storage.set_trial_user_attr(self._claim, SEEN, time.time())
        self._renewed = time.monotonic()

    def _end(self, state: TrialState) -> None:
        self._ended.set()
        self._thread.join()
        values = [time.monotonic() - self._started] if state == TrialState.COMPLETE else None
        try:
            with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError), hurry():
                self._storage.set_trial_state_values(self._claim, state, values)
        except Exception as error:
            if not is_fault(error):  # the claim is void once this process is gone
                raise


def _namespace() -> int:
    """Which processes a process number counts among: containers of one host may number theirs alike."""
    try:
        return Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return 0


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it lives, under another user
        return True
    return True
