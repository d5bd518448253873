"""Tables of what tuning changed and of how the best settings move with size."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from mnist_scaling.fitting.uncertainty.interval import Interval
from mnist_scaling.reporting.documents.tuning_records import OK, SettingsRecord, TuningRecord
from mnist_scaling.reporting.parts import TextTable
from mnist_scaling.reporting.prepare.change import Change
from mnist_scaling.reporting.text import NB, estimate
from mnist_scaling.settings.tuning_change import CHANGE, SIMULTANEOUS, SOURCES
from mnist_scaling.study.columns import label

LETTERS = {"N": "α", "D": "β"}


def slope_table(change: Change) -> TextTable:
    """Exponents of validation loss at every level, untuned and tuned, and the change."""
    rows, columns = [], (*SOURCES, CHANGE, SIMULTANEOUS)
    for direction in change.directions:
        greek = LETTERS[direction.variable]
        for part in direction.slices:
            shown = [_breakable(part.exponents[s]) for s in columns]
            rows.append([f"{greek}, {part.label}" if part.label else greek, len(part.cells), *shown])
    for variable in change.plane["tuned"] if len(change.plane["tuned"]) > 1 else ():
        name = f"{LETTERS[variable]}, one plane through all"
        shown = [_breakable(change.plane[s][variable]) for s in columns]
        rows.append([Markup("<b>{}</b>").format(x) for x in (name, len(change.cells), *shown)])
    head = [
        "exponent",
        "cells",
        "untuned",
        "selected trial",
        "tuned, repeats",
        "tuned − untuned",
        "the same, all at once",
    ]
    note = (
        f"Exponents of validation loss. Each interval by itself holds in {100 * change.level:g} % of studies; those of "
        "the last column are wider and hold all at once, over the slices and over the plane. The selected trial is "
        "the best of many and looks better than it is (winner's curse); the change is fitted to the ratio of the two "
        "losses in each cell."
    )
    return TextTable(head, rows, note)


def _breakable(found: Interval) -> str:
    """An estimate whose interval may go below it: five of them side by side are wider than the page."""
    return estimate(found).replace(NB, " ", 1)


def plane_table(record: TuningRecord) -> TextTable:
    """Exponents of one plane through all cells, untuned and tuned."""
    names = {"untuned": "untuned, one run", "tuned": "tuned, repeats", CHANGE: "tuned − untuned"}
    rows = [[name, *(record.plane[source].get(k) for k in LETTERS)] for source, name in names.items()]
    title = "What tuning changed: L = k N^-alpha D^-beta through all cells"
    return TextTable(["validation loss", *LETTERS.values()], rows, title=title)


def settings_table(record: SettingsRecord | None) -> TextTable | None:
    """How the best value of each tuned key moves with the size of the cell; None where fits.json has nothing of it."""
    if record is None or record.status != OK:
        return None
    rows: list[list[Any]] = []
    for name, key in record.keys.items():
        for law in key.laws:
            shown = ", ".join(f"{size} {estimate(found)}" for size, found in law.exponents.items())
            rows.append([label(name), shown, law.n, key.beyond])
        if not key.laws:
            rows.append([label(name), key.status, key.cells, key.beyond])
    note = (
        "The best value of a cell is the vertex of a quadratic through its trials within "
        f"{100 * (record.within or 0):g} % of the lowest loss. For a key on a log scale the numbers are exponents (the "
        "best learning rate goes as N to this power), else changes per unit of ln size. Cells beyond the range that "
        "was searched only say on which side their best value lies. Intervals redraw the cells."
    )
    title = "Best settings against size: exponents (log keys), else change per unit of ln size"
    head = ["key", "best value against size", "cells", "beyond the range"]
    return TextTable(head, rows, note, title, right=(2, 3))
