"""Whether a finished study is still as its sweep left it, so that its rerun opens no storage and starts no worker.

A sweep that has nothing more to do leaves a digest of all that decides whether anything is left: what was asked for,
this program, and byte for byte every record, table, journal and data file of the user's own. A rerun that finds the
same digest would find the same nothing. Any difference, such as a deleted record or a larger n_trials, gives another
digest, and the sweep looks at everything as usual.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

import mnist_scaling
from mnist_scaling.study import files, layout, records
from mnist_scaling.tuning.grid.partitioning import Cell

_TOP = (layout.STUDY, layout.TRIALS, layout.CELLS, layout.CURVES, layout.JOURNAL)
"""Files in a study's folder that a sweep writes."""


def is_stamped(folder: Path) -> bool:
    """Whether a sweep of the study in this folder ever had nothing more to do."""
    return (folder / layout.FINISHED).exists()


def is_unchanged(folder: Path, cells: Sequence[Cell], sweeper: DictConfig) -> bool:
    """Whether this sweep asks for what was finished, and nothing has changed since.

    Parameters
    ----------
    folder : Path
        multirun/<name>.
    cells : sequence of Cell
        All that the sweep is to tune.
    sweeper : DictConfig
        Node ``hydra.sweeper``: how they are to be tuned.
    """
    try:
        return (folder / layout.FINISHED).read_text(encoding="utf-8").strip() == _digest(folder, cells, sweeper)
    except (OSError, UnicodeDecodeError):
        return False


def stamp(folder: Path, cells: Sequence[Cell], sweeper: DictConfig) -> None:
    """Note that this sweep has nothing more to do; parameters as in `is_unchanged`."""
    files.write_atomically(folder / layout.FINISHED, _digest(folder, cells, sweeper) + "\n")


def _digest(folder: Path, cells: Sequence[Cell], sweeper: DictConfig) -> str:
    asked = [[cell.name, cell.settings, cell.ranges] for cell in cells]
    total = hashlib.sha256(json.dumps([asked, OmegaConf.to_yaml(sweeper, resolve=False)]).encode())
    package = Path(mnist_scaling.__file__).parent
    own = {Path(path) for cell in cells if (path := cell.values["data.path"])}
    own |= {
        path
        for cell in cells
        if (start := cell.values["init_from"]) and (path := Path(start, layout.WEIGHTS)).is_file()
    }
    for root, paths in ((package, sorted(package.rglob("*.py"))), (folder, _written(folder)), (Path(), sorted(own))):
        for path in paths:
            name, content = os.path.relpath(path, root), path.read_bytes()
            total.update(f"{name} {len(content)}\n".encode())
            total.update(content)
    return total.hexdigest()


def _written(folder: Path) -> Iterator[Path]:
    """Every file of a study that a sweep wrote."""
    yield from (path for name in _TOP if (path := folder / name).is_file())
    for place in records.cell_folders(folder):
        yield from (path for path in (place / layout.CELL, *sorted(place.glob(f"*/{layout.RESULT}"))) if path.is_file())
