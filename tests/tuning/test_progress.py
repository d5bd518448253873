from __future__ import annotations

import io

import pytest
from rich.console import Console

from mnist_scaling.study.console import clock
from mnist_scaling.tuning.sweep.announcement import CellLeft, StudyProgress, grid_of
from mnist_scaling.tuning.sweep.forecast import BUSY


def make(width: int = 80, terminal: bool = False) -> tuple[StudyProgress, io.StringIO]:
    out = io.StringIO()
    cells = {"width=4": CellLeft(2, 1, 1.0), "width=8": CellLeft(1, 1, 2.0)}
    return StudyProgress(cells, 2, Console(file=out, width=width, force_terminal=terminal)), out


def test_a_line_begins_with_the_time_left_and_counts_cells() -> None:
    progress, out = make()
    with progress.bar:
        progress.line()
        progress.seen("trial", "width=4", 0.5)
        progress.seen("trial", "width=8", 0.7)
        progress.line()
        progress.seen("repeat", "width=8", 0.1)  # a repeat is no candidate for the best
        progress.seen("trial", "width=4", None)
        progress.line()
        progress.seen("repeat", "width=4", None)
        progress.line()
    lines = out.getvalue().splitlines()
    assert lines[0] == "0:08 left · 0% · tuned 0/2 · repeated 0/2"
    assert lines[1].endswith("tuned 1/2 · repeated 0/2 · best 0.5000")
    assert "tuned 2/2 · repeated 1/2" in lines[2]
    assert lines[3] == "0:00 left · 100% · tuned 2/2 · repeated 2/2 · best 0.5000"
    assert max(map(len, lines)) <= 80


def test_a_terminal_of_80_columns_shows_everything() -> None:
    progress, out = make(terminal=True)
    progress.cells |= {f"width={n} data_fraction=0.0625": CellLeft(12, 3, 400.0) for n in range(200)}
    with progress.bar:
        progress.seen("trial", "width=4", 0.5)
    last = out.getvalue().split("\r")[-1]
    for shown in (" left", "%", "tuned 0/202", "repeated 0/202", "best 0.5000"):
        assert shown in last


def test_a_terminal_shows_the_state_of_every_cell() -> None:
    cells = {f"width={w} data_fraction={f}": CellLeft(2, 1, 1.0) for w in (4, 16) for f in (0.5, 1.0)}
    out = io.StringIO()
    progress = StudyProgress(cells, 2, Console(file=out, width=80, force_terminal=True))
    for name in list(cells)[:3]:
        progress.cells[name].begun = True
    with progress.bar:
        for stage in ("trial", "trial", "repeat"):
            progress.seen(stage, "width=4 data_fraction=0.5", 0.5)
        for stage in ("trial", "trial"):
            progress.seen(stage, "width=4 data_fraction=1.0", 0.5)
        grid = "width=4  ✓ ▪\nwidth=16 ▸ ·\n· queued  ▸ tuning  ▪ repeating  ✓ done"
        assert grid_of(progress.cells) == grid
        progress.bar.refresh()
    assert grid in "\n".join(line.rstrip() for line in out.getvalue().splitlines())
    assert grid_of({"width=4": CellLeft(1, 0, 1.0)}).startswith(" ·\n")
    assert not grid_of(cells, width=20)
    assert not grid_of({f"a={i} b=1": CellLeft(1, 0, 1.0) for i in range(17)})


def replayed(seconds: dict[str, list[float]], cells: dict[str, CellLeft], workers: int = 1) -> StudyProgress:
    """Runs one after another, each as long as its seconds, on a clock that only they move."""
    progress = StudyProgress(cells, workers, Console(file=io.StringIO()))
    for cell, took in seconds.items():
        for each in took:
            progress._started -= each
            progress.seen("trial", cell, None)
    return progress


def test_the_time_left_is_predicted_before_anything_ends() -> None:
    cells = {name: CellLeft(10, 0, 1.0) for name in "abcd"}
    progress = StudyProgress(cells, 2, Console(file=io.StringIO()))
    assert progress.seconds_left() == pytest.approx(40 * BUSY / 2, rel=1e-2)


def test_the_time_left_follows_the_seconds_that_a_cell_takes() -> None:
    cells = {"a": CellLeft(10, 0, 1.0), "b": CellLeft(20, 0, 1.0)}
    progress = replayed({"a": [4.0] * 10, "b": [4.0] * 10}, cells)
    assert 30 < progress.seconds_left() < 45


def test_no_less_is_left_than_one_cell_needs() -> None:
    """Its trials wait for each other, however many workers there are."""
    cells = {"a": CellLeft(0, 0, 1.0), "b": CellLeft(10, 0, 30.0)}
    progress = StudyProgress(cells, 16, Console(file=io.StringIO()))
    assert progress.seconds_left() == pytest.approx(300 * BUSY, rel=1e-2)


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (3599, "59:59"), (3670, "1:01:10")])
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text
