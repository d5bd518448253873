"""A word when no run has ended for long: a worker that hangs is waited for, but not in silence."""

from __future__ import annotations

import time
from collections.abc import Callable

LEAST_SECONDS = 120.0
"""Silence that is worth a word, unless the runs of this study take long."""

_TIMES_LONGEST = 3.0
"""Silence of so many times the longest run so far is worth a word, where that is more."""

_NAMED = 4
"""Runs that the word names."""


class Silence:
    """How long no run has ended, and which runs are waited for.

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

    def word(self) -> str | None:
        """What to print now, if anything: first after some minutes, then each time the silence has doubled."""
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
