"""What a person sees while a study goes on: the time left, how far it is, the best loss, and when no run ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import exp
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from mnist_scaling.study.console import make_console
from mnist_scaling.study.vocabulary import TRIAL

LEAST_SECONDS = 120.0
"""Time without an ended run after which a message is printed, unless the runs of this study take long."""

_TIMES_LONGEST = 3.0
"""The message waits for this many times the longest run so far, where that is longer."""

BUSY = 1.9
"""Seconds that a run takes per predicted second (`Task.cost`) while every core is busy: LOG.md, 2026-11-24."""

_PRIOR_SECONDS = 10.0
"""Weight of `BUSY` against what is measured: seconds of the clock."""

_MEMORY_SECONDS, _MEMORY_SHARE = 30.0, 0.25
"""Memory of the pace: this many seconds, or this share of the time so far where that is longer."""


@dataclass
class CellLeft:
    """What is still to do in a cell."""

    trials: int
    repeats: int
    cost: float
    """Predicted seconds of one run."""

    @property
    def left(self) -> int:
        """Runs that are still to do."""
        return self.trials + self.repeats

    @property
    def work(self) -> float:
        """Predicted seconds of these runs."""
        # A cell that goes on may select another setting, and then has more repeats to do than was known.
        return max(self.left, 0) * self.cost


class StudyProgress:
    """One bar over all runs of a study, measured in work, so that the time left means something.

    The time left is max(W, workers * longest) / v. W is the work that is left, in predicted seconds, and longest the
    most of it in one cell, whose trials wait for each other. v is the work that was done per second of late: a mean
    over the past, weighted by exp(-age / memory), because other programs start and end, and batch sizes differ.
    On a terminal the bar is redrawn as runs finish; elsewhere `line` prints one line per round.

    Parameters
    ----------
    cells : mapping
        What is to do in each cell, by its name.
    workers : int, optional
        Runs side by side; None where it is not known.
    console : rich Console, optional
    """

    def __init__(
        self, cells: Mapping[str, CellLeft], workers: int | None = None, console: Console | None = None
    ) -> None:
        self.console = console or make_console()
        self.cells, self.workers = dict(cells), workers or 1
        self.best: tuple[float, str] | None = None
        self._done = 0.0
        self._clock, self._lately = _PRIOR_SECONDS, _PRIOR_SECONDS * self.workers / BUSY
        self._started, self._elapsed = time.monotonic(), 0.0
        self._bar = Progress(
            TextColumn("[bold]{task.fields[left]}"),
            BarColumn(bar_width=10),
            TextColumn("{task.percentage:>3.0f}% {task.fields[text]}"),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self._task = self._bar.add_task("", total=1.0, left="", text="")
        self._draw()

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def seen(self, stage: str, cell: str, val_loss: float | None) -> None:
        """Count a finished run; the best loss of the trials is shown.

        Parameters
        ----------
        stage : {"trial", "repeat"}
        cell : str
            Name of its cell.
        val_loss : float or None
        """
        counts = self.cells[cell]
        if stage == TRIAL:
            counts.trials -= 1
            if val_loss is not None and (self.best is None or val_loss < self.best[0]):
                self.best = (val_loss, cell)
        else:
            counts.repeats -= 1
        self._done += counts.cost
        before, self._elapsed = self._elapsed, time.monotonic() - self._started
        memory = max(_MEMORY_SECONDS, _MEMORY_SHARE * self._elapsed)
        weight = exp((before - self._elapsed) / memory)
        self._lately = weight * self._lately + counts.cost
        self._clock = weight * self._clock + memory * (1 - weight)
        self._draw()

    def line(self) -> None:
        """One line of plain text where there is no terminal to redraw."""
        if not self.console.is_terminal:
            text = f"{self._left()} · {100 * self._share():.0f}% · {self._text()}"
            self.console.print(text, highlight=False, soft_wrap=True)

    def seconds_left(self) -> float:
        """Seconds until the study ends."""
        work = [cell.work for cell in self.cells.values()]
        return max(sum(work), self.workers * max(work, default=0.0)) * self._clock / self._lately

    def _draw(self) -> None:
        self._bar.update(self._task, completed=self._share(), left=self._left(), text=self._text())

    def _left(self) -> str:
        return f"{clock(self.seconds_left())} left"

    def _share(self) -> float:
        """Share of the work that is done."""
        total = self._done + sum(cell.work for cell in self.cells.values())
        return self._done / total if total else 1.0

    def _text(self) -> str:
        """How many cells are tuned and repeated, and the best loss; its cell too, where a line has room for it."""
        n = len(self.cells)
        tuned = sum(cell.trials <= 0 for cell in self.cells.values())
        repeated = sum(cell.left <= 0 for cell in self.cells.values())
        text = f"tuned {tuned}/{n} · repeated {repeated}/{n}"
        if self.best is None:
            return text
        text += f" · best {self.best[0]:.4f}"
        room = self.console.width - len("1:00:00 left ━━━━━━━━━━ 100% ")
        longer = f"{text} ({self.best[1]})"
        return longer if len(longer) <= room else text


class StallWatch:
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
        oldest, begun = min(self._started.items(), key=lambda item: item[1])
        return (
            f"No run has ended for {_minutes(now - self._since)}. Waiting for {len(self._started)}, the longest, "
            f"{oldest}, for {_minutes(now - begun)}. If it hangs, end its process: the run is tried once more."
        )


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min"


def clock(seconds: float) -> str:
    """Seconds as m:ss, or as h:mm:ss from an hour on."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
