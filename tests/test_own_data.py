"""docs/data.md as its reader runs it: digits of one's own from a file to a report, and a file that changes."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

pytestmark = pytest.mark.slow

Command = Callable[..., subprocess.CompletedProcess[str]]
PAGE = (Path(__file__).parents[1] / "docs" / "data.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("digits")


@pytest.fixture
def digits(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that the page's own lines write."""
    monkeypatch.chdir(folder)
    if not (folder / "digits.npz").exists():
        exec(re.search(r"```python\n(.*?)```", PAGE, re.DOTALL).group(1), {})  # type: ignore[union-attr]
    return folder


def session() -> list[list[str]]:
    """The study's three commands."""
    lines = [line.strip() for line in PAGE.splitlines() if line.startswith("    python ") and "name=digits" in line]
    return [shlex.split(line)[2:] for line in lines]


def test_a_study_of_digits_from_the_file_to_the_report(digits: Path, command: Command) -> None:
    train, fit, report = session()
    done = command(*train, "scale=smoke", cwd=digits)
    assert done.returncode == 0, done.stderr
    assert "1,257 training, 270 validation and 270 test images" in done.stdout
    for stage in (fit, report):
        done = command(*stage, cwd=digits)
        assert done.returncode == 0, done.stderr
    study = digits / "multirun/digits"
    cells = pd.read_csv(study / "cells.csv")
    assert cells["n_train"].tolist() == [314, 1257] * 2
    assert (cells["test_loss"] < 2.2).any()
    known = json.loads((study / "study.json").read_text())["data"]
    assert [(d["image_shape"], d["classes"]) for d in known] == [([1, 8, 8], 10)]
    assert (study / "report.html").stat().st_size > 10_000


def test_the_file_may_move_but_not_change(digits: Path, command: Command) -> None:
    train = [*session()[0], "scale=smoke"]
    (digits / "digits.npz").rename(digits / "moved.npz")
    before = {path: path.stat().st_mtime_ns for path in digits.rglob("result.json")}
    assert before
    moved = ["data.path=moved.npz" if word.startswith("data.path=") else word for word in train]
    done = command(*moved, cwd=digits)
    assert done.returncode == 0, done.stderr
    content = dict(np.load(digits / "moved.npz"))
    np.savez(digits / "moved.npz", **content | {"labels": content["labels"][::-1]})
    done = command(*moved, cwd=digits)
    assert done.returncode == 1
    assert "data.sha256 was " in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert {path: path.stat().st_mtime_ns for path in digits.rglob("result.json")} == before
