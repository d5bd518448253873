"""From a question's studies to the rows of its arms: folders, commands, tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mnist_scaling.asking.question import arms_of, twin_study, with_twin
from mnist_scaling.config.ask_schema import FULL, ArmSpec, Question, StudySpec
from mnist_scaling.errors import InputError
from mnist_scaling.study import layout
from mnist_scaling.study.files import checksum, read_json
from mnist_scaling.study.flags import INFO, kind
from mnist_scaling.study.tables.cell_runs import flag_counts, runs_of
from mnist_scaling.study.tables.csv_table import read_study_table, rows_where
from mnist_scaling.study.tables.fitted_rows import STANDARD_ERROR

LOSS, LOSS_SE, RUNS = "loss", "loss_se", "runs"
"""Columns that an arm's rows have beside those of cells.csv; `RUNS`, of studies that have trials.csv, is the loss of
each repeat by its seed."""


@dataclass(frozen=True)
class StudyArm:
    """The rows of one arm."""

    name: str
    label: str
    rows: pd.DataFrame
    """Rows of cells.csv that have a loss, with `LOSS` and `LOSS_SE`, whatever columns those are."""
    twin: pd.DataFrame | None = None
    """The same of the arm tuned again, of one arm of a question that has a twin."""


def study_name(key: str, scale: str) -> str:
    """Folder in multirun/ of a question's study; it holds the scale, so that sizes never mix."""
    return key if scale == FULL else f"{key}_{scale}"


def sweep(key: str, spec: StudySpec, scale: str) -> list[str]:
    """The overrides of `train -m` that run a question's study.

    ``{scale}`` in an override is replaced by what the names of studies end in, so that a study can start from the
    weights of another one of the same size.
    """
    own = {"quick": spec.quick, "smoke": spec.smoke}.get(scale, ())
    ending = study_name("", scale)
    texts = [text.replace("{scale}", ending) for text in (*spec.overrides, *own)]
    return [f"experiment={spec.experiment}", f"scale={scale}", f"name={study_name(key, scale)}", *texts]


def read_arms(question: Question, tables: Mapping[str, Path]) -> dict[str, StudyArm]:
    """The rows of every arm; `tables` are the cells.csv of the question's studies.

    InputError when a table lacks the loss's column, or an arm has no rows.
    """
    arms = {}
    for name, spec in arms_of(question).items():
        again = tables.get(twin_study(question)) if name == question.twin else None
        twin = None if again is None else _rows(name, spec, again)
        arms[name] = StudyArm(name, spec.label or name.replace("_", " "), _rows(name, spec, tables[spec.study]), twin)
    return arms


def _rows(name: str, spec: ArmSpec, path: Path) -> pd.DataFrame:
    """The rows of cells.csv that an arm has."""
    frame = read_study_table(path, [spec.loss])
    frame = frame[_kept(spec, frame)]
    se = f"{spec.loss}{STANDARD_ERROR}"
    frame = frame[frame[spec.loss].notna()].assign(**{LOSS: frame[spec.loss], LOSS_SE: frame.get(se, np.nan)})
    if frame.empty:
        raise InputError(
            f"The arm {name!r} must have measured cells, but {path} has none"
            f"{f' where {spec.where}' if spec.where else ''}: mend `arms.{name}`, or see why its runs failed."
        )
    runs = runs_of(path.parent, frame, spec.loss)
    return (frame if runs is None else frame.assign(**{RUNS: runs})).reset_index(drop=True)


def rows_in_no_arm(question: Question, tables: Mapping[str, pd.DataFrame]) -> list[str]:
    """A sentence for each study of which the arms' `where` leaves out cells."""
    notes = []
    for key, frame in tables.items():
        specs = [spec for spec in arms_of(question).values() if spec.study == key]
        n = int((~np.any([_kept(spec, frame) for spec in specs], axis=0)).sum()) if specs else 0
        if n:
            kept = " or ".join(dict.fromkeys(spec.where for spec in specs if spec.where))
            notes.append(f"{_cells(n, frame, key)} left out: the question takes those where {kept}.")
    return notes


def flagged_rows(tables: Mapping[str, pd.DataFrame]) -> list[str]:
    """A sentence for each study and flag that warns of its cells."""
    notes = []
    for key, frame in tables.items():
        for code, n in flag_counts(frame).items():
            flag = kind(code)
            if flag.severity != INFO:
                seen = f": {flag.seen_when}" if flag.seen_when else ""
                notes.append(f"{_cells(n, frame, key)} flagged {code}{seen}.")
    return notes


def _cells(n: int, frame: pd.DataFrame, study: str) -> str:
    return f"{n} of the {len(frame)} cells of {study} {'is' if n == 1 else 'are'}"


def _kept(spec: ArmSpec, frame: pd.DataFrame) -> np.ndarray:
    """Whether an arm's `where` keeps each row."""
    if not spec.where:
        return np.ones(len(frame), bool)
    return np.asarray(rows_where(spec.where, {str(c): frame[c].to_numpy() for c in frame}), bool)


def tables_of(question: Question, scale: str) -> dict[str, Path]:
    """cells.csv of every study of a question: one's own, else the repository's."""
    return {key: layout.found_folder(study_name(key, scale)) / layout.CELLS for key in question.studies}


def unmeasured(parts: Mapping[str, Question], scale: str) -> list[str]:
    """The parts of a question that lack the table of a study."""
    return [key for key, part in parts.items() if not all(path.is_file() for path in tables_of(part, scale).values())]


def with_measured_twin(
    question: Question, scale: str, tables: Callable[[Question, str], Mapping[str, Path]] = tables_of, run: bool = False
) -> Question:
    """`with_twin` where the twin is measured, or is to be `run`; else the question as it is.

    None is run beside tables that come with the repository, so that an answer from these costs no training.
    """
    whole = with_twin(question, scale)
    if whole == question:
        return question
    paths = tables(whole, scale)
    arm, twin = paths[arms_of(question)[str(question.twin)].study], paths[twin_study(question)]
    return whole if twin.is_file() or (run and not layout.is_kept(arm.parent)) else question


def is_answered(name: str, scale: str) -> bool:
    """Whether there is an answer made of the tables as they are now."""
    record: Any = read_json(layout.answer_folder(name) / f"{scale}.json") or {}
    studies = [study for part in record.get("parts", [record]) for study in part.get("studies", {}).values()]
    paths = {layout.found_folder(study["study"]) / layout.CELLS: study["sha256"] for study in studies}
    if not paths or record.get("missing"):
        return False
    return all(path.is_file() and checksum(path.read_bytes()) == known for path, known in paths.items())
