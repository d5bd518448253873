"""Which swept axis sets the model's size, and which the amount of data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from mnist_scaling.study.columns import SEED


@dataclass(frozen=True)
class Roles:
    """What each swept axis does to a run; only axes with more than one value have a role."""

    size: str | None
    """The axis that sets N, such as width."""
    data: str | None
    """The axis that sets D, such as data_fraction."""
    others: tuple[str, ...]
    """All further axes, such as optimizer: one panel each combination."""


def roles_of(cells: pd.DataFrame, axes: Sequence[str]) -> Roles:
    """Roles of the axes of a grid.

    Parameters
    ----------
    cells : pandas.DataFrame
        cells.csv, with columns n_params and n_seen.
    axes : sequence of str
        Its swept columns.
    """
    varying = [a for a in axes if cells[a].nunique(dropna=False) > 1]
    size = _axis_of("n_params", "width", varying, cells)
    data = _axis_of("n_seen", "data_fraction", [a for a in varying if a != size], cells)
    return Roles(size, data, tuple(a for a in varying if a not in (size, data)))


def _axis_of(measured: str, preferred: str, axes: Sequence[str], cells: pd.DataFrame) -> str | None:
    """The axis along which `measured` moves while all other axes stand still."""
    for axis in sorted(axes, key=lambda a: a != preferred):
        rest = [a for a in axes if a != axis]
        groups = cells.groupby(rest, dropna=False)[measured] if rest else None
        most = groups.nunique().max() if groups is not None else cells[measured].nunique()
        # Runs of different seeds stop at different D under early stopping, but no seed sets it.
        if axis != SEED and most > 1 and pd.api.types.is_numeric_dtype(cells[axis]):
            return axis
    return None
