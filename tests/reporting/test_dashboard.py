"""`make dashboard`: each cell's note in Optuna's storage has a figure, drawn when it is opened."""

from __future__ import annotations

import shutil
from pathlib import Path

import optuna
import pytest
from dashboard import with_figures
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna_dashboard import get_note

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
    with_figures(storage, folder)
    store = with_figures(storage, folder)  # as at a second start
    notes = [get_note(study) for study in studies]
    assert [note.count("](/artifacts/") for note in notes] == [1, 0, 1]
    for note in (notes[0], notes[2]):
        assert store.open_reader(note.rpartition("/")[2].rstrip(")")).read().startswith(b"\x89PNG")

    with (folder / "cells.csv").open("a") as file:  # a sweep has gone on since the fit
        file.write("\n")
    (folder / "fits.json").write_text("{")
    with_figures(storage, folder)
    assert [get_note(study) for study in studies] == notes
