"""What a person sees while a study goes on: the time left, how far it is, the best loss, and when no run ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import exp
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

from mnist_scaling.study.console import make_console
from mnist_scaling.study.vocabulary import REPEAT, TRIAL

LEAST_SECONDS = 120.0
"""Time without an ended run after which a message is printed, unless the runs of this study take long."""

_TIMES_LONGEST = 3.0
"""The message waits for this many times the longest run so far, where that is longer."""

_NAMED = 4
"""Runs that the message names."""

BUSY = 1.9
"""Seconds that a run takes per predicted second (`Task.cost`) while every core is busy: LOG.md, 2026-11-24."""

_PRIOR_SECONDS = 10.0
"""Weight of `BUSY` against what is measured: seconds of the clock."""

_DRAW_SECONDS = 0.2
"""Least time between two drawings: each passes over all cells."""

_MEMORY_SECONDS, _MEMORY_SHARE = 30.0, 0.25
"""Memory of `Throughput`: this many seconds, or this share of the time so far where that is longer."""


@dataclass
class CellLeft:
    """What is still to do in a cell, and how its runs so far compare with what was predicted."""

    trials: int
    repeats: int
    cost: float
    """Predicted seconds of one run."""
    runs: int = 0
    slowness: float = 0.0
    """Sum over its runs of how many times longer than predicted each took, over what was usual when it ended."""

    @property
    def left(self) -> int:
        """Runs that are still to do."""
        return self.trials + self.repeats

    @property
    def work(self) -> float:
        """Predicted seconds that are left, corrected by the cell's own runs; one run as predicted counts too."""
        return self.left * self.cost * (self.slowness + 1) / (self.runs + 1)


class Throughput:
    """How much work is done per second of late: means over the past, weighted by exp(-age / memory).

    The speed changes while a study runs, because other programs start and end, and batch sizes differ.

    Parameters
    ----------
    workers : int
        Runs side by side, for the estimate before the first runs end.
    """

    def __init__(self, workers: int) -> None:
        self.clock = _PRIOR_SECONDS
        self.predicted = self.clock * workers / BUSY
        self.measured = self.predicted * BUSY
        self._at = 0.0

    def ended(self, elapsed: float, predicted: float, measured: float) -> float:
        """Take in a run that ended; how many times longer than usual it took.

        Parameters
        ----------
        elapsed : float
            Seconds since the start.
        predicted, measured : float
            Seconds of the run.
        """
        usual = self.measured / self.predicted
        self._discount(elapsed)
        self.predicted += predicted
        self.measured += measured
        return measured / (predicted * usual)

    def per_second(self) -> float:
        """Predicted seconds of work that are done per second of the clock."""
        return self.predicted / self.clock

    def _discount(self, elapsed: float) -> None:
        memory = max(_MEMORY_SECONDS, _MEMORY_SHARE * elapsed)
        weight = exp(-max(elapsed - self._at, 0.0) / memory)
        self.predicted, self.measured = weight * self.predicted, weight * self.measured
        self.clock = weight * self.clock + memory * (1 - weight)
        self._at = elapsed


class StudyProgress:
    """One bar over all runs of a study, measured in work, so that the time left means something.

    The time left is max(W / v, longest / (v / workers)). W is the work that is left: runs times their predicted
    seconds, corrected in each cell by how long its own runs took, because its batch sizes are not those that the
    prediction assumes. v is the work that is done per second of late (`Throughput`). longest is the most that is
    left in one cell, whose trials wait for each other. On a terminal the bar is redrawn as runs finish; elsewhere
    `line` prints one line per round.

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
        self._throughput = Throughput(self.workers)
        self._done = 0.0
        self.best: tuple[float, str] | None = None
        self._started = time.monotonic()
        self._bar = Progress(
            _TimeLeft(self.time_left),
            BarColumn(bar_width=10),
            TextColumn("{task.percentage:>3.0f}% {task.fields[text]}"),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self._task = self._bar.add_task("", total=1.0, text=self._text())
        self._draw()

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._draw()
        self._bar.stop()

    def seen(self, stage: str, cell: str, seconds: float | None, val_loss: float | None) -> None:
        """Count a finished run.

        Parameters
        ----------
        stage : {"trial", "repeat"}
        cell : str
            Name of its cell.
        seconds : float or None
            What the run took; None for one that left no time.
        val_loss : float or None
            Its loss; the best one of the trials is shown.
        """
        counts = self.cells[cell]
        if stage == TRIAL:
            counts.trials -= 1
        elif stage == REPEAT:
            counts.repeats -= 1
        self._done += counts.cost
        if seconds is not None:
            slowness = self._throughput.ended(time.monotonic() - self._started, counts.cost, seconds)
            counts.runs, counts.slowness = counts.runs + 1, counts.slowness + slowness
        if stage == TRIAL and val_loss is not None and (self.best is None or val_loss < self.best[0]):
            self.best = (val_loss, cell)
        self._stale = True
        if time.monotonic() - self._drawn >= _DRAW_SECONDS:
            self._draw()

    def line(self) -> None:
        """One line of plain text where there is no terminal to redraw."""
        if not self.console.is_terminal:
            text = f"{self.time_left()} · {100 * self._share():.0f}% · {self._text()}"
            self.console.print(text, highlight=False, soft_wrap=True)

    def time_left(self) -> str:
        """The time left, counted down since the last run that ended."""
        if self._stale:
            self._expect()
        return f"{clock(max(self._ends - time.monotonic(), 0.0))} left"

    def seconds_left(self) -> float:
        """Seconds until the study ends, as expected when the last run ended."""
        work = [cell.work for cell in self.cells.values()]
        return max(sum(work), self.workers * max(work, default=0.0)) / self._throughput.per_second()

    def _draw(self) -> None:
        """Work out what is left, and redraw the bar."""
        self._expect()
        self._bar.update(self._task, completed=self._share(), text=self._text())
        self._drawn = time.monotonic()

    def _expect(self) -> None:
        self._ends, self._stale = time.monotonic() + self.seconds_left(), False

    def _share(self) -> float:
        """Share of the work that is done."""
        # A cell that goes on may select another setting, and then has more repeats to do than was known.
        left = sum(max(cell.left, 0) * cell.cost for cell in self.cells.values())
        return self._done / (self._done + left) if self._done + left else 1.0

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


class _TimeLeft(ProgressColumn):
    """The time left, asked for at every redraw, so that it counts down between runs."""

    max_refresh = 0.5

    def __init__(self, ask: Callable[[], str]) -> None:
        super().__init__()
        self._ask = ask

    def render(self, task: Task) -> Text:
        """The text as it is now."""
        del task
        return Text(self._ask(), style="bold")


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
        oldest = sorted(self._started.items(), key=lambda item: item[1])
        names = [f"{run} for {_minutes(now - begun)}" for run, begun in oldest[:_NAMED]]
        more = f" and {len(oldest) - _NAMED} more" if len(oldest) > _NAMED else ""
        return (
            f"No run has ended for {_minutes(now - self._since)}. Waiting for {', '.join(names)}{more}. If one hangs, "
            "end its process: the run is tried once more."
        )


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min"


def clock(seconds: float) -> str:
    """Seconds as m:ss, or as h:mm:ss from an hour on."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
