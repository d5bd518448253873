"""What a person sees while a study runs: cells, trials, the best loss so far, the time left."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from mnist_scaling.study.vocabulary import TRIAL

_POLL_SECONDS = 0.5


class StudyProgress:
    """One bar over all runs of a study, measured in cost, so that the time left means something.

    On a terminal it is redrawn as runs finish; elsewhere `line` prints one line a round.

    Parameters
    ----------
    left : dict
        Runs that are still to do, by cell.
    total_cost : float
        Relative cost of all those runs.
    totals : dict
        Runs that are still to do, by stage.
    console : rich Console, optional
    """

    def __init__(
        self, left: dict[str, int], total_cost: float, totals: dict[str, int], console: Console | None = None
    ) -> None:
        self.console = console or Console()
        self.left, self.total_cost, self.totals = dict(left), total_cost, totals
        self.done: dict[str, int] = dict.fromkeys(totals, 0)
        self.best: tuple[float, str] | None = None
        self._cost_done = 0.0
        self._started = time.monotonic()
        self._bar = Progress(
            TextColumn("[bold]{task.fields[text]}"),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self._task = self._bar.add_task("", total=max(total_cost, 1e-9), text=self._text(), left="")

    def __enter__(self) -> StudyProgress:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def seen(self, stage: str, cost: float, val_loss: float | None, cell: str) -> None:
        """Count a finished run."""
        self.done[stage] += 1
        self.left[cell] -= 1
        self._cost_done += cost
        if stage == TRIAL and val_loss is not None and (self.best is None or val_loss < self.best[0]):
            self.best = (val_loss, cell)
        self._bar.update(self._task, completed=self._cost_done, text=self._text(), left=self._left())

    def line(self) -> None:
        """One line of plain text where there is no terminal to redraw."""
        if not self.console.is_terminal:
            self.console.print(f"{self._text()} · {self._left()}", highlight=False, soft_wrap=True)

    def _text(self) -> str:
        counts = " · ".join(f"{stage}s {self.done[stage]}/{n}" for stage, n in self.totals.items())
        best = f" · best val loss {self.best[0]:.4f} ({self.best[1]})" if self.best else ""
        finished = sum(n <= 0 for n in self.left.values())
        return f"cells {finished}/{len(self.left)} · {counts}{best}"

    def _left(self) -> str:
        if not self._cost_done:
            return ""
        elapsed = time.monotonic() - self._started
        seconds = round(elapsed * max(self.total_cost - self._cost_done, 0) / self._cost_done)
        return f"{seconds // 60}:{seconds % 60:02d} left"


@contextlib.contextmanager
def polling(look: Callable[[], None]) -> Iterator[None]:
    """Call `look` every half second in the background: a launcher says nothing until its batch is done."""
    stop = threading.Event()

    def loop() -> None:
        while not stop.wait(_POLL_SECONDS):
            look()

    thread = threading.Thread(target=loop, daemon=True, name="progress")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        look()
