"""A finished study is told from every one that has anything left to do, or anything changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from mnist_scaling.study import layout
from mnist_scaling.tuning.sweep import finished

from .helpers import InProcess, make_cells, make_tuner

SWEEPER = {"n_trials": 1, "n_repeats": 1, "storage": None}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_tuner(tmp_path, InProcess(tmp_path), "data.fraction=1,0.5", n_trials=1, n_repeats=1).run()
    finished.stamp(tmp_path, make_cells("data.fraction=1,0.5"), OmegaConf.create(SWEEPER))
    return tmp_path


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


CELL = "data_fraction=1"
CHANGES: dict[str, Callable[[Path], object]] = {
    "a byte of a trial": lambda folder: flip(folder / CELL / "trial-000" / layout.RESULT),
    "a repeat is gone": lambda folder: (folder / CELL / "repeat-000" / layout.RESULT).unlink(),
    "a cell's record is gone": lambda folder: (folder / CELL / layout.CELL).unlink(),
    "a byte of a table": lambda folder: flip(folder / layout.CELLS),
    "a table is gone": lambda folder: (folder / layout.TRIALS).unlink(),
    "study.json is empty": lambda folder: (folder / layout.STUDY).write_text(""),
    "the journal is gone": lambda folder: (folder / layout.JOURNAL).unlink(),
    "the journal has grown": lambda folder: (folder / layout.JOURNAL).write_bytes(
        (folder / layout.JOURNAL).read_bytes() + b"x"
    ),
    "a trial of another sweep": lambda folder: (folder / CELL / "trial-000").rename(folder / CELL / "trial-001"),
    "the digest is damaged": lambda folder: (folder / layout.FINISHED).write_bytes(b"\xff"),
}


def test_whatever_changes_the_study_is_looked_at_again(folder: Path) -> None:
    cells = make_cells("data.fraction=1,0.5")
    same = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for name, change in CHANGES.items():
        assert finished.is_unchanged(folder, cells, OmegaConf.create(SWEEPER)), name
        change(folder)
        assert not finished.is_unchanged(folder, cells, OmegaConf.create(SWEEPER)), name
        (folder / CELL / "trial-000").mkdir(exist_ok=True)
        for path, content in same.items():
            path.write_bytes(content)
        (folder / CELL / "trial-001" / layout.RESULT).unlink(missing_ok=True)


@pytest.mark.parametrize(
    "arguments", [["data.fraction=1"], ["data.fraction=1,0.25"], ["data.fraction=1,0.5", "optim.schedule=linear"],
                  ["data.fraction=1,0.5", "optim.lr=interval(1e-3,1)"]],
)  # fmt: skip
def test_another_grid_is_another_digest(arguments: list[str], folder: Path) -> None:
    assert not finished.is_unchanged(folder, make_cells(*arguments), OmegaConf.create(SWEEPER))


@pytest.mark.parametrize("key", SWEEPER)
def test_another_effort_is_another_digest(key: str, folder: Path) -> None:
    cells = make_cells("data.fraction=1,0.5")
    assert finished.is_unchanged(folder, cells, OmegaConf.create(SWEEPER))
    assert not finished.is_unchanged(folder, cells, OmegaConf.create(SWEEPER | {key: 2}))


def test_a_new_study_is_not_finished(tmp_path: Path) -> None:
    assert not finished.is_stamped(tmp_path)
    assert not finished.is_unchanged(tmp_path, make_cells(), OmegaConf.create(SWEEPER))
