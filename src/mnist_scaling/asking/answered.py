"""From the tables of a question's studies to its answer: numbers, words, the sentence, and the record of it all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mnist_scaling.asking import measures
from mnist_scaling.asking.measures import Findings
from mnist_scaling.asking.question import SLOT
from mnist_scaling.asking.study_arms import (
    StudyArm,
    flagged_rows,
    read_arms,
    rows_in_no_arm,
    study_name,
    sweep,
)
from mnist_scaling.config.ask_schema import Question
from mnist_scaling.errors import InputError, nearest
from mnist_scaling.reporting.documents.json_form import plain
from mnist_scaling.reporting.text import estimate
from mnist_scaling.study.files import checksum
from mnist_scaling.study.tables.csv_table import read_study_table

SCHEMA = 1
"""Of an answer's record."""

UNKNOWN = "(unknown from these cells)"
"""What stands in a slot whose number could not be measured."""


@dataclass(frozen=True)
class Answer:
    """An answered question."""

    name: str
    question: Question
    scale: str
    arms: Mapping[str, StudyArm]
    findings: Findings
    sentence: str
    cells: int
    """Of all its studies."""
    minutes: float
    """Of all runs of its studies, added up, whichever question they were run for."""
    sha256: Mapping[str, str]
    """Checksum of each study's cells.csv."""


def answer(name: str, question: Question, scale: str, tables: Mapping[str, Path]) -> Answer:
    """Measure a question's arms and fill its sentence; `tables` are the cells.csv of its studies.

    InputError when a table, an arm, a measure or a slot of the sentence is at fault.
    """
    arms = read_arms(question, tables)
    findings = Findings(notes=(*rows_in_no_arm(question, tables), *flagged_rows(tables)))
    for spec in question.measures:
        findings = findings | measures.measure(spec, arms)
    frames = [read_study_table(path) for path in tables.values()]
    seconds = sum(float(frame["seconds"].sum()) for frame in frames if "seconds" in frame)
    return Answer(
        name,
        question,
        scale,
        arms,
        findings,
        fill(question.sentence, findings),
        sum(len(frame) for frame in frames),
        seconds / 60,
        {key: checksum(path.read_bytes()) for key, path in tables.items()},
    )


def fill(sentence: str, findings: Findings) -> str:
    """A sentence with its slots filled; InputError when a slot is none that the measures fill, with the nearest one."""
    shown = {k: estimate(n.interval) if n.interval.known else UNKNOWN for k, n in findings.numbers.items()}
    shown |= findings.words
    try:
        return SLOT.sub(lambda slot: shown[slot[1]], " ".join(sentence.split()))
    except KeyError as error:
        (slot,) = error.args
        raise InputError(
            f"Every slot of a sentence must be filled by a measure, but none of them gives {{{slot}}}: "
            f"{nearest(slot, shown)}"
        ) from None


def record(answer: Answer) -> dict[str, Any]:
    """An answer as its JSON file has it; a number that is not known is null."""
    return {
        "schema": SCHEMA,
        "name": answer.name,
        "title": answer.question.title,
        "question": answer.question.question,
        "scale": answer.scale,
        "sentence": answer.sentence,
        "numbers": {
            slot: plain(number.interval.record() | {"meaning": number.meaning})
            for slot, number in answer.findings.numbers.items()
        },
        "words": dict(answer.findings.words),
        "notes": list(answer.findings.notes),
        "cells": answer.cells,
        "minutes": answer.minutes,
        "measures": answer.question.measures,
        "arms": {name: asdict(arm) for name, arm in answer.question.arms.items()},
        "studies": {
            key: {
                "study": study_name(key, answer.scale),
                "overrides": sweep(key, spec, answer.scale),
                "sha256": answer.sha256[key],
            }
            for key, spec in answer.question.studies.items()
        },
    }
