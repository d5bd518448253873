"""The same command again: a finished study's rerun changes nothing, and one run can be made again by hand."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

Command = Callable[..., subprocess.CompletedProcess[str]]

SWEEP = ("mnist_scaling.train", "-m", "experiment=smoke", "scale=smoke", "data.max_train=600", "data.max_eval=100")
NOTHING = "Every cell has its trials and repeats: nothing is left to do."


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a finished study lies, for the tests of this module to copy."""
    return tmp_path_factory.mktemp("kept")


@pytest.fixture
def study(kept: Path, tmp_path: Path, data_dir: str, command: Command) -> Path:
    """A finished study of four cells with two trials and two repeats each."""
    if not (kept / "multirun").exists():
        done = command(*SWEEP, f"data.dir={data_dir}", cwd=kept)
        assert done.returncode == 0, done.stderr
        assert NOTHING not in done.stdout
    shutil.copytree(kept / "multirun", tmp_path / "multirun")
    return tmp_path / "multirun/smoke"


def contents(folder: Path) -> dict[Path, tuple[bytes, int]]:
    return {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.rglob("*") if p.is_file()}


def test_a_finished_studys_rerun_writes_nothing(study: Path, data_dir: str, command: Command) -> None:
    before = contents(study)
    done = command(*SWEEP, f"data.dir={data_dir}")
    assert done.returncode == 0, done.stderr
    assert NOTHING in done.stdout
    assert "test_loss of the tuned cells" in done.stdout
    assert contents(study) == before


def test_a_run_leaves_one_small_file(study: Path) -> None:
    runs = [path for path in study.rglob("*-00?") if path.is_dir()]
    assert len(runs) == 16
    for run in runs:
        assert [path.name for path in run.iterdir()] == ["result.json"]
    size = sum(path.stat().st_size for path in study.rglob("*") if path.is_file())
    assert size / len(runs) < 6000  # tables and journal included; with its folder of 4 kB below 10 kB


def test_what_is_missing_is_made_again_with_the_same_numbers(study: Path, data_dir: str, command: Command) -> None:
    run = study / "width=4/data_fraction=0.0625/repeat-001"
    before = json.loads((run / "result.json").read_text())
    table = (study / "cells.csv").read_text()
    shutil.rmtree(run)
    (study / "width=8/data_fraction=0.0625/repeat-000/result.json").write_text('{"stage": "rep')
    (study / "width=8/data_fraction=0.0625/cell.json").unlink()
    (study / "study.json").write_bytes(b"")
    done = command(*SWEEP, f"data.dir={data_dir}")
    assert done.returncode == 0, done.stderr
    assert NOTHING not in done.stdout
    for sentence in (
        "result.json is damaged (not JSON",
        "study.json is damaged (not JSON",
        "trials.csv lists a run whose record is gone: what this sweep needs",
    ):
        assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    after = json.loads((run / "result.json").read_text())
    assert after["result"] == before["result"]

    def without_seconds(text: str) -> list[list[str]]:
        rows = [line.split(",") for line in text.splitlines()]
        place = rows[0].index("seconds")
        return [row[:place] + row[place + 1 :] for row in rows]

    assert without_seconds((study / "cells.csv").read_text()) == without_seconds(table)


def test_fit_names_what_is_damaged_or_missing(study: Path, command: Command) -> None:
    (study / "width=4/data_fraction=0.0625/cell.json").write_text("")
    (study / "width=8/data_fraction=0.0625/repeat-000/result.json").write_bytes(b"\0\0")
    shutil.rmtree(study / "width=8/data_fraction=0.015625/trial-001")
    done = command("mnist_scaling.fit", "name=smoke", "bootstrap.draws=20")
    assert "Traceback" not in done.stderr
    assert [line.split(" (")[0] for line in done.stderr.splitlines() if line.startswith("Warning: multirun")] == [
        "Warning: multirun/smoke/width=4/data_fraction=0.0625/cell.json is damaged",
        "Warning: multirun/smoke/width=8/data_fraction=0.0625/repeat-000/result.json is damaged",
        "Warning: multirun/smoke/trials.csv lists a run whose record is gone: start its sweep again, which makes them "
        "again.",
    ]
    (study / "study.json").write_text("[]")
    done = command("mnist_scaling.fit", "name=smoke", "bootstrap.draws=20")
    assert done.returncode == 1
    assert "Error: multirun/smoke/study.json must be JSON with all its keys, but is damaged" in done.stderr
    assert "Traceback" not in done.stderr
