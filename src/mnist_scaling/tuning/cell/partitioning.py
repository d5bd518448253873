"""What a sweep asks for: which overrides are axes, which are tuned, which are fixed; or an explicit list of cells."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import yaml
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException

from mnist_scaling import config
from mnist_scaling.errors import InputError
from mnist_scaling.study.columns import BRANCH, CELL_COLUMNS, RUN_SEED, SEED, TRIAL_COLUMNS, column_of
from mnist_scaling.study.tables.csv_table import read_table
from mnist_scaling.tuning.cell import search_space
from mnist_scaling.tuning.cell.search_space import NUISANCE

EFFORT = {"hydra.sweeper.n_trials": 1, "hydra.sweeper.n_repeats": 0}
"""Config keys of the sweeper that a list may give for each cell, and the least number of each."""

_NO_WORDS = (
    "", "NA", "N/A", "n/a", "#N/A", "#N/A N/A", "#NA", "<NA>", "NaN", "nan", "-NaN", "-nan", "NULL", "null", "None",
)  # fmt: skip
"""Words that pandas takes for an empty field of a CSV file."""


@dataclass(frozen=True)
class Partition:
    """A sweep's overrides by their role."""

    fixed: tuple[str, ...]
    """Passed on to every run as they are."""
    axes: dict[str, tuple[str, ...]]
    """Override key, with its + or ++, to the values of the axis as override text."""
    space: dict[str, str | None]
    """Config key to a sweep for the search space; None takes the key out, because it is fixed."""

    @property
    def keys(self) -> set[str]:
        """Config keys that the sweep sets, to one value or to several."""
        return {text.split("=", 1)[0].lstrip("+~") for text in (*self.fixed, *self.axes)}


def partition(arguments: Sequence[str], space_keys: Iterable[str], loader: ConfigLoader | None = None) -> Partition:
    """Sort overrides, an experiment's before the command line's, into fixed values, axes and search space.

    A plain value is fixed, and leaves the search space if it was there. A swept key is tuned when it is in the search
    space or tagged `nuisance`; any other swept key is an axis. Of several overrides of one key the last counts.
    `loader` knows the files of a config group, for ``glob(*)``.
    """
    tuned = set(space_keys)
    last: dict[str, Override] = {}
    for override in OverridesParser.create(loader).parse_overrides(list(arguments)):
        if override.type == OverrideType.EXTEND_LIST:
            last[str(override.input_line)] = override
        else:
            last.pop(override.key_or_group, None)
            last[override.key_or_group] = override

    fixed: list[str] = []
    axes: dict[str, tuple[str, ...]] = {}
    space: dict[str, str | None] = {}
    for override in last.values():
        key = override.key_or_group
        if getattr(override.value(), "shuffle", False):
            raise InputError(
                f"A sweep's values must keep their order in each resume, but got `{override.input_line}`: leave "
                "out shuffle, because a study trains all of them."
            )
        if not override.is_sweep_override():
            fixed.append(str(override.input_line))
            if key in tuned:
                space[key] = None
        elif key in tuned or NUISANCE in search_space.tags(override):
            space[key] = override.get_value_string()
        elif override.is_interval_sweep():
            raise InputError(
                f"An axis of the grid takes a list of values, but got `{override.input_line}`: write "
                f"`{key}=a,b,c`, or `{key}=tag({NUISANCE}, {override.get_value_string()})` to tune it in every cell."
            )
        elif key == "name" or key.startswith(("hydra.", "hydra/")):
            raise InputError(
                f"An axis must be a key of a run, but `{key}` is one of the whole sweep: give it one value, and each "
                "further value a sweep of its own."
            )
        else:
            values = tuple(dict.fromkeys(override.sweep_string_iterator()))
            if not values:
                raise InputError(f"An axis must have a value, but `{override.input_line}` has none: mend its ends.")
            axes[override.get_key_element()] = values
    return Partition(tuple(fixed), axes, space)


def check_axes(axes: Mapping[str, Any], tuned: Iterable[str]) -> None:
    """Refuse axes that tables have no place for: an axis that is tuned too, two keys of one column, odd values."""
    both = [key for key in axes if key in set(tuned)]
    if both:
        raise InputError(
            f"A key is an axis or is tuned, but `{both[0]}` is both in this cell: set `search_space.{both[0]}=null` "
            "to make it an axis."
        )
    _check_columns(axes, tuned)
    for key, value in axes.items():
        _check_value(key, value)


