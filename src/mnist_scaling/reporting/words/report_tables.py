"""Tables of a study's page alone: its cells, its straight lines in logs, what tuning changed at every level."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
from markupsafe import Markup

from mnist_scaling.fitting.frontier.fronts import METHODS
from mnist_scaling.fitting.uncertainty.interval import Interval
from mnist_scaling.reporting.documents.loading import ROLES, Study, axis_value
from mnist_scaling.reporting.figures.change import Change
from mnist_scaling.reporting.parts import TextTable
from mnist_scaling.reporting.text import DASH, EXPONENT_OF, GREEK, NB, count, ends, estimate, power_of_ten
from mnist_scaling.reporting.words.fit_tables import bold
from mnist_scaling.settings.tuning_change import CHANGE, SIMULTANEOUS, SOURCES
from mnist_scaling.study import flags
from mnist_scaling.study.columns import CONTROL, REPEAT, label

MOST_ROWS = 200
"""Rows of a table from elsewhere that the page lists."""


def row_table(study: Study) -> TextTable:
    """The rows of a table from elsewhere: what was fitted of them."""
    roles = [role for role in ROLES if study.cells[role].notna().any()]
    rows = [
        [number, *(_known(row[role], ".5g") for role in roles)]
        for number, row in study.cells.head(MOST_ROWS).iterrows()
    ]
    note = "Rows are counted from 0 without the header."
    if len(study.cells) > MOST_ROWS:
        note += f" The first {MOST_ROWS} of {len(study.cells):,} are shown."
    return TextTable(["row", *(study.call(role) for role in roles)], rows, note, ids=[str(row[0]) for row in rows])


def cell_table(study: Study) -> TextTable:
    """Every cell: the grid, the selected setting, losses with standard errors, what went wrong."""
    if not study.is_study:
        return row_table(study)
    rows = []
    for row in study.cells.to_dict("records"):
        percent = {k: 100 * row[k] for k in ("test_error", "test_error_se")}
        rows.append(
            [
                *(axis_value(row[a], a) for a in study.axes),
                count(row["n_params"]),
                count(row["n_seen"]),
                power_of_ten(row["flops"]),
                *(row[k] if isinstance(row[k], str) else _known(row[k], ".3g") for k in study.tuned),
                _known(row["val_loss"], ".4f"),
                _with_error(row["repeat_val_loss"], row["repeat_val_loss_se"], ".4f"),
                _with_error(row["test_loss"], row["test_loss_se"], ".4f"),
                _with_error(percent["test_error"], percent["test_error_se"], ".2f"),
                f"{row['n_trials']:.0f} + {row['n_repeats']:.0f}",
                *(_known(100 * row[k], ".1f") for k in ("expected_gain", "noise")),
                _trouble(row),
            ]
        )
    head = [*map(label, study.axes), "N", "D", "FLOPs", *map(label, study.tuned)]
    head += ["val. loss, selected", "val. loss, repeats", "test loss", "test error (%)", "runs"]
    head += ["gain of 10 more trials (%)", "seed noise (%)", "notes"]
    note = (
        f"Losses{' in nats per example' * bool(study.unit)}, mean over repeats ± one standard error. Runs: trials + "
        "repeats. The gain is "
        "extrapolated from the cell's own trials, the noise is the standard deviation between repeats."
    )
    return TextTable(head, rows, note, ids=[*map(str, study.cells.index)])


def seed_table(study: Study) -> TextTable:
    """Every repeat of every cell, which the mean of the cell is made of."""
    axes, runs = list(study.axes), study.trials
    if runs.empty or not axes:
        return TextTable([], [])
    runs = runs[(runs["stage"] == REPEAT) & (runs["origin"] != CONTROL)]
    cells = study.cells.reset_index(names="cell")[["cell", *axes]]
    runs = cells.merge(runs, on=axes).sort_values(["cell", "number"])
    losses = ["val_loss", "test_loss", "test_error"]
    rows = [
        [study.label(row), _known(row["seed"], ".0f"), row["state"].lower(), *(_known(row[k], ".4f") for k in losses)]
        for row in runs.to_dict("records")
    ]
    return TextTable(["cell", "seed", "state", *map(label, losses)], rows, ids=[*map(str, runs["cell"])])


def _trouble(row: Mapping[Any, Any]) -> str:
    words = [f"{row[f'n_{k}']:.0f} {k}" for k in ("diverged", "failed") if row[f"n_{k}"] > 0]
    words += [f"edge: {', '.join(label(e) for e in row['edges'].split(';'))}"] if row["edges"] else []
    words += [f"widened: {', '.join(label(e) for e in row['widened'].split(';'))}"] if row["widened"] else []
    words += [flag for flag in row["flags"].split(";") if flag and not (flag == flags.SEARCH_EDGE and row["edges"])]
    return "; ".join(words if not pd.isna(row["test_loss"]) else ["no test loss", *words])


def _known(value: float, form: str) -> str:
    return DASH if pd.isna(value) else format(value, form)


def _with_error(value: float, error: float, form: str) -> str:
    return _known(value, form) if pd.isna(value) or pd.isna(error) else f"{value:{form}} ± {error:{form}}"


@dataclass(frozen=True)
class StraightLine:
    """One exponent of a straight line in logs."""

    symbol: str
    """N, D or C for L ∝ symbol^-exponent; N* or D* for their growth with C."""
    exponent: Interval
    """Positive where the loss falls."""
    short: str
    """Where it was read off, inside a sentence."""
    points: int
    status: str


def straight_lines(study: Study) -> list[StraightLine]:
    """For comparison: L(N) at the largest D, L(D) at the largest N, and L(C), N*(C), D*(C) along the hull."""
    out = []
    places = {"N": "at the largest data size ({})", "D": "at the largest model ({})"}
    for variable, where in places.items():
        law = study.fits.laws.get(f"power_{variable}")
        if law is None:
            continue
        value = law.slice.value if law.slice else None
        other = study.call("D" if variable == "N" else "N").replace("training examples", "examples")
        short = where.format(f"{count(value)} {other}") if value else f"along {variable}"
        exponent = next((found for k, found in law.params.items() if k in GREEK), Interval())
        out.append(StraightLine(variable, exponent, short, law.n, law.status))
    method = next((m for m in ("hull", "pareto") if m in study.fits.frontier), None)
    if method:
        found = study.fits.frontier[method]
        where = f"along the compute frontier ({METHODS[method]})"
        exponents = {"C": -found.loss_exponent, "N*": found.N_exponent, "D*": found.D_exponent}
        out += [StraightLine(s, e, where, len(found.points), found.status) for s, e in exponents.items()]
    return out


def straight_line_table(study: Study) -> TextTable:
    """Straight lines in logs, and the frontier that is read off the cells without a law."""
    rows = []
    for row in straight_lines(study):
        what = Markup("L ∝ {}<sup>−a</sup>") if not row.symbol.endswith("*") else Markup("{} ∝ C<sup>a</sup>")
        rows.append(
            [what.format(row.symbol), row.short, bold(row.exponent), ends(row.exponent), row.points, row.status]
        )
    return TextTable(["", "where", "a", f"{study.fits.level} interval", "cells", "status"], rows)


def slope_table(change: Change) -> TextTable:
    """Exponents of validation loss at every level, untuned and tuned, and the change."""
    rows, columns = [], (*SOURCES, CHANGE, SIMULTANEOUS)
    for direction in change.directions:
        greek = EXPONENT_OF[direction.variable]
        for part in direction.slices:
            shown = [_breakable(part.exponents[s]) for s in columns]
            rows.append([f"{greek}, {part.label}" if part.label else greek, len(part.cells), *shown])
    for variable in change.plane["tuned"] if len(change.plane["tuned"]) > 1 else ():
        name = f"{EXPONENT_OF[variable]}, one plane through all"
        shown = [_breakable(change.plane[s][variable]) for s in columns]
        rows.append([Markup("<b>{}</b>").format(x) for x in (name, len(change.cells), *shown)])
    head = ["exponent", "cells", "untuned", "selected trial", "tuned, repeats", "tuned − untuned"]
    note = (
        f"Exponents of validation loss. Each interval by itself holds in {100 * change.level:g} % of studies; those of "
        "the last column are wider and hold all at once, over the slices and over the plane. The selected trial is "
        "the best of many and looks better than it is (winner's curse); the change is fitted to the ratio of the two "
        "losses in each cell."
    )
    return TextTable([*head, "the same, all at once"], rows, note)


def _breakable(found: Interval) -> str:
    """An estimate whose interval may go below it: five of them side by side are wider than the page."""
    return estimate(found).replace(NB, " ", 1)
