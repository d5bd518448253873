"""Optuna's dashboard of a study, with a figure in each cell's note: ``make dashboard NAME=quickstart``.

A figure is drawn when somebody opens its cell, so that a study of many cells is shown at once. Figures show what was
fitted: where cells came after the fit, or none was made, the dashboard has no figures, and the terminal says why. The
study's page and tables are served beside it, for the links that stand under each figure.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import uuid
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from socketserver import ThreadingMixIn
from threading import Lock
from typing import BinaryIO
from wsgiref.simple_server import WSGIServer, make_server

import bottle
import optuna
from matplotlib.figure import Figure
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna_dashboard import get_note, save_note, wsgi

from mnist_scaling.errors import InputError
from mnist_scaling.reporting import figures
from mnist_scaling.reporting.documents import loading
from mnist_scaling.reporting.figures import style
from mnist_scaling.reporting.text import Missing
from mnist_scaling.study import layout
from mnist_scaling.tuning.optuna_mirror import GRID, READ_FIRST

END = "\n\n**See also**"
"""The end of a note, which is written here, begins so."""

IMAGE = "\n\n![The figure that stands here is shown by make dashboard.]"
"""These words are what `optuna-dashboard` by itself, which has no figures, shows."""

CAPTIONS = {
    "settings_curves": "Each point is a trial that ran to its end with less than three times the lowest loss. The star "
    "is the selected setting at the mean loss of its repeats. It mostly lies above that setting's own trial, because "
    "the lowest of many losses is partly luck. Dashed lines are the ends of the range that was searched.",
    "loss_map": "Each square is a cell with the mean test loss of its repeats. Grey lines are where the fitted law has "
    "equal losses. The red line, if there is one, has the best N and D of each budget of FLOPs.",
}
"""What each figure shows."""

FILES = {
    layout.REPORT: "the report, with laws and intervals", layout.CELLS: "every cell", layout.TRIALS: "every run",
}  # fmt: skip
"""Files of a study that notes link to."""


class Drawn:
    """An artifact store of Optuna's, whose artifacts are drawn when they are asked for."""

    def __init__(self) -> None:
        self._draw: dict[str, Callable[[], Figure | Missing]] = {}
        self._lock = Lock()

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """The figure as a PNG."""
        file = io.BytesIO()
        with self._lock, style.theme():
            self._draw[artifact_id]().savefig(file, dpi=110)
        file.seek(0)
        return file

    def attach(self, study: optuna.Study, plot: str, draw: Callable[[], Figure | Missing]) -> str:
        """Put a figure among a study's artifacts, once; what its note needs to show it."""
        ours = str(uuid.uuid5(uuid.NAMESPACE_URL, study.study_name))
        self._draw[ours] = draw
        meta = {"artifact_id": ours, "filename": f"{plot}.png", "mimetype": "image/png", "encoding": None}
        if (key := f"artifacts:{ours}") not in study._storage.get_study_system_attrs(study._study_id):
            study._storage.set_study_system_attr(study._study_id, key, json.dumps(meta))
        return f"{IMAGE}(/artifacts/{study._study_id}/{ours})\n\n{CAPTIONS[plot]}"


def with_figures(storage: BaseStorage, folder: Path) -> Drawn:
    """Give each cell's note its trials against each setting, that of the grid the map of its losses, and all links."""
    store = Drawn()
    try:
        arms = loading.load_arms(folder)
    except InputError as error:
        print(f"The notes have no figures. {error}")
        return store
    cells = {
        frozenset((axis, row[axis]) for axis in arm.axes): replace(arm, cells=arm.cells.loc[[number]])
        for arm in arms
        for number, row in arm.cells.iterrows()
    }
    there = [f"[{name}](/files/{name}) ({what})" for name, what in FILES.items() if (folder / name).is_file()]
    there += [f"[every cell's best trial]({place})"] if (place := start_of(storage)) else []
    for name in optuna.get_all_study_names(storage):
        study = optuna.load_study(study_name=name, storage=storage)
        at = study.user_attrs.items() - READ_FIRST.items()
        cell, plot = cells.get(frozenset(at)), "settings_curves"
        if not at and len(arms) == 1:
            cell, plot = arms[0], "loss_map"
        shown = next(p for p in figures.FIGURES if p.name == plot)
        text = f"{get_note(study).partition(END)[0]}{END} {', '.join(there)}."
        if cell is not None and not isinstance(figures.prepare(shown, cell), Missing):
            text += store.attach(study, plot, partial(figures.show, cell, plot))
        if text != get_note(study):
            save_note(study, text)
    return store


def start_of(storage: BaseStorage) -> str | None:
    """Where the dashboard has the note that says what is what; None before a sweep of several cells has ended."""
    found = [study._study_id for study in storage.get_all_studies() if study.study_name == GRID]
    return f"/dashboard/studies/{found[0]}/note" if found else None


def application(storage: BaseStorage, folder: Path) -> bottle.Bottle:
    """Optuna's dashboard with our figures, and the files that notes link to."""
    app = wsgi(storage, artifact_store=with_figures(storage, folder))
    for name in FILES:
        app.route(f"/files/{name}", callback=partial(bottle.static_file, name, root=folder))
    return app


class Server(ThreadingMixIn, WSGIServer):
    """A browser holds several connections."""

    daemon_threads = True


def main() -> None:
    """Attach the figures, then serve until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="of the study, with its optuna.journal")
    parser.add_argument("--port", type=int, default=8080)
    given = parser.parse_args()
    storage = JournalStorage(JournalFileBackend(str(given.folder / layout.JOURNAL)))
    place = f"http://127.0.0.1:{given.port}"
    first = start_of(storage)
    app = application(storage, given.folder)
    try:
        server = make_server("127.0.0.1", given.port, app, Server)
    except OSError as error:
        sys.exit(f"Error: a free port is needed, but {given.port} is not ({error.strerror}): give another, PORT=8081.")
    print(f"Start here: {place}{first}" if first else f"All studies: {place}/dashboard")
    print("The dashboard is there until Ctrl-C.", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
