"""``python -m mnist_scaling.report`` as a user types it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from mnist_scaling.errors import InputError
from mnist_scaling.report import ReportConfig
from tests.reporting.builder import Builder

pytestmark = pytest.mark.slow

Command = Callable[..., subprocess.CompletedProcess[str]]


def test_report_of_a_study(command: Command, tmp_path: Path) -> None:
    folder = Builder(noise=0.02).fitted(tmp_path / "multirun" / "mine")
    before = {p.name for p in tmp_path.iterdir()} | {p.name for p in folder.iterdir()}
    done = command("mnist_scaling.report", "name=mine", "dpi=50", "formats=[png,svg]")
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    assert "Report:  multirun/mine/report.html" in done.stdout
    assert (folder / "report.html").stat().st_size > 100_000
    assert {p.suffix for p in (folder / "figures").iterdir()} == {".png", ".svg"}
    after = {p.name for p in tmp_path.iterdir()} | {p.name for p in folder.iterdir()}
    assert after - before == {"report.html", "figures"}, "Hydra must leave nothing of its own behind"


def test_a_report_can_be_written_elsewhere(command: Command, tmp_path: Path) -> None:
    folder = Builder(noise=0.02).fitted(tmp_path / "multirun" / "mine")
    before = set(folder.rglob("*"))
    done = command("mnist_scaling.report", "name=mine", "formats=[svg]", "out=talks/mine")
    assert done.returncode == 0, done.stderr
    assert "Report:  talks/mine/report.html" in done.stdout
    assert [*(tmp_path / "talks/mine/figures").glob("*.svg")]
    page = (tmp_path / "talks/mine/report.html").read_text(encoding="utf-8")
    assert "fits.json in multirun/mine; figures/, beside this file, holds" in page
    assert set(folder.rglob("*")) == before


def test_an_unfitted_study_has_a_page_that_says_so(command: Command, tmp_path: Path) -> None:
    Builder(axes={"width": (4, 8)}).write(tmp_path / "multirun" / "mine")
    done = command("mnist_scaling.report", "name=mine")
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "multirun/mine/report.html").read_text(encoding="utf-8")
    assert "No law is fitted" in page
    assert "python -m mnist_scaling.fit name=mine" in page


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "`name` must be a study in multirun/"),
        ({"name": "a", "formats": ("gif",)}, "`formats` must be of png, svg, pdf, but got gif"),
        ({"name": "all", "out": "b"}, "`out` must go with one study, but got name=all: leave it out"),
        ({"name": "a", "dpi": 5}, "`30 <= dpi <= 1200` must hold, but got 5"),
    ],
)
def test_rules_of_the_configuration(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ReportConfig(**options)  # type: ignore[arg-type]
