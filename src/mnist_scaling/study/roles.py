"""Which swept axis sets the model's size, and which the amount of data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from mnist_scaling.study.columns import BRANCH, SEED

DATA_AXES = ("data_fraction", "budget", "passes", BRANCH)
"""Axes that set D by their nature. Others, such as a learning rate under early stopping, merely move it."""


@dataclass(frozen=True)
class Roles:
    """What each swept axis does to a run; only axes with more than one value have a role."""

    size: str | None
    """The axis that sets N, such as width."""
    data: str | None
    """The axis that sets D, such as data_fraction."""
    others: tuple[str, ...]
    """All further axes, such as optimizer: one panel per combination."""
    arms: tuple[str, ...] = ()
    """Those of the others that set neither N nor D and are no seed: laws of their values are never pooled."""


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
    sizes = _axes_of("n_params", ("width",), varying, cells)
    size = sizes[0] if sizes else None
    amounts = _axes_of("n_seen", DATA_AXES, [a for a in varying if a != size], cells)
    amounts = [a for a in amounts if a in DATA_AXES]
    data = amounts[0] if amounts else None
    others = tuple(a for a in varying if a not in (size, data))
    return Roles(size, data, others, tuple(a for a in others if a not in (*sizes, *amounts, SEED)))


def _axes_of(measured: str, preferred: Sequence[str], axes: Sequence[str], cells: pd.DataFrame) -> list[str]:
    """The axes along which `measured` moves while all other axes stand still, the preferred ones first."""
    found = []
    for axis in sorted(axes, key=lambda a: preferred.index(a) if a in preferred else len(preferred)):
        rest = [a for a in axes if a != axis]
        groups = cells.groupby(rest, dropna=False)[measured] if rest else None
        most = groups.nunique().max() if groups is not None else cells[measured].nunique()
        # Runs of different seeds stop at different D under early stopping, but no seed sets it.
        if axis != SEED and most > 1 and pd.api.types.is_numeric_dtype(cells[axis]):
            found.append(axis)
    return found
