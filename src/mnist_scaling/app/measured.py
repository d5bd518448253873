"""What an application says of a run: losses on the way, and at its end the numbers that it has measured, checked."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import fields
from math import floor, isfinite
from typing import Any

from mnist_scaling.errors import InputError
from mnist_scaling.study.columns import (
    ALWAYS,
    CELL_COLUMNS,
    COMPLETE,
    DIVERGED,
    DIVERGED_VALUE,
    PRUNED,
    RESULT_COLUMNS,
    TRIAL_COLUMNS,
    TrainResult,
)
from mnist_scaling.tuning.task import Report

_REPORTS = 4
"""Reports go to the pruner at each such part of the run but the last, however often an application makes them."""

NUMBERS = {f.name: str(f.type) for f in fields(TrainResult) if f.metadata and f.name != "flags"}
"""What a run may measure under names of ours, and its type."""

_TAKEN = {*TRIAL_COLUMNS, *CELL_COLUMNS, "cell", "keys"} - {*RESULT_COLUMNS} | {"flags", "val_loss"}
"""Names that a further number can't have."""


class EndOfRun(BaseException):
    """Ends a run from inside a report. No application's `except Exception` takes it for an error."""

    def __init__(self, state: str) -> None:
        super().__init__(f"the run ends as {state}")
        self.state = state


class Reports:
    """What an application calls on the way, as `report(share, loss)`: how much of the run is done, and its loss then.

    The listener says whether the run is to stop.
    """

    def __init__(self, listener: Report | None = None) -> None:
        self._listener, self._part = listener, 0
        self.points: list[tuple[float, float]] = []

    def __call__(self, share: float, loss: float) -> None:
        """Report a loss; a run that its pruner stops, or whose loss is not finite, ends here."""
        share, loss = number("report's share", share), number("report's loss", loss)
        if not 0 < share <= 1:
            raise InputError(
                f"`0 < share <= 1` must hold in report(share, loss), but got {share:g}: give the share of the run that "
                "is done, such as step / steps."
            )
        if not isfinite(loss):
            raise EndOfRun(DIVERGED)
        part = floor(_REPORTS * share)
        if self._part < part < _REPORTS:
            self._part = part
            self.points.append((share, loss))
            if self._listener is not None and self._listener(len(self.points), loss):
                raise EndOfRun(PRUNED)


def measured(returned: Any, loss_name: str, returned_by: str, reports: Reports) -> TrainResult:
    """What the function returned, checked.

    InputError tells that it is no number and no dict of numbers, lacks the loss, or has a name that a table needs.
    """
    if isinstance(returned, Mapping):
        given = {str(key): value for key, value in returned.items() if value is not None}
        numbers = {key: number(f"`{key}`", value) for key, value in given.items()}
    else:
        numbers = {loss_name: number("what it returned", returned)}
    if loss_name not in numbers:
        raise InputError(
            f"A run must return `{loss_name}`, the loss that is tuned, but `{returned_by}` returned "
            f"{', '.join(numbers) or 'an empty dict'}: add it, or name the loss by cell_task(loss=…)."
        )
    loss = numbers.pop(loss_name)
    if loss < 0:
        raise InputError(
            f"`{loss_name}` must not be negative, but is {loss:g}: return a loss that falls towards 0, such as a "
            "cross-entropy or an error rate."
        )
    taken = [name for name in numbers if name in _TAKEN or not name.isidentifier()]
    if taken:
        raise InputError(
            f"A further number must have a name that tables leave free, but the run returned `{taken[0]}`: "
            "give it another one, of letters, digits and _."
        )
    if not loss < DIVERGED_VALUE:  # NaN too
        return ended(DIVERGED, reports)
    lost = [name for name in numbers if name in NUMBERS and not (isfinite(numbers[name]) and numbers[name] >= 0)]
    if lost:
        raise InputError(
            f"`{lost[0]}` must be finite and not negative, but is {numbers[lost[0]]}: mend it, or leave it out."
        )
    own = {n: round(x) if NUMBERS[n].startswith("int") else float(x) for n, x in numbers.items() if n in NUMBERS}
    further = {name: value if isfinite(value) else None for name, value in numbers.items() if name not in NUMBERS}
    return ended(COMPLETE, reports, further, **own, val_loss=float(loss))


def ended(state: str, reports: Reports, further: Mapping[str, float | None] = {}, **own: Any) -> TrainResult:
    """The result of a run that ended in a state, with what it measured under names of ours, and further numbers."""
    return TrainResult(state, **{**dict.fromkeys(ALWAYS), **own}, further=dict(further), reports=tuple(reports.points))


def number(what: str, value: Any) -> float:
    """A number of Python's, numpy's or torch's; `what` it is, for the error."""
    plain = value
    with contextlib.suppress(AttributeError, ValueError, RuntimeError, TypeError):  # no number, or several
        plain = value.item()
    if isinstance(plain, bool) or not isinstance(plain, int | float):
        raise InputError(
            f"A run must give numbers: a loss, or a dict with the loss and further numbers, but {what} is "
            f"{str(value)[:60]!r} ({type(value).__name__}): return a float, such as loss.item()."
        )
    return plain
