"""A question: found by its name, read from its file and checked; its arms, its studies' order, its twin."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from omegaconf import OmegaConf

from mnist_scaling.config import typed
from mnist_scaling.config.ask_schema import SMOKE, ArmSpec, Question
from mnist_scaling.errors import InputError, nearest
from mnist_scaling.study import layout

FOLDER = "question"
"""Folder of questions in conf/, and of a user's own in the folder that the command is started from."""


def question_names(conf: Path) -> list[str]:
    """Every committed question, in alphabetical order."""
    return sorted(path.stem for path in (conf / FOLDER).glob("*.yaml"))


def find_question(name: str, conf: Path) -> tuple[str, Question]:
    """A question by its name, such as dropout, or by the path of one's own file, mine.yaml; its name and itself.

    InputError when there is no such question, with the nearest name; or when its file is at fault.
    """
    if name.endswith(".yaml"):
        path = Path(name)
        if not path.is_file():
            raise InputError(
                f"`question` must be the name of a question or an existing YAML file, but there is no {path}."
            )
        return path.stem, read(path)
    known = question_names(conf)
    if name not in known:
        fix = nearest(name, known, "choose one of them, or give a YAML file of your own.")
        raise InputError(f"`question` must be one of {', '.join(known)}, but got {name!r}: {fix}")
    return name, read(conf / FOLDER / f"{name}.yaml")


SLOT = re.compile(r"\{(\w*)\}")
"""A slot of a sentence, such as {sgd_alpha}."""


def read(path: Path) -> Question:
    """A question from its file.

    InputError when the file is no YAML, has an unknown key or a value of another type, or breaks a rule of a question.
    """
    try:
        content = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    except Exception as error:
        said = str(error).strip().splitlines()[0]
        raise InputError(f"A question must be a YAML file, but {path} is not ({said}): mend it.") from None
    if not isinstance(content, dict):
        raise InputError(
            f"A question must be a mapping of keys to values, but {path} is none: see docs/own_problem.md."
        )
    question = typed(Question, {str(key): value for key, value in content.items()}, str(path))
    _check(path, question)
    return question


def _check(path: Path, question: Question) -> None:
    """The rules that no type can hold."""
    own = ("studies", "measures", "sentence")
    for key in ("title", "question", *(() if question.parts else own)):
        if not getattr(question, key):
            raise InputError(f"A question must have `{key}`, but {path} has none: see docs/own_problem.md for one.")
    if question.parts and (given := [key for key in (*own, "arms") if getattr(question, key)]):
        raise InputError(
            f"A question has `parts` or studies of its own, but {path} has `parts` and `{given[0]}`: leave one out."
        )
    named = {f"`studies.{name}.needs`": study.needs for name, study in question.studies.items()}
    named |= {f"`arms.{name}.study`": (arm.study,) for name, arm in question.arms.items()}
    for where, names in named.items():
        for name in set(names) - set(question.studies):
            rule = f"{where} must be one of the question's studies, but {path} says {name!r}"
            raise InputError(f"{rule}: {nearest(name, question.studies)}")
    if question.twin is not None and question.twin not in arms_of(question):
        fix = nearest(question.twin, arms_of(question))
        raise InputError(f"`twin` must be one of the question's arms, but {path} says {question.twin!r}: {fix}")
    for name in question.studies:
        layout.study_folder(name)
    try:
        order_of(question)
    except CycleError as error:
        circle = " needs ".join(reversed(error.args[1]))
        raise InputError(
            f"A study must be able to run after those that it needs, but in {path} {circle}: drop one of these `needs`."
        ) from None


def arms_of(question: Question) -> Mapping[str, ArmSpec]:
    """The question's arms; each study as one where it names none."""
    return question.arms or {name: ArmSpec(name) for name in question.studies}


TWIN_SEED = 1000
"""Seed of twins: far enough from a study's own for none of their repeats to share one."""


def twin_study(question: Question) -> str:
    """Name of the study that is the twin's; empty where the question has no twin."""
    return f"{arms_of(question)[question.twin].study}_twin" if question.twin is not None else ""


def with_twin(question: Question, scale: str) -> Question:
    """The question with the study of its twin; at scale=smoke, whose numbers mean nothing, as it is."""
    if question.twin is None or scale == SMOKE:
        return question
    again = question.studies[arms_of(question)[question.twin].study]
    again = replace(again, overrides=(*again.overrides, f"seed={TWIN_SEED}"))
    return replace(question, arms=dict(arms_of(question)), studies={**question.studies, twin_study(question): again})


def order_of(question: Question) -> list[str]:
    """The question's studies, each after those that it needs; a study that needs none stands where the file has it."""
    return list(TopologicalSorter({name: study.needs for name, study in question.studies.items()}).static_order())
