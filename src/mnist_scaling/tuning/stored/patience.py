"""A database whose server is away for a while: whoever asks it waits, says so, and asks again.

A server is restarted, a network fails for a minute, all connections are taken: none of that is the fault of a run, and
none of it should end what trains meanwhile. So every call to the storage is made again until the server answers, with
waits that grow, up to a stated time. After that the sweep ends with one sentence, and the same command resumes it.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from datetime import datetime
from typing import Any, TypeVar, cast

import optuna
from optuna.exceptions import DuplicatedStudyError, UpdateFinishedTrialError
from optuna.storages import BaseStorage

from mnist_scaling.tuning.workers import faults

FIRST_SECONDS, LONGEST_SECONDS = 1.0, 10.0
"""Waits between tries: each is twice the one before, up to the longest."""

_AWAY = ("OperationalError", "InterfaceError", "PendingRollbackError", "TimeoutError")
"""Names of SQLAlchemy's classes for a server that does not answer, or has cut a connection within a transaction."""

_AS_THEY_ARE = {"deepcopy": False, "states": None}
"""Options of a request for all trials of a study, not to be changed."""

_hurried: ContextVar[bool] = ContextVar("hurried", default=False)

Result = TypeVar("Result")


@contextlib.contextmanager
def hurry() -> Iterator[None]:
    """Within this, a server that is away is an error at once: for what can be done without, or is done again later."""
    token = _hurried.set(True)
    try:
        yield
    finally:
        _hurried.reset(token)


def wait_for(step: Callable[[], Result], storage: str, seconds: float) -> Result:
    """Take a step that asks a database, again and again while that is away.

    Parameters
    ----------
    step : callable
    storage : str
        The database's URL for messages, without its password.
    seconds : float
        How long to wait altogether. 0 is `hurry`.

    Raises
    ------
    LastingFaultError
        When it was still away after that time.
    Exception
        The step's own error, when that is another one.
    """
    since, wait = None, FIRST_SECONDS
    while True:
        try:
            found = step()
        except Exception as error:
            if not is_away(error) or seconds <= 0 or _hurried.get():
                raise
            since = since or (time.monotonic(), datetime.now().strftime("%H:%M:%S"))
            left = since[0] + seconds - time.monotonic()
            reason = faults.describe(error)
            if left <= 0:
                raise faults.LastingFaultError(
                    f"the storage {storage} has not answered since {since[1]}, for {seconds:g} s ({reason})"
                ) from error
            wait = min(wait, left)
            if wait < LONGEST_SECONDS:  # later tries are no news
                away = f"the storage {storage} has not answered since {since[1]}"
                _say(f"{away} ({reason}); trying again in {wait:.3g} s")
        else:
            if since is not None:
                _say(f"the storage answers again, after {time.monotonic() - since[0]:.0f} s")
            return found
        time.sleep(wait)
        wait = min(2 * wait, LONGEST_SECONDS)


def _say(text: str) -> None:
    print(f"Warning: {text}.", file=sys.stderr, flush=True)


def is_away(error: BaseException) -> bool:
    """Whether a database's server could not be asked, rather than that it did not understand what it was asked."""
    kinds = (kind for cause in faults.causes(error) for kind in type(cause).__mro__)
    return any(kind.__module__.startswith("sqlalchemy.") and kind.__name__ in _AWAY for kind in kinds)


class _PatientStorage:
    """A storage of which every call waits for its server, and that asks it for the same thing once.

    The trials of a study and its attributes are asked for many times between two events. They are remembered until this
    process writes anything, or is told that others have written (`forget`).

    A call whose answer was lost may have been carried out, so that the second try finds its own work done. That is
    taken for success; only a trial may be made twice, which whoever asked for it mends (`CellStudy.store`).
    """

    def __init__(self, storage: BaseStorage, name: str, seconds: float, hang_up: Callable[[], None]) -> None:
        self._storage, self._name, self._seconds = storage, name, seconds
        self.hang_up = hang_up
        self._known: dict[Any, Any] = {}

    def forget(self) -> None:
        """Ask anew for what was remembered."""
        self._known = {}  # a new one: what another thread is asking for at the moment is remembered in the old one

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what Python asks any object for, such as how it is copied
            raise AttributeError(name)
        found = getattr(self._storage, name)
        return functools.partial(self._call, name, found) if callable(found) else found

    def _call(self, name: str, method: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        if name == "get_study_user_attrs" or (name == "get_all_trials" and options == _AS_THEY_ARE):
            key = name, arguments
            known = self._known
            if key not in known:
                known[key] = self._ask(name, method, *arguments, **options)
            return known[key]
        try:
            return self._ask(name, method, *arguments, **options)
        finally:
            if not name.startswith("get_"):
                self.forget()

    def _ask(self, name: str, method: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        tries = 0

        def step() -> Any:
            nonlocal tries
            tries += 1
            try:
                return method(*arguments, **options)
            except UpdateFinishedTrialError:
                if tries == 1 or name != "set_trial_state_values":
                    raise
                return True
            except DuplicatedStudyError:
                if tries == 1:
                    raise
                return self._storage.get_study_id_from_name(options.get("study_name") or arguments[1])

        return wait_for(step, self._name, self._seconds)


def forget(study: optuna.Study) -> None:
    """Ask a study's database anew for what was remembered of it, because others may have written to it."""
    if isinstance(study._storage, _PatientStorage):
        study._storage.forget()


def hang_up(study: optuna.Study) -> None:
    """End the connections to a study's database, which come back when it is asked next.

    A server has a limited number of them, 100 by default, and a worker that trains needs none.
    """
    if isinstance(study._storage, _PatientStorage):
        study._storage.hang_up()


def patient(storage: BaseStorage, name: str, seconds: float, hang_up: Callable[[], None] = lambda: None) -> BaseStorage:
    """A storage that waits for its server, as Optuna takes one.

    Parameters
    ----------
    storage : BaseStorage
    name : str
        Its URL for messages, without a password.
    seconds : float
        As in `wait_for`.
    hang_up : callable
        Ends its connections.
    """
    return cast(BaseStorage, _PatientStorage(storage, name, seconds, hang_up))
