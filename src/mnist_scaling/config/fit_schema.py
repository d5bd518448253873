"""The schema of conf/fit.yaml: every key of the fit command, with its default, its meaning and its rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from mnist_scaling.config import PRINTED, TEXT, one_of, register, require
from mnist_scaling.fitting.estimation.estimate import Settings
from mnist_scaling.fitting.fitted import Options


@dataclass(frozen=True)
class ColumnsConfig:
    """Headers of the table; null where it has no such column."""

    N: str | None = None
    """Parameters."""
    D: str | None = None
    """Examples or tokens processed."""
    C: str | None = None
    """Training FLOPs."""
    U: str | None = None
    """Unique examples or tokens, for the repeated-data law."""
    loss: str | None = None
    """In nats, or any positive loss or error rate."""
    se: str | None = None
    """Standard error of the loss over repeats."""
    repeats: str | None = None
    """Number of repeats; 3 are assumed where only se is given."""
    flags: str | None = None
    """Flag codes, separated by ;."""

    def __post_init__(self) -> None:
        roles = {key: header for key in ("N", "D", "C", "loss", "se") if (header := getattr(self, key))}
        for key, header in roles.items():
            other = next(k for k, h in roles.items() if h == header)
            require(
                other == key,
                f"Each of `columns` must name a column of its own, but columns.{other} and columns.{key} are both "
                f"{header}: mend one, or leave it out.",
            )


@dataclass(frozen=True)
class PredictConfig:
    """A point whose loss is wanted."""

    N: float | None = None
    """Parameters."""
    D: float | None = None
    """Examples or tokens processed."""
    C: float | None = None
    """Training FLOPs."""


@dataclass(frozen=True)
class BootstrapConfig:
    """Draws, kind and level of the one bootstrap."""

    draws: int = 1000
    """Draws of each fit."""
    kind: str = "auto"
    """One of wild (redraw noise), pairs (resample rows), or auto: pairs from 60 rows on."""
    level: float = 0.95
    """Level of every interval."""


@dataclass(frozen=True)
class RowsConfig:
    """Which rows of which study or table are read, and how sure one wants to be: what `fit` and `plan` share."""

    name: str | None = None
    """A study, read from multirun/<name>/cells.csv, written by train -m; one elsewhere by the path of its folder."""
    table: str | None = None
    """Any CSV file with a header, instead of a study."""
    out: str | None = None
    """Folder of what is written; the study's own by default, else the table's. Without it nothing is written beside the
    tables that come with the repository."""
    columns: ColumnsConfig = field(default_factory=ColumnsConfig)
    """Which column plays which role: a table needs loss, and whichever of N, D, C it has. A study's columns are known,
    and a name given here replaces them: columns.D=n_train takes unique images as D, for runs trained until they
    converged. Another loss brings its own standard error, <loss>_se, or none."""
    where: str | None = None
    """Rows to keep, such as "kept == 1" or "family == 'cnn' and D > 1e9": a condition on columns; it runs no code."""
    cells: Any = None
    """table: a column, or a list of columns, whose values make a cell, where each row is a run: the best run of each
    cell is fitted."""
    best: str | None = None
    """cells: the column that selects the best run, such as val_loss; columns.loss by default."""
    tuned: bool | None = None
    """table: whether each row is the best of several settings, so that intervals hold that luck, too. By default rows
    that `cells` selects are, and those of a table that counts no trials are not."""
    bootstrap: BootstrapConfig = field(default_factory=BootstrapConfig)
    """The one bootstrap behind every interval."""
    seed: int = 0
    """Seed of every random number."""
    format: str = TEXT
    """What is printed: text, or json: the whole of what is written, for scripts."""

    def __post_init__(self) -> None:
        one_of("format", self.format, PRINTED)
        require(
            self.cells is None or self.name is None,
            "`cells` must go with table=FILE.csv, because a study's cells are known, but got name=…: leave it out.",
        )
        require(
            self.tuned is None or self.name is None,
            f"`tuned={self.tuned}` must go with table=FILE.csv, because a study counts its trials: leave it out.",
        )
        require(
            self.best is None or self.cells is not None,
            f"`best={self.best}` must go with cells=[…], the columns that make a cell: give them.",
        )

    @property
    def cell_columns(self) -> Sequence[str]:
        """The columns of `cells`."""
        return listed(self.cells)


@dataclass(frozen=True)
class FitConfig(RowsConfig):
    """A fit: which rows, which laws, how they are estimated and what else is worked out."""

    optuna: str | None = None
    """A storage of Optuna's, by its URL or journal file, instead of a table: finished trials are the rows, with their
    parameters, numbers among their user_attrs, and value. Needs out and cells."""
    by: Any = None
    """A column, or a list of columns, whose values are arms: each is fitted alone and never pooled with another. A
    study's axes that set neither N nor D, such as optimizer, are arms without being named here."""
    laws: Any = "default"
    """One of default and all, or a list such as [additive,kaplan]: laws that are named are the base of the headline."""
    delta: Any = "auto"
    """Huber's threshold in log loss; auto = 1.345 sigma of the noise, 1e-3 is the published convention."""
    loss: str = "huber"
    """One of huber, squared (least squares in logs) or absolute."""
    weights: str = "equal"
    """One of equal and inverse_variance (needs columns.se)."""
    isoflop: str = "parabola"
    """One of parabola, argmin: how an isoFLOP minimum is found."""
    classes: int | None = None
    """Number of classes, for the tests on chance and units and for laws that begin at chance; null for the study's own,
    which is in its study.json."""
    mask_chance: bool = False
    """Leave out rows with a loss above 95 % of ln(classes)."""
    predict: PredictConfig = field(default_factory=PredictConfig)
    """A point whose loss is predicted by the headline's model."""
    leave_future_out: bool | None = None
    """Also the losses of the cells above 1/8, 1/4 and 1/2 of the largest compute, predicted from those below. null:
    of a study whose cells suffice for it."""
    details: bool = False
    """Print every law, frontier method, setting and flag, and not the answer alone. fits.json has all in any case."""

    def __post_init__(self) -> None:
        require(
            sum(map(bool, (self.name, self.table, self.optuna))) == 1,
            f"Exactly one of `name` and `table` must be given, but got {'both' if self.name else 'neither'}: "
            "name=STUDY or table=FILE.csv.",
        )
        super().__post_init__()
        require(
            self.optuna is None or bool(self.out and self.cells),
            "`optuna` must go with out=FOLDER, where its table is written, and cells=[…], the parameters that make a "
            "cell: give both.",
        )
        require(
            self.by is None or isinstance(self.by, str | list | tuple),
            f"`by` must be a column or a list of columns, but got {self.by!r}: give by=COLUMN.",
        )
        require(
            self.delta == "auto" or self.loss == "huber",
            f"`delta` acts on loss=huber alone, but got delta={self.delta} with loss={self.loss}: leave one out.",
        )

    @property
    def asked(self) -> dict[str, float]:
        """What is given of `predict`."""
        return {k: v for k, v in asdict(self.predict).items() if v is not None}

    @property
    def arm_columns(self) -> Sequence[str]:
        """The columns of `by`."""
        return listed(self.by)

    def options(self, classes: int | None = None) -> Options:
        """What the library is asked to do; the key `classes` goes before the number of them that the study states."""
        classes = classes if self.classes is None else self.classes
        require(
            not (self.mask_chance and classes is None),
            "`mask_chance=true` must go with a number of classes, but the table states none: give classes=10, or "
            "whatever it is.",
        )
        return Options(
            laws=self.laws if isinstance(self.laws, str) else tuple(self.laws),
            settings=Settings(delta=_delta(self.delta), loss=self.loss, weights=self.weights),
            draws=self.bootstrap.draws,
            kind=self.bootstrap.kind,
            level=self.bootstrap.level,
            seed=self.seed,
            classes=classes,
            mask_chance=self.mask_chance,
            isoflop=self.isoflop,
            predict=self.asked,
        )


def listed(value: Any) -> list[str]:
    """A word, or a list of words, or nothing, as a list."""
    return [value] if isinstance(value, str) else [str(word) for word in value or ()]


def _delta(value: Any) -> float | str:
    try:
        return float(value)
    except (TypeError, ValueError):
        return str(value)


register("fit", FitConfig)
