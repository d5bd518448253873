"""From the tables of a question's studies to its answer: numbers, words, the sentence, and the record of it all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mnist_scaling.asking import measures, study_arms
from mnist_scaling.asking.measures import Findings, Number
from mnist_scaling.asking.question import SLOT
from mnist_scaling.asking.study_arms import StudyArm
from mnist_scaling.config.ask_schema import QUICK, SMOKE, Question
from mnist_scaling.errors import InputError, nearest
from mnist_scaling.fitting.headline import TIMES
from mnist_scaling.reporting.documents.fits_json import Trust
from mnist_scaling.reporting.documents.json_form import plain
from mnist_scaling.reporting.text import decimals, estimate, factor, number, three_digits
from mnist_scaling.reporting.words.in_short import CLOSE, FAIR, LOW, doubt, few_inside, graded, of_arms, reach
from mnist_scaling.study.files import checksum
from mnist_scaling.study.tables.csv_table import read_study_table

SCHEMA = 1
"""Of an answer's record."""

OF_SCALE = {SMOKE: (LOW, "numbers of scale=smoke mean nothing"), QUICK: (FAIR, "scale=quick has small grids")}
"""Doubts about smaller scales."""

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
    short: str
    """The sentence in a line or two; empty where the question has none."""
    trust: Trust
    cells: int
    """Of all its studies."""
    minutes: float
    """Of all runs of its studies, added up, whichever question they were run for."""
    sha256: Mapping[str, str]
    """Checksum of each study's cells.csv."""


def answer(name: str, question: Question, scale: str, tables: Mapping[str, Path]) -> Answer:
    """Measure a question's arms and fill its sentences; `tables` are the cells.csv of its studies.

    InputError when a table, an arm, a measure or a slot of the sentence is at fault.
    """
    arms = study_arms.read_arms(question, tables)
    frames = {key: read_study_table(path) for key, path in tables.items()}
    findings = Findings(notes=(*study_arms.rows_in_no_arm(question, frames), *study_arms.flagged_rows(frames)))
    for spec in question.measures:
        findings = findings | measures.measure(spec, arms)
    seconds = sum(float(frame["seconds"].sum()) for frame in frames.values() if "seconds" in frame)
    return Answer(
        name,
        question,
        scale,
        arms,
        findings,
        fill(question.sentence, findings),
        fill(question.short, findings, brief=True),
        trust(question, scale, arms, findings),
        sum(map(len, frames.values())),
        seconds / 60,
        {key: checksum(path.read_bytes()) for key, path in tables.items()},
    )


def trust(question: Question, scale: str, arms: Mapping[str, StudyArm], findings: Findings) -> Trust:
    """As far as flags, certificates, the scale and the least sure number of the sentence leave it."""
    doubts = [OF_SCALE[scale]] if scale in OF_SCALE else []
    of_cells, _ = of_arms([(arm.label, arm.rows) for arm in arms.values()], findings.flags)
    slots = SLOT.findall(question.sentence)
    quoted = [one for k, one in findings.numbers.items() if k in slots and one.factor is not None]
    named = [(of_number(one), one) for one in quoted if one.interval.known]
    doubts += [(LOW, "these cells do not tell all numbers")] * (len(named) < len(quoted))
    for level in (LOW, FAIR):
        shown = [f"{one.meaning}, {estimate(one.interval)}" for own, one in named if own.trust == level]
        of_all = f"{len(shown)} of its {len(named)} numbers are {level} by themselves"
        many = f"{of_all}, as their table says"
        doubts += [(level, many if len(shown) > 3 else f"{level} by itself: {'; '.join(shown)}")] * bool(shown)
    return graded([*of_cells, *doubts])


def of_number(one: Number) -> Trust:
    """How far to trust a number by itself: as its interval leaves it."""
    if one.factor is None:
        return graded([])
    if not one.interval.known:
        return Trust(LOW, ["these cells do not tell it"])
    at = "" if one.factor else f" at {TIMES:g} times as much"
    far = reach(one.interval, one.factor)
    zero = not one.factor and not one.verdict and one.interval.holds(0) and far > CLOSE / 10
    own = [(FAIR, one.doubtful or "may be 0")] if one.doubtful or zero else []
    return graded((doubt(f"{{}}{at}", far) or own) + few_inside(one.inside))


def fill(sentence: str, findings: Findings, brief: bool = False) -> str:
    """A sentence with its slots filled; a brief one has no intervals, and the slot x_tenfold for 10 to the power of x.

    InputError when a slot is none that the measures fill, with the nearest one.
    """
    shown = dict(findings.words)
    for slot, one in findings.numbers.items():
        value = one.interval.value
        bare = {True: factor, False: decimals, None: three_digits}[one.factor]
        known = bare(value) if brief else estimate(one.interval)
        shown[slot] = known if one.interval.known else UNKNOWN
        if brief and one.factor is False:  # an exponent
            shown[f"{slot}_tenfold"] = number(10**value, 2) if one.interval.known else UNKNOWN
    try:
        return SLOT.sub(lambda slot: shown[slot[1]], " ".join(sentence.split()))
    except KeyError as error:
        (slot,) = error.args
        raise InputError(
            f"Every slot of a sentence must be filled by a measure, but none of them gives {{{slot}}}: "
            f"{nearest(slot, shown)}"
        ) from None


def record(answer: Answer) -> dict[str, Any]:
    """An answer as its JSON file has it, the sentence's numbers first; one that is not known is null."""
    said = dict.fromkeys(SLOT.findall(answer.question.sentence))
    numbers = sorted(answer.findings.numbers.items(), key=lambda item: item[0] not in said)
    return {
        "schema": SCHEMA,
        "name": answer.name,
        "title": answer.question.title,
        "question": answer.question.question,
        "scale": answer.scale,
        "sentence": answer.sentence,
        "short": answer.short,
        **plain(answer.trust),
        "quoted": [slot for slot in said if slot in answer.findings.numbers],
        "numbers": {
            slot: plain(
                number.interval.record()
                | {"meaning": number.meaning, "verdict": number.verdict, "trust": ""}
                | ({} if number.factor is None else plain(of_number(number)))
            )
            for slot, number in numbers
        },
        "words": dict(answer.findings.words),
        "notes": list(answer.findings.notes),
        "cells": answer.cells,
        "minutes": answer.minutes,
        "measures": answer.question.measures,
        "arms": {name: asdict(arm) for name, arm in answer.question.arms.items()},
        "studies": {
            key: {
                "study": study_arms.study_name(key, answer.scale),
                "overrides": study_arms.sweep(key, spec, answer.scale),
                "sha256": answer.sha256[key],
            }
            for key, spec in answer.question.studies.items()
        },
    }
