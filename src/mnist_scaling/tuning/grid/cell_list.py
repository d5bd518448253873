"""An explicit list of cells, in place of a product of axes: a CSV or YAML file with the settings of each."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException

from mnist_scaling import config
from mnist_scaling.errors import InputError


def read(path: str, given: Iterable[str] = ()) -> list[dict[str, str]]:
    """The cells of a list, each as config key to override text.

    Parameters
    ----------
    path : str
        A CSV file whose header holds config keys, one row per cell; or a YAML file with a list of mappings.
    given : iterable of str
        Keys that the sweep sets otherwise, as axes or fixed values: none of them may be in the list.

    Raises
    ------
    InputError
        When the file is absent, empty or of another shape, or when a key has two homes.
    """
    rows = _rows(Path(path))
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
            "take it out of one of them (`hydra.sweeper.params=null` drops an experiment's)."
        )
    return rows


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            if path.suffix == ".csv":
                return [
                    {key: str(value) for key, value in row.items()}
                    for row in csv.DictReader(file, restkey="", restval="")
                ]
            content = yaml.safe_load(file)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"`hydra.sweeper.cells` must be a CSV or YAML file, but {path} can't be read: {reason}."
        ) from error
    if not isinstance(content or [], list) or not all(isinstance(row, Mapping) for row in content or []):
        raise InputError(f"A YAML list of cells must be a list of mappings, but {path} is none: begin each with `- `.")
    return [{key: literal(value) for key, value in config.flatten(row).items()} for row in content or []]


def _check(key: str, value: str, number: int, path: str) -> None:
    """A plain value for a plain key."""
    try:
        override = OverridesParser.create().parse_override(f"{key}={value}")
        plain = bool(key and value) and not override.is_sweep_override() and override.get_key_element() == key
    except HydraException:
        plain = False
    if not plain:
        raise InputError(
            f"Every cell of a list must set each key to one plain value, but cell {number} of {path} has "
            f"`{key}={value}`: write a config key and a value, such as model.width and 8."
        )


def literal(value: object) -> str:
    """A value as Hydra's override grammar reads it back."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return QuotedString(value, Quote.single).with_quotes()
    return repr(value)
