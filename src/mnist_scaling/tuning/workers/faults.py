"""Faults of the machine, that is of its disk, memory, devices, network or packages: they are charged to no run.

An error that the operating system raises, or an import, says nothing about a run's setting, so a run that meets one
leaves no record. The whole sweep is resumed, as the same command would resume it (`resume_after`); and if that does not
help, one sentence says what is at fault.
"""

from __future__ import annotations

import errno
import sys
import time
from collections.abc import Callable, Iterator

from mnist_scaling.errors import InputError

SWEEP_WAITS = (2.0, 10.0)
"""Seconds before a sweep is resumed, as long as no resumed sweep measures anything."""

_TORCH = (
    "PytorchStreamWriter", "unexpected pos", "out of memory", "DefaultCPUAllocator", "NVIDIA driver", "CUDA-capable",
)  # fmt: skip
"""In the RuntimeError that torch raises when the disk takes only a part of a file, when the memory of a device or of
the machine is full, or when a device is gone."""

_FULL = (errno.ENOSPC, errno.EDQUOT)


class MachineError(Exception):
    """A fault of the machine, as text: text can be pickled, whatever the error was that caused it."""


class SetUpError(InputError):
    """Run after run has failed, none of them by its own setting: a user's error, and no fault that goes away."""


def is_fault(error: BaseException) -> bool:
    """Whether the machine is at fault, and neither the run nor the program."""
    return any(_is_one(cause) for cause in causes(error))


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error, what caused it, and so on."""
    while error is not None:
        yield error
        error = error.__cause__


def _is_one(error: BaseException) -> bool:
    if type(error).__module__.partition(".")[0] == "hydra":
        return False  # one of its errors of configuration is an OSError too
    if isinstance(error, MachineError | OSError | ImportError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _TORCH)


def describe(error: BaseException) -> str:
    """What is at fault, in a few words."""
    said = next((cause for cause in causes(error) if isinstance(cause, MachineError)), None)
    if said is not None:
        return str(said)
    last = next((cause for cause in causes(error) if isinstance(cause, OSError)), None)
    if last is not None and last.strerror:
        reason = "the disk is full" if last.errno in _FULL else last.strerror
        return f"{reason} ({last.filename})" if last.filename else reason
    *_, deepest = causes(error)
    text = str(deepest).strip().split("\n")[0]
    return f"{type(deepest).__name__}: {text}"


def as_text(error: BaseException) -> str:
    """An error as a worker sends it to its sweep: `is_text` knows a fault by it."""
    return f"{MachineError.__name__}: {describe(error)}" if is_fault(error) else f"{type(error).__name__}: {error}"


def is_text(text: str | None) -> bool:
    """Whether a worker's error was a fault."""
    return text is not None and text.startswith(f"{MachineError.__name__}: ")


def from_text(text: str) -> MachineError:
    """The fault that a worker sent."""
    return MachineError(text.removeprefix(f"{MachineError.__name__}: "))


def resume_after(sweep: Callable[[], None], measured: Callable[[], int]) -> None:
    """Run a sweep to its end; after a fault of the machine, wait and resume it, as the same command would.

    As long as the number of `measured` runs grows, it is resumed again. When no run was added in all of `SWEEP_WAITS`,
    an InputError says what is at fault.
    """
    tries, before = 0, -1
    while True:
        try:
            return sweep()
        except Exception as error:
            # An address that does not answer before any run is probably misspelt, so the user hears of it at once.
            if not is_fault(error) or (isinstance(error, InputError) and before < 0):
                raise
            now = measured()
            tries, before = tries if now <= before else 0, now
            if tries == len(SWEEP_WAITS):
                raise error if isinstance(error, InputError) else InputError(_sentence(error)) from error
            print(f"Warning: {describe(error)}; the next try is in {SWEEP_WAITS[tries]:g} s.", file=sys.stderr)
        time.sleep(SWEEP_WAITS[tries])
        tries += 1


def _sentence(error: BaseException) -> str:
    return (
        f"A study needs a machine whose disk, memory, devices, network and packages work, but: {describe(error)}. "
        "Nothing that was measured is lost: mend it, and run the same command again."
    )
