"""`make dashboard`: each cell's note in Optuna's storage has a figure, drawn when it is opened."""

from __future__ import annotations

import re
import shutil
from contextlib import closing
from pathlib import Path
from wsgiref.util import setup_testing_defaults

import optuna
import pytest
from dashboard import application, start_of, with_figures
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna_dashboard import get_note

from mnist_scaling.reporting.documents import loading
from mnist_scaling.reporting.words import checklist
from mnist_scaling.tuning.optuna_mirror import GRID, READ_FIRST

pytestmark = pytest.mark.slow
KEPT = Path(__file__).parents[2] / "multirun" / "reference" / "quickstart"


def test_notes_of_cells_and_of_the_grid_have_their_figures(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(KEPT, tmp_path / "quickstart"))
    storage = JournalStorage(JournalFileBackend(str(folder / "optuna.journal")))
    studies = [
        optuna.create_study(study_name=name, storage=storage) for name in ("cell", "another grid's cell", "grid")
    ]
    for study, width in zip(studies, (2, 5), strict=False):
        study.set_user_attr("width", width)
        study.set_user_attr("data_fraction", 0.5)
    for study in studies:
        for key, value in READ_FIRST.items():
            study.set_user_attr(key, value)
    with_figures(storage, folder)
    store = with_figures(storage, folder)  # as at a second start
    notes = [get_note(study) for study in studies]
    assert [note.count("](/artifacts/") for note in notes] == [1, 0, 1]
    for note in (notes[0], notes[2]):
        (artifact,) = re.findall(r"\]\(/artifacts/\d+/([^)]+)\)", note)
        assert store.open_reader(artifact).read().startswith(b"\x89PNG")

    with (folder / "cells.csv").open("a") as file:  # a sweep has gone on since the fit
        file.write("\n")
    (folder / "fits.json").write_text("{")
    with_figures(storage, folder)
    assert [get_note(study) for study in studies] == notes


def test_notes_link_to_the_studys_files_and_to_the_note_to_start_with(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(KEPT, tmp_path / "multirun" / "quickstart"))
    (folder / "report.html").write_text("<p>A page")
    (arm,) = loading.load_arms(folder)
    assert not any("dashboard" in command for command in checklist.commands(arm))
    storage = JournalStorage(JournalFileBackend(str(folder / "optuna.journal")))
    assert start_of(storage) is None
    study, other = (optuna.create_study(study_name=name, storage=storage) for name in (GRID, "another"))
    other.set_user_attr("width", 5)
    app = application(storage, folder)
    note = get_note(study)
    assert f"]({start_of(storage)})" in note
    assert get_note(other).count("](") == note.count("](") - 1 == 4, "a study without a figure has the links"
    linked = re.findall(r"\]\(/files/([^)]+)\)", note)
    assert linked == ["report.html", "cells.csv", "trials.csv"]
    for name in linked:
        environ = {"PATH_INFO": f"/files/{name}"}
        setup_testing_defaults(environ)
        with closing(app(environ, lambda *_: None)) as body:
            assert b"".join(body) == (folder / name).read_bytes()
    assert checklist.commands(arm)[-1] == "make dashboard NAME=quickstart"
