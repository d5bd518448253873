"""What is damaged, missing or not yet run in a study's folder, as sentences for those who read it."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from mnist_scaling.errors import InputError, printable
from mnist_scaling.study import files, identity, layout, records
from mnist_scaling.study.columns import REPEAT
from mnist_scaling.study.files import DamagedFileError
from mnist_scaling.study.records import StudyRecords
from mnist_scaling.study.tables.csv_table import read_table

MISPLACED = "{place} holds a copy of the cell {own}: its runs are left out; move it out of the study."
"""A folder that a person has put into a study."""


def complaints(folder: Path) -> list[str]:
    """All that is damaged or missing in a study, a sentence each; its next sweep mends it."""
    recorded, said = records.read_study(folder), []
    try:
        said = _edited(folder, records.read_description(folder), recorded)
    except DamagedFileError as error:
        recorded.damaged.insert(0, error)
    said += [f"{error.path} is damaged ({error.reason}): start its sweep again." for error in recorded.damaged]
    damaged = {error.path for error in recorded.damaged}
    said += [
        f"{place} has runs but no {layout.CELL}: start its sweep again, which writes it."
        for place in recorded.undescribed
        if place / layout.CELL not in damaged
    ]
    said += [MISPLACED.format(place=place, own=own) for place, own in recorded.misplaced.items()]
    if gone := lost_runs(folder):
        said.append(f"{gone}: start its sweep again, which makes them again.")
    return said


def _edited(folder: Path, study: Mapping[str, Any] | None, recorded: StudyRecords) -> list[str]:
    """That study.json is gone, or that somebody has changed a table, which are made of the records."""
    if study is None:
        return [f"{folder / layout.STUDY} is gone: start its sweep again, which writes it."] if recorded.rows else []
    sums = study.get(records.TABLES, {}).items()  # studies of older versions have none
    return [
        f"{folder / name} is not as its sweep wrote it: start its sweep again, which writes it anew, or give your own "
        "version another folder, as table=FILE.csv."
        for name, checksum in sums
        if (folder / name).is_file() and files.checksum((folder / name).read_bytes()) != checksum
    ]


def mixed_code(folder: Path) -> str:
    """That a study's runs were made by different code, as a sentence with the runs of each; empty for one code."""
    records_of = records.read_study(folder).records.values()
    codes = Counter(code for record in records_of if (code := identity.made_by(record)))
    counts = ", ".join(f"{code} ({n} run{'s' * (n != 1)})" for code, n in codes.most_common())
    return f"The runs were made by different code: {counts}. Their losses may not compare." if len(codes) > 1 else ""


def warn(folder: Path) -> None:
    """Print to stderr what is damaged or missing in a study."""
    for sentence in complaints(folder):
        print(f"Warning: {printable(sentence)}", file=sys.stderr)


def note_kept(folder: Path) -> None:
    """Print to stderr that a study comes with the repository, where it does: nothing is written beside it."""
    if layout.is_kept(folder):
        print(f"Note: {folder.name} is read from {folder}, which comes with the repository.", file=sys.stderr)


def lost_runs(folder: Path) -> str:
    """That trials.csv lists runs whose records are gone, as the beginning of a sentence; empty where it does not.

    A folder without any record is a copy of the tables, which is all that a fit needs.
    """
    recorded = sum(1 for _ in folder.rglob(layout.RESULT))
    try:
        run = [*(records.known_axes(folder) or []), "stage", "number"]
        listed = len(read_table(folder / layout.TRIALS, run).drop_duplicates(run))
    except InputError:  # which other readers report
        return ""
    if not 0 < recorded < listed:
        return ""
    gone = "a run whose record is" if listed - recorded == 1 else f"{listed - recorded} runs whose records are"
    return f"{folder / layout.TRIALS} lists {gone} gone"


def unfinished(folder: Path, cells: pd.DataFrame, trials: pd.DataFrame, study: Mapping[str, Any]) -> str:
    """That a study is unfinished, as a sentence with the number of finished cells; empty when it is finished.

    A cell is finished when it has a loss, which only repeats fill, or when it can't have one: all of its trials, or its
    repeats, were lost. A cell that has not begun has no row in cells.csv, but its sweep has counted it.
    """
    grid = [axis for axis in study.get("grid", study.get("axes", ())) if axis in cells]
    loss = "test_loss" if "test_loss" in cells else "repeat_val_loss"  # of a program without a test loss
    if not grid or loss not in cells or "n_trials" not in cells:
        return ""
    begun = sum(1 for _ in folder.glob("/".join([*["*"] * len(grid), layout.CELL])))
    lost = cells["n_trials"] <= cells.reindex(columns=["n_diverged", "n_failed"]).sum(axis=1)
    waiting = cells[cells[loss].isna() & ~lost][grid].drop_duplicates()
    if "stage" in trials and len(waiting):
        repeated = trials[trials["stage"] == REPEAT][grid].drop_duplicates()
        merged = waiting.merge(repeated, on=grid, how="left", indicator=True)
        waiting = merged[merged["_merge"] == "left_only"]
    known = len(cells[grid].drop_duplicates())
    total, done = max(begun, known, study.get(identity.ASKED, 0)), known - len(waiting)
    if done == total:
        return ""
    return (
        f"The study is unfinished: {done} of {total} cells are tuned and repeated; the command of its sweep goes on "
        "with the others."
    )
