"""Damage to a study's folder, by disks or people: a file cut short, a digit changed, a record lost or moved."""

from __future__ import annotations

import random
from pathlib import Path

from mnist_scaling.errors import InputError
from mnist_scaling.study import layout
from mnist_scaling.tuning.cell.composition import Cell
from mnist_scaling.tuning.sweep.ledger import Ledger


class NotRefusedError(Exception):
    """A record of another cell that was accepted."""


def harm(folder: Path, cells: list[Cell], rng: random.Random) -> Path | None:
    """Damage one file of a study; the run that has to be made again for it, if any.

    A record that lies in another cell has to be refused, and is then taken away, as the sentence says.

    Parameters
    ----------
    folder : Path
        The study's.
    cells : list of Cell
    rng : random.Random

    Raises
    ------
    NotRefusedError
    """
    found = sorted(folder.rglob(layout.RESULT))
    if not found:
        return None
    kind, record = rng.choice(("cut", "digit", "lost", "moved", "described")), rng.choice(found)
    if kind == "described":
        _cut(rng.choice(sorted({*folder.rglob(layout.CELL), *folder.glob(layout.STUDY)})), rng)
        return None
    if kind == "cut":
        _cut(record, rng)
    elif kind == "digit":
        _change_a_digit(record, rng)
    elif kind == "lost":
        record.unlink()
    else:
        others = [path for path in found if path.parent.parent != record.parent.parent]
        others = [path for path in others if path.parent.name == record.parent.name]
        if not others:
            return None
        record.write_bytes(rng.choice(others).read_bytes())
        _expect_refusal(folder, cells, record)
        record.unlink()
    return record.parent


def _cut(path: Path, rng: random.Random) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: rng.randrange(len(content))])


def _change_a_digit(path: Path, rng: random.Random) -> None:
    """Change the last digit of one of the measured numbers: what is left is as good a record to look at."""
    content = bytearray(path.read_bytes())
    measured = content.find(b'"val_loss":')
    places = [n for n in range(max(measured, 0), len(content)) if chr(content[n]).isdigit()]
    place = rng.choice(places[:12])
    content[place] = ord("1") + (content[place] - ord("0")) % 9
    path.write_bytes(content)


def _expect_refusal(folder: Path, cells: list[Cell], record: Path) -> None:
    try:
        Ledger(folder, cells)
    except InputError as error:
        if str(record) in str(error):
            return
    raise NotRefusedError(record)
