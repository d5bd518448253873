"""What notebooks need: studies by name, commands, and the same tables and sentences as HTML and as text."""

from __future__ import annotations

import subprocess
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pytest

from mnist_scaling.errors import InputError
from mnist_scaling.fitting.uncertainty.interval import Interval
from mnist_scaling.reporting import notebook
from mnist_scaling.reporting.text import STRONG, Sentence, TextTable
from mnist_scaling.study.columns import TrainResult


def test_a_table_and_a_sentence_in_both_forms() -> None:
    table = TextTable(["a", "b"], [["x < y", Interval(1.5, 1.25, 1.75)], [None, 2]], title="Numbers")
    shown = notebook.show([Sentence("All of it.", STRONG), None, "", table, "The <rest>."])
    html, text = shown._repr_html_(), repr(shown)
    assert "<p><b>All of it.</b></p>" in html
    assert "<tr><th>a</th><th>b</th></tr>" in html
    assert "<td>x &lt; y</td>" in html
    assert "<p>The &lt;rest&gt;.</p>" in html
    assert text.splitlines()[0] == "All of it."
    assert "1.500 [1.250, 1.750]" in text
    assert "\x1b" not in text


def test_what_a_run_measured_has_its_unit_and_meaning_and_no_empty_rows() -> None:
    needed = {f.name: None for f in fields(TrainResult) if f.default is MISSING and f.default_factory is MISSING}
    measured: dict[str, Any] = {**needed, "state": "COMPLETE", "n_params": 1234, "val_loss": 0.5}
    table = notebook.measured(TrainResult(**measured))
    rows = {row[0]: row[1:] for row in table.rows}
    assert rows["n_params"] == ["1,234", "parameters", "all trainable parameters, biases included: N"]
    assert rows["val_loss"][0] == "0.5000"
    assert not {"test_loss", "state", "flags"} & set(rows)


def test_a_notebook_works_where_commands_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "multirun").mkdir()
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    notebook.begin()
    assert Path.cwd() == tmp_path
    (tmp_path / "multirun").rmdir()
    with pytest.raises(InputError, match="below a folder that has a multirun/"):
        notebook.begin()


def test_a_study_is_found_by_its_name(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(copy.parents[1])
    assert notebook.study(copy.name).folder.name == copy.name
    with pytest.raises(InputError, match="must be a study in multirun"):
        notebook.study("nope")


def test_a_command_that_fails_says_why_and_raises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(subprocess.CalledProcessError):
        notebook.command("fit name=nope")
    assert "A study must have multirun/nope/cells.csv" in capsys.readouterr().out.replace("\n  ", " ")
