"""Faults of the machine, its disk, its storage or its network: they are nobody's run.

A run computes. What the operating system or a database refuses says nothing about the run's setting, so that such a
run leaves no record: the small step that failed is tried again (`insist`), then the whole sweep is taken up where it
was, as the same command would (`resume_after`), and at last one sentence says what is at fault.
"""

from __future__ import annotations

import errno
import sys
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from mnist_scaling.errors import InputError
from mnist_scaling.tuning.masking import masked

STEP_WAITS = (1.0, 4.0)
"""Seconds before a small step, such as writing a record, is tried once more."""

SWEEP_WAITS = (2.0, 10.0)
"""Seconds before a sweep is taken up again that measured nothing in between."""

_CLASSES = (("optuna", "StorageInternalError"), ("sqlalchemy", "SQLAlchemyError"))
"""Package and name of the classes of errors that databases raise; neither is imported for this."""

_TORCH = ("PytorchStreamWriter", "unexpected pos")
"""In the RuntimeError that torch raises when the disk takes only a part of a file."""

_FULL = (errno.ENOSPC, errno.EDQUOT)

Result = TypeVar("Result")


class MachineError(Exception):
    """A fault of the machine in words, which survive a pickle whatever its cause was."""


def is_fault(error: BaseException) -> bool:
    """Whether the machine is at fault, and neither the run nor the program."""
    return any(_is_one(cause) for cause in _causes(error))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _is_one(error: BaseException) -> bool:
    if type(error).__module__.partition(".")[0] == "hydra":
        return False  # one of its errors of configuration is an OSError too
    if isinstance(error, MachineError | OSError):
        return True
    if isinstance(error, RuntimeError) and any(words in str(error) for words in _TORCH):
        return True
    return any((kind.__module__.split(".")[0], kind.__name__) in _CLASSES for kind in type(error).__mro__)


def describe(error: BaseException) -> str:
    """What is at fault, in a few words, without a password."""
    last = next((cause for cause in _causes(error) if isinstance(cause, OSError)), None)
    if last is not None and last.strerror:
        reason = "the disk is full" if last.errno in _FULL else last.strerror
        return masked(f"{reason} ({last.filename})" if last.filename else reason)
    *_, deepest = _causes(error)
    text = str(deepest).strip().split("\n")[0]
    return masked(text if isinstance(deepest, MachineError) else f"{type(deepest).__name__}: {text}")


def as_text(error: BaseException) -> str:
    """An error as a worker sends it to its sweep: `is_text` knows a fault by it."""
    return f"{MachineError.__name__}: {describe(error)}" if is_fault(error) else f"{type(error).__name__}: {error}"


def is_text(text: str | None) -> bool:
    """Whether a worker's error was a fault."""
    return text is not None and text.startswith(f"{MachineError.__name__}: ")


def from_text(text: str) -> MachineError:
    """The fault that a worker sent."""
    return MachineError(text.removeprefix(f"{MachineError.__name__}: "))


def insist(step: Callable[[], Result]) -> Result:
    """Take a small step that does no harm when it is taken twice; after a fault wait and take it again.

    Raises
    ------
    Exception
        The step's own when it is no fault; the last fault when waiting did not help.
    """
    for seconds in STEP_WAITS:
        try:
            return step()
        except Exception as error:
            if not is_fault(error):
                raise
            _say(error, seconds)
        time.sleep(seconds)
    return step()


def resume_after(sweep: Callable[[], None], measured: Callable[[], int]) -> None:
    """Run a sweep to its end; after a fault wait and take it up again, as the same command would.

    Parameters
    ----------
    sweep : callable
        Resumes what is there.
    measured : callable
        How many runs have a record: while there are more each time, the sweep is tried again.

    Raises
    ------
    InputError
        When nothing more was measured in `SWEEP_WAITS`: what is at fault, in one sentence.
    """
    tries, before = 0, -1
    while True:
        try:
            return sweep()
        except Exception as error:
            # Before anything has run, a storage that does not open is a mistyped one.
            if not is_fault(error) or (isinstance(error, InputError) and before < 0):
                raise
            now = measured()
            tries, before = tries if now <= before else 0, now
            if tries == len(SWEEP_WAITS):
                raise error if isinstance(error, InputError) else InputError(_sentence(error)) from error
            _say(error, SWEEP_WAITS[tries])
        time.sleep(SWEEP_WAITS[tries])
        tries += 1


def _say(error: BaseException, seconds: float) -> None:
    print(f"Warning: {describe(error)}; the next try is in {seconds:g} s.", file=sys.stderr)


def _sentence(error: BaseException) -> str:
    return (
        f"A study needs a disk, a storage and a network that work, but one does not: {describe(error)}. Nothing that "
        "was measured is lost: mend it, and run the same command again."
    )
