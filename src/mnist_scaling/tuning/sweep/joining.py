"""Whether the cells of a sweep may join the study in a folder."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mnist_scaling.errors import InputError
from mnist_scaling.study import files, identity, layout
from mnist_scaling.tuning.grid.partitioning import Cell
from mnist_scaling.tuning.sweep.ledger import known_axes
from mnist_scaling.tuning.sweep.write_tables import VERSION


def join(folder: Path, cells: Sequence[Cell], not_yet_known: Iterable[str] = ()) -> dict[str, Any]:
    """Check that cells may join the study in a folder; its identity, for study.json.

    This comes before anything is written, so that a refused sweep leaves nothing behind.

    Parameters
    ----------
    folder : Path
        multirun/<name>.
    cells : sequence of Cell
    not_yet_known : iterable of str
        Config keys that are not compared.

    Raises
    ------
    InputError
        When they differ along other axes than the study's cells, or in anything else, or when the study was made by
        another version.
    """
    had, axes = known_axes(folder), list(cells[0].axes)
    if (made := files.read_json(folder / layout.STUDY)) is not None and made.get("version") != VERSION:
        raise InputError(
            f"A study must be of version {VERSION}, but {folder / layout.STUDY} has version {made.get('version', 1)}: "
            "go on with the version of mnist_scaling that made it, or give the new study another `name=`."
        )
    if had is not None and had != axes:
        raise InputError(
            f"A study must keep the axes of its grid, but {folder} has {', '.join(had) or 'none'} "
            f"and this sweep has {', '.join(axes) or 'none'}: give the new study another `name=`."
        )
    mine = identity.of([(cell.settings, cell.ranges, cell.keys) for cell in cells])
    return {identity.IDENTITY: identity.check(folder, mine, cells[0].defaults, not_yet_known).record()}
