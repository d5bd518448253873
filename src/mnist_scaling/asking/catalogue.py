"""All questions: where they lie, which there are, and the nearest name to one that there is not."""

from __future__ import annotations

from pathlib import Path

from mnist_scaling.asking.question import read
from mnist_scaling.config.question_schema import Question
from mnist_scaling.errors import InputError, nearest

FOLDER = "question"
"""Folder of questions in conf/, and of a user's own in the folder that the command is started from."""


def names(conf: Path) -> list[str]:
    """Every committed question, in alphabetical order."""
    return sorted(path.stem for path in (conf / FOLDER).glob("*.yaml"))


def find(name: str, conf: Path) -> tuple[str, Question]:
    """A question by its name, or by the path of one's own file; its name and itself.

    Parameters
    ----------
    name : str
        Such as dropout, or mine.yaml.
    conf : Path
        conf/.

    Raises
    ------
    InputError
        When there is no such question, with the nearest name; or when its file is at fault.
    """
    if name.endswith(".yaml"):
        path = Path(name)
        if not path.is_file():
            raise InputError(
                f"`question` must be the name of a question or an existing YAML file, but there is no {path}."
            )
        return path.stem, read(path)
    known = names(conf)
    if name not in known:
        fix = nearest(name, known, "choose one of them, or give a YAML file of your own.")
        raise InputError(f"`question` must be one of {', '.join(known)}, but got {name!r}: {fix}")
    return name, read(conf / FOLDER / f"{name}.yaml")
