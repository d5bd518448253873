"""The schema of conf/compare.yaml: every key of the compare command, with its default, its meaning and its rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mnist_scaling.config import PRINTED, TEXT, one_of, register, require
from mnist_scaling.config.fit_schema import BootstrapConfig, ColumnsConfig, FitConfig, listed
from mnist_scaling.errors import InputError, holds
from mnist_scaling.fitting.comparing import ComparisonOptions
from mnist_scaling.study import layout

ALLOWED = ("data",)
"""Differences between arms that are refused unless `allow` names them."""


@dataclass(frozen=True)
class CompareConfig:
    """A comparison: which arms, on which columns, and how sure one wants to be."""

    studies: Any = None
    """Studies in multirun/, or paths of their folders, each one arm: studies=[adam,sgd]. Differences are the second
    minus the first."""
    tables: Any = None
    """CSV files instead, each one arm: tables=[a.csv,b.csv], with columns.N=… and so on."""
    by: Any = None
    """A column, or a list of columns, whose values are the arms of one study (name=…) or one table (tables=[FILE])."""
    name: str | None = None
    """With studies=[…]: the folder multirun/<name> that the comparison is written to. With by=…: the study."""
    out: str | None = None
    """Folder of comparison.json and of its page, instead of multirun/<name>."""
    twin: str | None = None
    """A study of the same arm, tuned again with another seed: it shows what tuning leaves to luck."""
    columns: ColumnsConfig = field(default_factory=ColumnsConfig)
    """Which column plays which role, as in `fit`: one name for all arms, so that their losses are of one kind."""
    where: str | None = None
    """Rows to keep in every arm, as in `fit`."""
    tuned: bool | None = None
    """tables: whether their rows are the best of several settings; by default the luck of such a choice is allowed for,
    unless the tables count their trials."""
    allow: tuple[str, ...] = ()
    """Differences that are wanted: [data] compares arms that were trained on different data."""
    margin: float = 0.03
    """Differences up to this size don't matter: of an exponent, of which a tenth is the most, or of the log loss in the
    middle of the grid."""
    target: Any = field(default_factory=dict)
    """target.flops=…: a compute at which one asks which arm has the lower loss, also beyond the cells of both."""
    exponents: bool = True
    """Whether joint laws and the frontier are fitted to both arms, too, which takes seconds."""
    bootstrap: BootstrapConfig = field(default_factory=BootstrapConfig)
    """Draws and level of every interval; `kind` is not used, because noise is always redrawn."""
    seed: int = 0
    """Seed of every random number."""
    format: str = TEXT
    """What is printed: text, or json: the whole of comparison.json, for scripts."""

    def __post_init__(self) -> None:
        one_of("format", self.format, PRINTED)
        given = [key for key in ("studies", "tables", "by") if getattr(self, key)]
        wanted = given in (["studies"], ["tables"], ["by"], ["tables", "by"])
        require(
            wanted,
            f"One of `studies`, `tables` and `by` must say what the arms are, but got {' and '.join(given) or 'none'}: "
            "studies=[a,b] name=c, by=COLUMN name=STUDY, or tables=[a.csv,b.csv] out=FOLDER.",
        )
        for key in ("studies", "tables"):
            _distinct(key, listed(getattr(self, key)), self.by)
        if self.tables and not self.out:
            raise InputError("`out` must be given with `tables`, but it is empty: give out=FOLDER for the results.")
        if not self.tables and not self.name and not (self.studies and self.out):
            what = "name=STUDY whose column it is" if self.by else "name=NAME for the folder of the results"
            raise InputError(f"`name` must be given with `{given[0]}`, but it is empty: give {what}.")
        if self.twin and self.tables:
            raise InputError(f"`twin` must be of arms that are studies, but got {self.twin} with tables: leave it out.")
        wrong = sorted(set(self.allow) - set(ALLOWED))
        require(not wrong, f"`allow` must be of {', '.join(ALLOWED)}, but got {', '.join(wrong)}: leave it out.")
        unlike = not isinstance(self.target, Mapping) or {*self.target} - {"flops"}
        require(not unlike, f"`target` must be target.flops=…, a compute, but got {self.target!r}: mend it.")
        flops = self.options().target
        holds(flops is None or flops > 0, "target.flops > 0", flops, "give FLOPs, such as 1e13.")

    @property
    def by_columns(self) -> Sequence[str]:
        """The columns of `by`."""
        return listed(self.by)

    @property
    def folder(self) -> Path:
        """Where comparison.json and its page go."""
        if self.out:
            return Path(self.out)
        return (layout.found_folder if self.by else layout.study_folder)(str(self.name))

    def sources(self) -> list[FitConfig]:
        """What `fit` would be asked for each table; with `by` there is one."""
        shared: dict[str, Any] = {"columns": self.columns, "where": self.where}
        if self.tables:
            return [FitConfig(table=path, by=self.by, tuned=self.tuned, **shared) for path in listed(self.tables)]
        names = [str(self.name)] if self.by else listed(self.studies)
        return [FitConfig(name=name, by=self.by, **shared) for name in names]

    def twin_source(self) -> FitConfig | None:
        """What `fit` would be asked for the twin."""
        return FitConfig(name=self.twin, by=self.by, columns=self.columns, where=self.where) if self.twin else None

    def options(self) -> ComparisonOptions:
        """What the library is asked to do."""
        return ComparisonOptions(
            self.bootstrap.draws, self.bootstrap.level, self.seed, self.margin, self.exponents, self.target.get("flops")
        )


def _distinct(key: str, values: Sequence[str], by: Any) -> None:
    """At least two of a list, none of them twice; one table is enough where a column tells its arms apart."""
    if not values:
        return
    if by and key == "tables":
        require(
            len(values) == 1,
            f"`tables` must be one file with `by`, but got {len(values)}: give one, or leave `by` out.",
        )
        return
    if len(values) < 2:
        raise InputError(
            f"`{key}` must name at least two arms, but got only {values[0]}: name another one, or give by=COLUMN to "
            "compare the values of a column inside it."
        )
    same = [str(Path(v).resolve()) if key == "tables" else v for v in values]
    twice = next((v for v, s in zip(values, same, strict=True) if same.count(s) > 1), None)
    if twice is not None:
        raise InputError(f"`{key}` must name different arms, but {twice} is there twice: name another one.")


register("compare", CompareConfig, open_keys=("target",))
