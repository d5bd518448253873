"""What a sweep says before it trains: nothing that was understood may be in doubt."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

from rich.console import Console

from mnist_scaling import config
from mnist_scaling.study.console import clock
from mnist_scaling.tuning.cell import composition, partitioning
from mnist_scaling.tuning.cell.next_settings import Effort
from mnist_scaling.tuning.launcher import DaskLauncher, RayLauncher
from mnist_scaling.tuning.sweep import announcement, forecast
from mnist_scaling.tuning.sweep.forecast import Sweep
from mnist_scaling.tuning.sweep.ledger import Ledger
from mnist_scaling.tuning.sweep.next_jobs import Method

from .helpers import SAMPLER, InProcess, Study, Trains, composed


def partition(*arguments: str) -> partitioning.Partition:
    return partitioning.partition(arguments, config.flatten(composed()["search_space"]))


def said(
    folder: Path, *arguments: str, most: int | None = None, workers: int | None = 2, rule: str = "neighbours",
    control: bool = False,
) -> str:  # fmt: skip
    parts = partition(*arguments)
    cells = composition.cells(parts, composed, Trains(price=lambda values: 60.0), most)
    method = Method(Effort(3, 2, 2, repeat_control=control), SAMPLER, None, rule)
    sweep = Sweep(folder, parts, cells, method, workers)
    out = io.StringIO()
    announcement.show_plan(sweep, Ledger(folder, cells), Console(file=out, width=80))
    return out.getvalue()


def test_axes_tuned_and_fixed_keys_are_told_apart(tmp_path: Path) -> None:
    text = said(tmp_path, "model.width=4,8", "data.fraction=1,0.5", "optim.beta2=0.9", "model.dropout=0.0")
    assert "axes  model.width = 4, 8\n      data.fraction = 1, 0.5\n" in text
    assert "tuned optim.lr: 0.001 to 0.05, logarithmic\n" in text
    assert "      optim.batch_size: 8 to 64, logarithmic, 8 is a limit\n" in text
    assert "fixed optim.beta2=0.9 model.dropout=0.0\n" in text
    assert "4 cells × (3 trials + 2 repeats) = 20 runs; 0 done, 20 to do" in text
    assert "Note:" not in text


def test_runs_that_only_some_cells_make_are_counted_as_at_most(tmp_path: Path) -> None:
    text = " ".join(said(tmp_path, "model.width=4,8", control=True).split())
    assert "(3 trials + 2 repeats + 2 of the untuned setting) = at most 14 runs; 0 done, at most 14 to do" in text


def test_every_group_of_an_axis_shows_its_own_range(tmp_path: Path) -> None:
    text = said(tmp_path, "optim=adam,sgd")
    assert "axes  optim = adam, sgd" in text
    assert "optim.lr: 0.001 to 0.05, logarithmic\n" in text
    assert "optim.lr: 0.005 to 1, logarithmic\n" in text


def test_a_swept_key_that_is_tuned_is_said_to_be(tmp_path: Path) -> None:
    assert "optim.lr: one of 0.001, 0.01\n" in said(tmp_path, "model.width=4,8", "optim.lr=1e-3,1e-2")
    assert "optim.lr: 0.001 to 0.1\n" in said(tmp_path, "model.width=4,8", "optim.lr=interval(1e-3,1e-1)")


def test_values_that_scale_leaves_out_are_not_among_the_axes(tmp_path: Path) -> None:
    text = said(tmp_path, "model.width=2,4,8,16", "data.fraction=1,0.5", most=2)
    assert "axes  model.width = 2, 16\n" in text
    assert "keeps the ends of each axis: 2 of 4 values of model.width.)\n" in text
    assert "max_values_per_axis" not in said(tmp_path, "model.width=2,16", "data.fraction=1,0.5", most=2)


def test_what_is_done_is_counted_and_costs_nothing_more(tmp_path: Path) -> None:
    Study(tmp_path, InProcess(), "model.width=4,8", n_trials=3, n_repeats=0).run()
    shutil.rmtree(tmp_path / "width=8")
    one = 60 * forecast.BUSY + forecast.OVERHEAD
    # With two workers the other cell sets the time: two trials together, the third, two repeats.
    for workers, runs in ((1, 7), (2, 4), (50, 4)):
        text = said(tmp_path, "model.width=4,8", workers=workers)
        assert "2 cells × (3 trials + 2 repeats) = 10 runs; 3 done, 7 to do" in text
        assert f"about {clock(runs * one)}, as predicted" in text


def test_one_cell_with_nothing_tuned(tmp_path: Path) -> None:
    text = said(tmp_path, "optim.lr=0.01", "optim.batch_size=32", "model.dropout=0.0", workers=None)
    assert "axes  none: one cell" in text
    assert "tuned nothing: one trial per cell" in text
    assert "1 cell × (1 trial + 2 repeats) = 3 runs" in text
    assert "about" not in text, "the time is unknown where the launcher decides what runs side by side"


def test_workers_of_a_cluster_that_runs_already_are_not_guessed() -> None:
    assert DaskLauncher("tcp://node1:8786").expected_workers() is None
    assert DaskLauncher("tcp://node1:8786", 64).expected_workers() == 64
    assert RayLauncher(n_workers=3).expected_workers() == 3
