"""What a question is: conf/question/<name>.yaml, read and checked."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mnist_scaling.errors import InputError
from mnist_scaling.study import layout

SCALES = ("full", "quick", "smoke")
"""Sizes of a question; conf/scale/ says what each shrinks."""

FULL = SCALES[0]

SLOT = re.compile(r"\{(\w*)\}")
"""A slot of a sentence, such as {sgd_alpha}."""


@dataclass(frozen=True)
class StudySpec:
    """A study that a question needs, as `train -m` would be given it."""

    experiment: str
    """A file of conf/experiment/."""
    overrides: tuple[str, ...] = ()
    """Further overrides of `train -m`."""
    quick: tuple[str, ...] = ()
    """Overrides with scale=quick only, such as shorter axes."""
    smoke: tuple[str, ...] = ()
    """Overrides with scale=smoke only."""
    needs: tuple[str, ...] = ()
    """Studies of this question that must have run before, because this one starts from their weights."""


@dataclass(frozen=True)
class ArmSpec:
    """Rows that are measured as one: a study, or some rows of it."""

    study: str
    """A key of `studies`."""
    where: str | None = None
    """A condition on columns of cells.csv, such as "optimizer == 'sgd'"."""
    loss: str = "test_loss"
    """The column that is measured."""
    label: str | None = None
    """What figure and page call the arm; null for its key with spaces."""


@dataclass(frozen=True)
class FigureSpec:
    """The figure: columns of cells.csv, or `arm`."""

    x: str = "n_seen"
    """Column along the axis."""
    y: str = "loss"
    """Column of the losses; `loss` is that of each arm."""
    colour: str = "arm"
    """What lines of one colour share."""
    panel: str | None = None
    """What each panel shows; null for one panel."""
    lines: str | None = None
    """What tells lines of one colour apart; null for nothing."""
    intervals: tuple[str, ...] = ()
    """Slots of the sentence that stand in a panel of their own, with their intervals."""


@dataclass(frozen=True)
class Question:
    """conf/question/<name>.yaml."""

    title: str = ""
    """A few words."""
    question: str = ""
    """One plain sentence that ends in a question mark."""
    studies: dict[str, StudySpec] = field(default_factory=dict)
    """Name in multirun/ to study; with scale=quick the name is <name>_quick. Questions share studies by name."""
    arms: dict[str, ArmSpec] = field(default_factory=dict)
    """Name to rows; left out: each study is one arm."""
    measures: list[dict[str, Any]] = field(default_factory=list)
    """Each `kind`, one of asking/measures/, and its keys."""
    figure: FigureSpec = field(default_factory=FigureSpec)
    """What is drawn."""
    sentence: str = ""
    """The answer, with slots such as {sgd_alpha} that the measure fills."""
    parts: tuple[str, ...] = ()
    """Instead of all but title and question: other questions, whose answers stand on one page in this order."""


def read(path: Path) -> Question:
    """A question from its file.

    Raises
    ------
    InputError
        When the file is no YAML, has an unknown key or a value of another type, or breaks a rule of a question.
    """
    try:
        content = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    except Exception as error:
        raise InputError(
            f"A question must be a YAML file, but {path} is not ({_first_line(error)}): mend it."
        ) from None
    if not isinstance(content, dict):
        raise InputError(f"A question must be a mapping of keys to values, but {path} is none: see docs/extending.md.")
    schema = OmegaConf.structured(Question)
    _writable(schema)
    try:
        found: Any = OmegaConf.to_object(OmegaConf.merge(schema, _literal(content)))
    except OmegaConfBaseException as error:
        raise InputError(_schema_error(path, error)) from None
    _check(path, found)
    return found


def _literal(content: Any) -> Any:
    """The content with ``${`` as it stands: an interpolation in an override is for `train -m` to follow, not for us."""
    if isinstance(content, dict):
        return {key: _literal(value) for key, value in content.items()}
    if isinstance(content, list):
        return [_literal(value) for value in content]
    return content.replace("${", r"\${") if isinstance(content, str) else content


def _writable(schema: Any) -> None:
    OmegaConf.set_readonly(schema, False)
    for key in ("figure",):
        OmegaConf.set_readonly(schema[key], False)


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0]


def _schema_error(path: Path, error: OmegaConfBaseException) -> str:
    text, key = str(error), getattr(error, "full_key", None) or ""
    if found := re.search(r"Key '([^']+)' (?:is )?not in '(\w+)'", text):
        known = {c.__name__: list(c.__dataclass_fields__) for c in (Question, StudySpec, ArmSpec, FigureSpec)}
        keys = known.get(found.group(2), [])
        return f"Every key of a question must be known, but {path} has `{key}`: {_nearest(found.group(1), keys)}"
    if "MissingMandatoryValue" in type(error).__name__ or "Missing" in text:
        return f"Every study must name its experiment and every arm its study, but {path} lacks `{key}`: add it."
    return f"A value of {path} must be of its key's type, but `{key}` is not ({_first_line(error)}): mend it."


def _nearest(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"did you mean `{close[0]}`?" if close else f"choose one of {', '.join(known)}."


def _check(path: Path, question: Question) -> None:
    """The rules that no type can hold."""
    for key in ("title", "question"):
        if not getattr(question, key):
            raise InputError(f"A question must have `{key}`, but {path} has none: write it in plain words.")
    if question.parts:
        given = [key for key in ("studies", "arms", "measures", "sentence") if getattr(question, key)]
        if given:
            raise InputError(
                f"A question has `parts` or studies of its own, but {path} has `parts` and `{given[0]}`: leave one out."
            )
        return
    for key in ("studies", "measures", "sentence"):
        if not getattr(question, key):
            raise InputError(f"A question must have `{key}`, but {path} has none: see docs/extending.md for one.")
    for name, study in question.studies.items():
        layout.study_folder(name)
        _known_studies(path, f"`studies.{name}.needs`", study.needs, question)
    try:
        order_of(question)
    except CycleError as error:
        circle = " needs ".join(reversed(error.args[1]))
        raise InputError(
            f"A study must be able to run after those that it needs, but in {path} {circle}: drop one of these `needs`."
        ) from None
    for name, arm in question.arms.items():
        _known_studies(path, f"`arms.{name}.study`", (arm.study,), question)


def _known_studies(path: Path, where: str, names: tuple[str, ...], question: Question) -> None:
    for name in names:
        if name not in question.studies:
            raise InputError(
                f"{where} must be one of the question's studies, but {path} says {name!r}: "
                f"{_nearest(name, list(question.studies))}"
            )


def arms_of(question: Question) -> Mapping[str, ArmSpec]:
    """The question's arms; each study as one where it names none."""
    return question.arms or {name: ArmSpec(name) for name in question.studies}


def order_of(question: Question) -> list[str]:
    """The question's studies, each after those that it needs; a study that needs none stands where the file has it."""
    return list(TopologicalSorter({name: study.needs for name, study in question.studies.items()}).static_order())


def leave_out(question: Question, names: Collection[str]) -> Question:
    """The question without some of its studies: their arms go, and every sentence and interval that needs one of them.

    Raises
    ------
    InputError
        When a name is no study of it, a study that is left needs one that is not, or nothing is left to say.
    """
    if not names:
        return question
    for name in names:
        if name not in question.studies:
            raise InputError(
                f"`without` must name studies of the question, but got {name!r}: "
                f"{_nearest(name, list(question.studies))}"
            )
    studies = {name: study for name, study in question.studies.items() if name not in names}
    for name, study in studies.items():
        if gone := set(study.needs) & set(names):
            raise InputError(
                f"A study must keep those that it needs, but {name} needs {sorted(gone)[0]}: leave {name} out too."
            )
    every = arms_of(question)
    arms = {name: arm for name, arm in every.items() if arm.study in studies}

    def is_left(slot: str) -> bool:
        owners = [name for name in every if slot.startswith(f"{name}_")]
        return not owners or max(owners, key=len) in arms

    sentences = re.split(r"(?<=[.!?])\s+", question.sentence.strip())
    kept = [text for text in sentences if all(is_left(slot) for slot in SLOT.findall(text))]
    if not kept:
        raise InputError(
            f"`without` must leave a sentence to say, but each one speaks of {' or '.join(names)}: leave out fewer."
        )
    intervals = tuple(slot for slot in question.figure.intervals if is_left(slot))
    figure = replace(question.figure, intervals=intervals)
    return replace(question, studies=studies, arms=arms, figure=figure, sentence=" ".join(kept))
