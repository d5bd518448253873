"""The schemas of conf/ask.yaml and of conf/question/<name>.yaml: what is asked, and what a question is."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from mnist_scaling.config import PRINTED, TEXT, one_of, register

SCALES = ("full", "quick", "smoke")
"""Sizes of a question; conf/scale/ says what each shrinks."""

FULL, QUICK, SMOKE = SCALES


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
    twin: str | None = None
    """An arm whose study is run again with another seed, which shows what tuning leaves to luck: kind: difference."""
    measures: list[dict[str, Any]] = field(default_factory=list)
    """Each `kind`, one of asking/measures/, and its keys."""
    figure: FigureSpec = field(default_factory=FigureSpec)
    """What is drawn."""
    sentence: str = ""
    """The answer, with slots such as {sgd_alpha} that the measure fills."""
    short: str = ""
    """The same in a line or two, which is read first: its slots hold values without their intervals."""
    parts: tuple[str, ...] = ()
    """Instead of all but title and question: other questions, whose answers stand on one page in this order."""


@dataclass(frozen=True)
class AskConfig:
    """What is asked, and how much may be spent on it."""

    question: str | None = None
    """A question of conf/question/, or the path of a YAML file of your own; null lists the questions."""
    scale: str = FULL
    """full, quick (minutes) or smoke (seconds; its numbers mean nothing). Studies of different scales never mix."""
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
