"""The name of every file and folder of a study.

multirun/<name>/study.json  trials.csv  cells.csv  curves.csv  fits.json  report.html  figures/  optuna.journal
multirun/<name>/width=16/data_fraction=0.25/cell.json
                                           /trial-003/result.json
                                           /repeat-000/result.json
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from mnist_scaling.errors import InputError

MULTIRUN = "multirun"
"""Folder of all studies, in the directory that a command is started from."""

SINGLE = "single"
"""Folder inside `MULTIRUN` of runs that no sweep launched; not the name of a study."""

TRIALS, CELLS, CURVES = "trials.csv", "cells.csv", "curves.csv"
"""Tables of a study: one row per run, per cell, and per point of a repeat's learning curve."""

FITS, REPORT, FIGURES = "fits.json", "report.html", "figures"
"""Files that `fit` and `report` write."""

STUDY, JOURNAL, LOCK = "study.json", "optuna.journal", ".lock"
"""How a study was made; the default storage of its Optuna studies; the lock that the study's one sweep holds."""

CELL, RESULT, CHECKPOINT = "cell.json", "result.json", "checkpoint.pt"
"""A cell's record, a run's record, and the checkpoint of an unfinished run that can resume."""


def study_folder(name: str) -> Path:
    """Folder of the study with that name.

    Raises
    ------
    InputError
        When the name is not a plain name of one folder inside `MULTIRUN`.
    """
    plain = name not in ("", ".", "..", SINGLE) and not set(name) & set("/\\[]\"'\n\0")
    if not plain:
        raise InputError(
            f"`name` must be the name of one folder in {MULTIRUN}/, without slashes, brackets or quotes, but got "
            f"{name!r}: choose a plain word such as name=first_study."
        )
    return Path(MULTIRUN) / name


def arm_names(arms: Sequence[str]) -> list[str]:
    """Part of a file name for each arm: letters, digits and ``=.-_``, with a number where two would be the same."""
    plain = [re.sub(r"[^\w=.-]+", "_", arm, flags=re.ASCII).strip("._")[:80] or "arm" for arm in arms]
    return [f"{name}-{i}" if plain.count(name) > 1 else name for i, name in enumerate(plain)]


def arm_page(name: str) -> str:
    """File of an arm's own page, beside `REPORT`."""
    return f"arm-{name}.html"


def run_folder(stage: str, index: int) -> str:
    """Name of a run's folder inside its cell's folder: its place in the cell, so that a rerun finds it."""
    return f"{stage}-{index:03d}"
