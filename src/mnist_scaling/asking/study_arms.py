"""From a question's studies to the rows of its arms: folders, commands, tables."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from mnist_scaling.asking.question import FULL, Question, StudySpec, arms_of
from mnist_scaling.errors import InputError
from mnist_scaling.study import layout
from mnist_scaling.study.conditions import rows_where
from mnist_scaling.study.fitted_rows import STANDARD_ERROR
from mnist_scaling.study.tables import read_table

ARM, LOSS, LOSS_SE = "arm", "loss", "loss_se"
"""Columns that an arm's rows have beside those of cells.csv."""


@dataclass(frozen=True)
class Arm:
    """The rows of one arm."""

    name: str
    label: str
    rows: pd.DataFrame
    """Rows of cells.csv that have a loss, with `LOSS` and `LOSS_SE`, whatever columns those are."""


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


def read_arms(question: Question, tables: Mapping[str, Path]) -> dict[str, Arm]:
    """The rows of every arm.

    Parameters
    ----------
    question : Question
    tables : mapping
        Study of the question to its cells.csv.

    Raises
    ------
    InputError
        When a table lacks the loss's column, or an arm has no rows.
    """
    found = {}
    for name, spec in arms_of(question).items():
        path = tables[spec.study]
        frame = read_table(path, [spec.loss])
        if spec.where:
            frame = frame[rows_where(spec.where, {str(c): frame[c].to_numpy() for c in frame.columns})]
        se = f"{spec.loss}{STANDARD_ERROR}"
        frame = frame[frame[spec.loss].notna()].assign(**{LOSS: frame[spec.loss], LOSS_SE: frame.get(se, np.nan)})
        if frame.empty:
            raise InputError(
                f"The arm {name!r} must have measured cells, but {path} has none"
                f"{f' where {spec.where}' if spec.where else ''}: mend `arms.{name}`, or see why its runs failed."
            )
        found[name] = Arm(name, spec.label or name.replace("_", " "), frame.reset_index(drop=True))
    return found


def tables_of(question: Question, scale: str) -> dict[str, Path]:
    """cells.csv of every study of a question, in the folder of studies."""
    return {key: layout.study_folder(study_name(key, scale)) / layout.CELLS for key in question.studies}


def checksum(path: Path) -> str:
    """SHA-256 of a table: an answer remembers which tables it was made of."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
