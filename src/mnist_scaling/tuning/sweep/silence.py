"""A message when no run has ended for long, so that the user learns which runs the sweep waits for."""

from __future__ import annotations

import time
from collections.abc import Callable

LEAST_SECONDS = 120.0
"""Time without an ended run after which a message is printed, unless the runs of this study take long."""

_TIMES_LONGEST = 3.0
"""The message waits for this many times the longest run so far, where that is longer."""

_NAMED = 4
"""Runs that the message names."""


class Silence:
    """Keeps track of how long no run has ended, and of the runs that the sweep waits for.

    Parameters
    ----------
    clock : callable
        Seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._started: dict[str, float] = {}
        self._longest = 0.0
        self._restart()

    def _restart(self) -> None:
        self._since = self._clock()
        self._next = max(LEAST_SECONDS, _TIMES_LONGEST * self._longest)

    def started(self, run: str) -> None:
        """Note that a run was handed over."""
        if not self._started:
            self._restart()
        self._started[run] = self._clock()

    def ended(self, run: str) -> None:
        """Note that a run ended, or died."""
        begun = self._started.pop(run, None)
        if begun is not None:
            self._longest = max(self._longest, self._clock() - begun)
        self._restart()

    def message(self) -> str | None:
        """What to print now, or None. The first comes after some minutes, each further one after twice the time."""
        now = self._clock()
        if not self._started or now - self._since < self._next:
            return None
        self._next *= 2
        oldest = sorted(self._started.items(), key=lambda item: item[1])
        names = [f"{run} for {_minutes(now - begun)}" for run, begun in oldest[:_NAMED]]
        more = f" and {len(oldest) - _NAMED} more" if len(oldest) > _NAMED else ""
        return (
            f"No run has ended for {_minutes(now - self._since)}. Waiting for {', '.join(names)}{more}. If one hangs, "
            "end its process: the run is tried once more."
        )


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min"
