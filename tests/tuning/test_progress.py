from __future__ import annotations

import io

from rich.console import Console

from mnist_scaling.tuning.progress import StudyProgress


def make() -> tuple[StudyProgress, io.StringIO]:
    out = io.StringIO()
    progress = StudyProgress({"a": 2, "b": 1}, 5.0, {"trial": 2, "repeat": 1}, Console(file=out, width=200))
    return progress, out


def test_a_line_counts_cells_runs_and_the_best_trial() -> None:
    progress, out = make()
    with progress:
        progress.line()
        progress.seen("trial", 2.0, 0.5, "a")
        progress.seen("trial", 1.0, 0.7, "b")
        progress.seen("repeat", 2.0, 0.1, "a")  # a repeat is no candidate for the best
        progress.line()
    first, last = out.getvalue().splitlines()
    assert first.startswith("cells 0/2 · trials 0/2 · repeats 0/1")
    assert last.startswith("cells 2/2 · trials 2/2 · repeats 1/1 · best val loss 0.5000 (a)")
    assert last.endswith("0:00 left")


def test_the_time_left_follows_the_cost() -> None:
    progress, _ = make()
    assert progress._left() == ""
    progress._started -= 60
    progress.seen("trial", 1.0, None, "a")  # a fifth of the cost in a minute
    assert progress._left() == "4:00 left"
