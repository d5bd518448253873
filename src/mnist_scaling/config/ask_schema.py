"""The schema of conf/ask.yaml: every key of the ask command, with its default, its meaning and its rules."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from mnist_scaling.config import PRINTED, TEXT, one_of, register
from mnist_scaling.config.question_schema import FULL, SCALES


@dataclass(frozen=True)
class AskConfig:
    """What is asked, and how much may be spent on it."""

    question: str | None = None
    """A question of conf/question/, or the path of a YAML file of your own; null lists the questions."""
    scale: str = FULL
    """full, quick (minutes) or smoke (seconds; its numbers mean nothing). Studies of different scales never mix."""
    without: tuple[str, ...] = ()
    """Studies of the question to leave out, such as one whose images can't be had; the answer says nothing of them."""
    run: bool = True
    """False: answer from the studies as they are, and run nothing."""

    format: str = TEXT
    """What is printed: text, or json: the list, or the whole answer, for scripts; all else goes to stderr."""

    def __post_init__(self) -> None:
        one_of("scale", self.scale, SCALES)
        one_of("format", self.format, PRINTED)


NAME = "ask"
"""The command's file in conf/, and its name in Hydra's store."""


def store(conf: Path) -> None:
    """Make conf/ask.yaml known to Hydra without the folder `conf` that it lies in.

    That folder also holds folders named question and scale, which Hydra would take for config groups of this command;
    here both are plain keys, so that a file of one's own is a question like any other.
    """
    register(NAME, AskConfig)
    ConfigStore.instance().store(name=NAME, node=OmegaConf.load(conf / f"{NAME}.yaml"))