def _check_value(key: str, value: Any) -> None:
    """A value of an axis is one field of a table, and comes back from it."""
    if not isinstance(value, bool | int | float | str | None) or (isinstance(value, float) and not isfinite(value)):
        raise InputError(
            f"A value of an axis must be a finite number, a word, true, false or null, but one of `{key}` is {value}: "
            "give other values a file of a config group each, and sweep the group."
        )
    if isinstance(value, str) and value.strip() in _NO_WORDS:
        raise InputError(
            f"A word on an axis must not read as an empty field of a table, but one of `{key}` is {value!r}: choose "
            "another word, or null for no value."
        )


def _check_columns(axes: Iterable[str], tuned: Iterable[str]) -> None:
    """Every axis and every tuned key needs a column of its own in the tables."""
    owners: dict[str, str] = {}
    for key in (*axes, *tuned):
        column = column_of(key)
        if column in {*TRIAL_COLUMNS, *CELL_COLUMNS, BRANCH, RUN_SEED} and not (key == SEED and key in axes):
            raise InputError(
                f"A swept key must not take the column of something that is measured, but `{key}` would fill "
                f"`{column}`: fix it, and give each of its values a study of its own (`name=`)."
            )
        if column in owners:
            raise InputError(
                f"Every swept key must have a column of its own, but `{owners[column]}` and `{key}` would both fill "
                f"`{column}`: fix one of them."
            )
        owners[column] = key


def thinned(values: tuple[str, ...], most: int | None) -> tuple[str, ...]:
    """At most so many of the values of an axis, evenly spread with both ends; all of them for None."""
    if most is None or len(values) <= most:
        return values
    if most == 1:
        return values[:1]
    return tuple(values[round(i * (len(values) - 1) / (most - 1))] for i in range(most))


def read_cell_list(path: str, given: Iterable[str] = ()) -> list[dict[str, str]]:
    """The cells of a list, each as config key to override text; keys of `EFFORT` are no axes.

    The file is CSV whose header holds config keys, one row per cell, or YAML with a list of mappings. No key may be one
    that the sweep sets otherwise (`given`).
    """
    rows = _rows(Path(path).expanduser())
    if not rows or not rows[0]:
        raise InputError(f"`hydra.sweeper.cells` must list one cell or more, but {path} has none: add a row.")
    for number, row in enumerate(rows, start=1):
        if row.keys() != rows[0].keys():
            raise InputError(
                f"Every cell of a list must set the same keys, but cell {number} of {path} sets "
                f"{', '.join(row)} and cell 1 sets {', '.join(rows[0])}: give each cell a value of each key."
            )
        for key, value in row.items():
            _check(key, value, number, path)
    twice = [key for key in rows[0] if key in set(given)]
    if twice:
        raise InputError(
            f"A key is set by `hydra.sweeper.cells` or by the sweep, but `{twice[0]}` is set by {path} and beside it: "
            "take it out of one of them."
        )
    return rows


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8") as file:
            if path.suffix == ".csv":
                return [*read_table(path, dtype=str, keep_default_na=False).to_dict("records")]  # type: ignore[list-item]
            content = yaml.safe_load(file)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"`hydra.sweeper.cells` must be a CSV or YAML file, but {path} can't be read: {reason}."
        ) from error
    if not isinstance(content or [], list) or not all(isinstance(row, Mapping) for row in content or []):
        raise InputError(f"A YAML list of cells must be a list of mappings, but {path} is none: begin each with `- `.")
    return [{key: config.literal(value) for key, value in config.flatten(row).items()} for row in content or []]


def _check(key: str, value: str, number: int, path: str) -> None:
    """A plain value for a plain key."""
    try:
        override = OverridesParser.create().parse_override(f"{key}={value}")
        plain = bool(key and value) and not override.is_sweep_override() and override.get_key_element() == key
    except HydraException:
        plain = False
    if key in EFFORT and not (value.isdecimal() and int(value) >= EFFORT[key]):
        raise InputError(
            f"`{key}` must be a whole number of {EFFORT[key]} or more, but cell {number} of {path} has {value}."
        )
    if not plain:
        raise InputError(
            f"Every cell of a list must set each key to one plain value, but cell {number} of {path} has "
            f"`{key}={value}`: write a config key and a value, such as model.width and 8."
        )
