"""The index of multirun/: what every study says, and what is damaged is named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from mnist_scaling import report
from mnist_scaling.errors import InputError
from mnist_scaling.reporting.pages import index_page


def test_every_study_stands_there_with_what_it_says(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    multirun = copy.parent
    (copy / "report.html").write_text("a page")
    (multirun / "new").mkdir()
    shutil.copy(copy / "cells.csv", multirun / "new")
    shutil.copytree(copy, multirun / "broken")
    (multirun / "broken/fits.json").write_text("{")
    answers = multirun / "answers/width"
    answers.mkdir(parents=True)
    (answers / "smoke.json").write_text(json.dumps({"title": "How wide?", "sentence": "As wide as <can> be."}))
    report.write_index(multirun)
    assert str(multirun / "index.html") in capsys.readouterr().out
    page = (multirun / "index.html").read_text()
    said = json.loads((copy / "fits.json").read_text())["answer"]
    assert said["sentence"] in page
    assert '<a href="grid/report.html">grid</a>' in page
    assert '<a href="new' not in page
    assert "Not fitted yet." in page
    assert "broken/fits.json" in page
    assert "As wide as &lt;can&gt; be." in page


def test_an_empty_folder_has_no_index(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="`name=all` needs studies in .*, but there are none: run one first"):
        index_page.page(tmp_path)
