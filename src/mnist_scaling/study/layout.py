"""The name of every file and folder of a study.

multirun/<name>/study.json  trials.csv  cells.csv  curves.csv  fits.json  report.html  figures/  optuna.journal
multirun/<name>/width=16/data_fraction=0.25/cell.json
                                           /trial-003/result.json
                                           /repeat-000/result.json
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mnist_scaling.errors import InputError
from mnist_scaling.study.columns import REPEAT, TRIAL

MULTIRUN = "multirun"
"""Folder of all studies, in the directory that a command is started from."""

SINGLE = "single"
"""Folder inside `MULTIRUN` of runs that no sweep launched; not the name of a study."""

TRIALS, CELLS, CURVES = "trials.csv", "cells.csv", "curves.csv"
"""Tables of a study: one row per run, per cell, and per point of a repeat's learning curve."""

FITS, REPORT, FIGURES = "fits.json", "report.html", "figures"
"""Files that `fit` and `report` write."""

CELL_RECORDS = "cells.json"
"""The records of all cells in one file, by their folders, of a study whose tables are kept without its runs."""

RESOLVE, RESOLVED = "resolve.yaml", "resolve.json"
"""Cells with the runs that resolve a study's irregularities; what these were before, and what became of them."""

NEXT_RUNS = "next_runs.yaml"
"""Cells with the runs that a plan chose next."""

PREDICTIONS, PREDICTED_CELLS = "predictions.csv", "predicted_cells.yaml"
"""What cells should give that were not run yet, and what came; these cells beside those that there are."""

COMPARISON, COMPARISON_PAGE = "comparison.json", "comparison.html"
"""Files that `compare` writes."""

STUDY, JOURNAL = "study.json", "optuna.journal"
"""How a study was made; the mirror of its trials for Optuna's dashboard."""

LOCK, OWNER = ".lock", ".owner"
"""The lock that the study's one sweep holds, and which process that is."""

STORAGE_ID = ".storage-id"
"""What tells this folder's studies from those of another folder of that name in a database that mirrors both."""

CELL, RESULT = "cell.json", "result.json"
"""A cell's record, and a run's."""

WEIGHTS = "weights.pt"
"""The final weights of a run with `save_weights`."""

OUTPUT = "output.txt"
"""What an application printed in a run."""

COLUMNS = "columns.json"
"""What further columns of a study's tables mean, where its program says so."""

RUN_PREFIXES = (f"{TRIAL}-", f"{REPEAT}-")
"""How the folders of runs begin."""

ALL = "all"
"""What `report` calls everything in `MULTIRUN`; not the name of a study."""

_LONGEST = 200
"""Bytes of a folder's name that a study's name or a value of an axis may take; file systems allow 255."""

ANSWERS = "answers"
"""Folder inside `MULTIRUN` of answered questions; not the name of a study."""

REFERENCE = "reference"
"""Folder inside `MULTIRUN` of studies whose tables come with the repository; not the name of a study."""

_TAKEN = (SINGLE, ANSWERS, REFERENCE, ALL)


def answer_folder(question: str) -> Path:
    """Folder of a question's answers: <scale>.json, <scale>.html and the figure, one of each for every scale."""
    return Path(MULTIRUN) / ANSWERS / question


def study_folder(name: str) -> Path:
    """Folder of the study with that name; InputError unless it is the plain name of one folder inside `MULTIRUN`."""
    plain = name not in ("", ".", "..", *_TAKEN) and not set(name) & set("/\\[]\"'*?") and name.isprintable()
    if not plain or len(name.encode()) > _LONGEST:
        shown = name if len(name) <= _LONGEST else f"{name[:40]}…"
        raise InputError(
            f"`name` must be the name of one folder in {MULTIRUN}/, without slashes, brackets, quotes or wildcards and "
            f"of at most {_LONGEST} bytes, and none of {', '.join(_TAKEN)}, but got {shown!r}: choose a plain word "
            "such as name=first_study."
        )
    return Path(MULTIRUN) / name


def found_folder(name: str) -> Path:
    """Folder of a study to read: by its name, as `study_folder` has it, or by a path, which has a slash.

    Where there is no study of one's own of that name, the tables in `REFERENCE` are read. It raises InputError when
    neither is meant, or there is no folder at the path.
    """
    if "/" not in name and os.sep not in name:
        own, kept = study_folder(name), Path(MULTIRUN) / REFERENCE / name
        return own if own.is_dir() or not kept.is_dir() else kept
    if not (path := Path(name).expanduser()).is_dir():
        raise InputError(
            f"`name` must be the name of a study in {MULTIRUN}/ or the path of its folder, but there is no folder "
            f"{name}: check it, or run the study first."
        )
    return path


def known_studies(beside: Path = Path(MULTIRUN)) -> list[str]:
    """Names of the studies in a folder, and of those that come with the repository."""
    return sorted({cells.parent.name for place in ("*", f"{REFERENCE}/*") for cells in beside.glob(f"{place}/{CELLS}")})


def is_kept(folder: Path) -> bool:
    """Whether a folder's tables come with the repository: they are read, and nothing is written beside them."""
    return folder.parent == Path(MULTIRUN) / REFERENCE


def name_argument(folder: Path) -> str:
    """The argument that names the study in a folder, as a shell takes it: ``name=first_study``, or with its path.

    A study in a `MULTIRUN` goes by its name, wherever that lies: commands are started from beside it. So does one that
    comes with the repository, unless a study of one's own has its name.
    """
    if is_kept(folder) and found_folder(folder.name) == folder:
        return f"name={folder.name}"
    if folder.absolute().parent.name == MULTIRUN or folder == Path(folder.name):
        return shlex.quote(f"name={folder.name}")
    path = str(folder)
    return shlex.quote(f"name={path}" if re.fullmatch(r"[\w./~-]+", path) else f"name='{path}'")


def arm_names(arms: Sequence[str]) -> list[str]:
    """Part of a file name for each arm: letters, digits and ``=.-_``, with a number where two would be the same."""
    plain = [re.sub(r"[^\w=.-]+", "_", arm, flags=re.ASCII).strip("._")[:80] or "arm" for arm in arms]
    return [f"{name}-{i}" if plain.count(name) > 1 else name for i, name in enumerate(plain)]


def arm_page(name: str) -> str:
    """File of an arm's own page, beside `REPORT`."""
    return f"arm-{name}.html"


def cell_parts(axes: Mapping[str, Any]) -> list[str]:
    """A cell's name in parts, one folder each: ``width=16``, ``data_fraction=0.25``.

    Letters, digits and ``-._~+`` stand for themselves and everything else is percent-encoded, so that the name is one
    folder on every file system, two cells never share one, and `urllib.parse.unquote` gives the value back. It raises
    InputError when a name is too long for a file system.
    """
    parts = [f"{quote(column, safe='')}={quote(_text(value), safe='+')}" for column, value in axes.items()]
    for part in parts:
        if len(part) > _LONGEST:
            raise InputError(
                f"A value of an axis must be short enough for the name of a folder, {_LONGEST} bytes, but "
                f"`{part[:40]}…` has {len(part)}: give it a shorter value."
            )
    return parts or ["all"]  # the only cell of a study without axes


def _text(value: Any) -> str:
    """A value of an axis as text: 1 and 1.0 are one, and so are 0 and -0.0."""
    return str(value + 0.0).removesuffix(".0") if isinstance(value, float) else str(value)


def run_folder(stage: str, index: int) -> str:
    """Name of a run's folder inside its cell's folder: its place in the cell, so that a rerun finds it."""
    return f"{stage}-{index:03d}"
