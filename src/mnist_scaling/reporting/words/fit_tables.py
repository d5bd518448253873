"""The report's tables, as rows of HTML-safe text: headline, laws, frontier, slopes, cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from markupsafe import Markup

from mnist_scaling.fitting.frontier.fronts import METHODS
from mnist_scaling.fitting.uncertainty.interval import Interval
from mnist_scaling.reporting.loading import ROLES, Study, axis_value
from mnist_scaling.reporting.markup import GREEK, formula, symbol
from mnist_scaling.reporting.prepare.change import Change
from mnist_scaling.reporting.text import NB, count, decimals, estimate, listing, number, power_of_ten
from mnist_scaling.settings.tuning_change import CHANGE, SIMULTANEOUS, SOURCES
from mnist_scaling.study import flags
from mnist_scaling.study.columns import label

MOST_ROWS = 200
"""Rows of a table from elsewhere that the page lists."""


@dataclass(frozen=True)
class Headline:
    """One exponent, for the table of straight lines."""

    symbol: str
    """N, D or C for L ∝ symbol^-exponent; N* or D* for their growth with C."""
    exponent: Interval
    """Positive where the loss falls."""
    short: str
    """Where it was read off, inside a sentence."""
    source: str
    """Law or method in fits.json."""
    points: int | None
    status: str


@dataclass(frozen=True)
class Table:
    """A head and rows of cells that are safe to print."""

    head: list[Any]
    rows: list[list[Any]]
    note: Any = ""


_SLOPE = {
    "slope_N": Markup("−∂ ln L/∂ ln N"), "slope_D": Markup("−∂ ln L/∂ ln D"), "slope_C": Markup("−d ln L/d ln C"),
}  # fmt: skip

QUOTED = {
    **_SLOPE, **{f"middle_{key}": name for key, name in _SLOPE.items()},
    "N_exponent": Markup("a in N* ∝ C<sup>a</sup>"), "D_exponent": Markup("a in D* ∝ C<sup>a</sup>"),
    "loss_exponent": Markup("−a in L* ∝ C<sup>a</sup>"), "floor": Markup("floor E"), "loss": Markup("loss"),
}  # fmt: skip
"""The keys of fits.json's headline, and how the page writes them."""

ONLY_IF_KNOWN = ("slope_C", "middle_slope_C", "loss")
"""Rows that are left out where there is no number: nobody asked for it, or other rows say the same."""


def quoted(study: Study) -> list[tuple[Markup, Interval]]:
    """The numbers for one sentence: those of the headline at the largest cell, also where there is none."""
    found = study.fits.get("headline") or {}
    out = []
    for key, name in QUOTED.items():
        if key.startswith("middle_") or key == "loss":
            continue
        interval = Interval.of(found.get(key))
        out.append((name, -interval if key == "loss_exponent" else interval))
    return out


def quoted_table(study: Study) -> Table | None:
    """The first table of the page: the headline over laws, or why there is none; None for old fits."""
    found = study.fits.get("headline")
    if not found:
        return None
    if not found.get("laws"):
        return Table([], [], found["slope_N"].get("why", ""))
    asked = study.fits.get("predictions") or [{}]
    point = ", ".join(f"{k} = {count(v)}" for k, v in asked[0].items() if k in "NDCU")
    rows = []
    for key, name in QUOTED.items():
        interval = Interval.of(found.get(key))
        if (key in ONLY_IF_KNOWN and not interval.known) or key not in found:
            continue
        interval = -interval if key == "loss_exponent" else interval
        ends = f"{decimals(interval.low)} to {decimals(interval.high)}" if interval.bounded else "—"
        value = Markup("<b>{}</b>").format(decimals(interval.value)) if interval.known else "—"
        places = {"slope": "at the largest cell", "middle": "in the middle of the grid", "loss": f"at {point}"}
        where = places.get(key if key == "loss" else key.split("_")[0], "") if key != "loss_exponent" else ""
        rows.append([name, where, value, ends, found[key].get("why", "")])
    weights = found.get("weights") or {}
    names = [f"{law.replace('_', ' ')} ({100 * weights[law]:.0f} %)" for law in found["laws"] if law in weights]
    note = f"Averages over the laws that the data do not reject, by their weights: {listing(names)}." if names else ""
    return Table(["", "", "value", _level(study), ""], rows, note)


def arms_table(arms: Sequence[Study], pages: Sequence[str]) -> Table:
    """Arms side by side: what to quote of each, and a link to its page."""
    keys = ("slope_N", "slope_D", "N_exponent", "D_exponent", "floor")
    rows = []
    for arm, page in zip(arms, pages, strict=True):
        found = arm.fits.get("headline") or {}
        values = [estimate(Interval.of(found.get(key))) for key in keys]
        selected = arm.fits.get("why") or (arm.fits.get("selected") or "none selected").replace("_", " ")
        rows.append([Markup('<a href="{}">{}</a>').format(page, arm.arm), len(arm.cells), selected, *values])
    note = (
        "Each arm is fitted alone; its own page has its figures, laws and flags. Intervals of two arms that overlap do "
        "not show that the arms are equal."
    )
    return Table(["arm", "cells", "selected law", *(QUOTED[key] for key in keys)], rows, note)


def straight_lines(study: Study) -> list[Headline]:
    """For comparison: L(N) at the largest D, L(D) at the largest N, and L(C), N*(C), D*(C) along the hull."""
    out = []
    places = {"N": "at the largest data size ({})", "D": "at the largest model ({})"}
    for variable, where in places.items():
        law = study.fits["laws"].get(f"power_{variable}")
        if law is None:
            continue
        value = (law.get("slice") or {}).get("value")
        other = study.call("D" if variable == "N" else "N").replace("training examples", "examples")
        short = where.format(f"{count(value)} {other}") if value else f"along {variable}"
        exponent = next((Interval.of(p) for k, p in law["params"].items() if k in GREEK), Interval())
        out.append(Headline(variable, exponent, short, f"power_{variable}", law.get("n"), str(law.get("status", ""))))
    method = next((m for m in ("hull", "pareto") if study.fits["frontier"].get(m)), None)
    if method:
        found, name = study.fits["frontier"][method], METHODS[method]
        corrected = ", corrected" if "as_read" in found else ""
        shared = (
            f"along the compute frontier ({name}{corrected})",
            method,
            len(found.get("points", [])),
            str(found.get("status", "ok")),
        )
        out.append(Headline("C", -Interval.of(found.get("loss_exponent")), *shared))
        for variable in ("N", "D"):
            out.append(Headline(f"{variable}*", Interval.of(found.get(f"{variable}_exponent")), *shared))
    return out


def straight_line_table(study: Study) -> Table:
    """Straight lines in logs, and the frontier that is read off the cells without a law."""
    rows = []
    for row in straight_lines(study):
        what = Markup("L ∝ {}<sup>−a</sup>") if not row.symbol.endswith("*") else Markup("{} ∝ C<sup>a</sup>")
        interval = f"{decimals(row.exponent.low)} to {decimals(row.exponent.high)}" if row.exponent.bounded else "—"
        rows.append(
            [
                what.format(row.symbol),
                row.short,
                Markup("<b>{}</b>").format(decimals(row.exponent.value) if row.exponent.known else "—"),
                interval,
                row.points,
                row.status,
            ]
        )
    return Table(["", "where", "a", _level(study), "cells", "status"], rows)


def law_table(study: Study) -> Table:
    """Every law of fits.json; the ones that were refused say why."""
    rows = []
    for name, law in study.fits["laws"].items():
        units = law.get("units", {})
        shown = {k: p for k, p in law["params"].items() if units.get(k, "1") in ("1", "loss")}
        values = Markup("<br>").join(
            Markup("{} = {}").format(symbol(k), estimate(Interval.of(p))) for k, p in shown.items()
        )
        bold = Markup("<b>{}</b> (selected)") if name == study.fits["selected"] else Markup("{}")
        refused = law.get("rmse_log") is None
        rows.append(
            [
                Markup("{}<br><span class=formula>{}</span>").format(
                    bold.format(name.replace("_", " ")), formula(law["formula"])
                ),
                "—" if refused else values,
                law.get("n", "—"),
                number(law.get("rmse_log")),
                "—" if law.get("aicc") is None else f"{law['aicc']:.1f}".replace("-", "−"),
                "—" if law.get("held_out_rmse_log") is None else f"{law['held_out_rmse_log']:.3g}",
                law.get("status", ""),
            ]
        )
    head = ["law", f"floor and exponents, {_level(study)}", "n", "rmse of ln L", "AICc", "hold-out rmse", "status"]
    return Table(head, rows)


def frontier_table(study: Study) -> Table:
    """The frontier's exponents in C by every method."""
    rows = []
    for name, found in study.fits["frontier"].items():
        values = [estimate(Interval.of(found.get(f"{k}_exponent"))) for k in ("N", "D", "loss")]
        status = "; ".join([str(found.get("status", "ok")), *(f.replace("_", " ") for f in found.get("flags", []))])
        rows.append([METHODS.get(name, name).replace(" ", NB), *values, status])
    head = [Markup(f"{s} ∝ C<sup>a</sup>") for s in ("N*", "D*", "L")]
    return Table(["method", *head, "status"], rows, f"Exponents in C with {_level(study)}s.")


def sensitivity_table(study: Study) -> Table | None:
    """Exponents under every other convention, where ``fit sensitivity=true`` has worked them out."""
    records = study.fits.get("sensitivity") or []
    if not records:
        return None
    names = [k for k in dict.fromkeys(k for r in records for k in r["exponents"]) if k != "E"]
    names = [k for k in names if any(r["exponents"].get(k) is not None for r in records)]
    rows = [
        [r["group"], r["setting"].replace("_", " "), r["law"].replace("_", " ")]
        + [number(r["exponents"].get(k)) for k in names]
        + [r.get("note", "")]
        for r in records
    ]
    head = ["what varies", "setting", "law", *(k if "*" in k else symbol(k) for k in names), "note"]
    return Table(
        head, rows, "The same exponents under other choices: a row that stands apart is a choice that matters."
    )


def slope_table(change: Change) -> Table:
    """Exponents of validation loss at every level, untuned and tuned, and the change."""
    rows, columns = [], (*SOURCES, CHANGE, SIMULTANEOUS)
    for direction in change.directions:
        greek = {"N": "α", "D": "β"}[direction.variable]
        for part in direction.slices:
            shown = [_breakable(part.exponents[s]) for s in columns]
            rows.append([f"{greek}, {part.label}" if part.label else greek, len(part.cells), *shown])
    for variable in change.plane["tuned"] if len(change.plane["tuned"]) > 1 else ():
        name = f"{ {'N': 'α', 'D': 'β'}[variable] }, one plane through all"
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
    return Table(head, rows, note)


def _breakable(found: Interval) -> str:
    """An estimate whose interval may go below it: five of them side by side are wider than the page."""
    return estimate(found).replace(NB, " ", 1)


def settings_table(study: Study) -> Table | None:
    """How the best value of each tuned key moves with the size of the cell; None where fits.json has nothing of it."""
    found = study.fits.get("settings_laws")
    if not found or found["status"] != "ok":
        return None
    rows: list[list[Any]] = []
    for name, key in found["keys"].items():
        beyond = sum(key["censored"].values())
        for law in key["laws"]:
            shown = ", ".join(f"{size} {estimate(Interval.of(e))}" for size, e in law["exponents"].items())
            rows.append([label(name), shown, law["n"], beyond])
        if not key["laws"]:
            rows.append([label(name), key["status"], key["cells"], beyond])
    note = (
        "The best value of a cell is the vertex of a quadratic through its trials within "
        f"{100 * found['within']:g} % of the lowest loss. For a key on a log scale the numbers are exponents (the best "
        "learning rate goes as N to this power), else changes per unit of ln size. Cells beyond the range that was "
        "searched only say on which side their best value lies. Intervals redraw the cells."
    )
    return Table(["key", "best value against size", "cells", "beyond the range"], rows, note)


def row_table(study: Study) -> Table:
    """The rows of a table from elsewhere: what was fitted of them."""
    roles = [role for role in ROLES if study.cells[role].notna().any()]
    rows = [
        [number, *("—" if pd.isna(row[role]) else f"{row[role]:.5g}" for role in roles)]
        for number, row in study.cells.head(MOST_ROWS).iterrows()
    ]
    note = "Rows are counted from 0 without the header."
    if len(study.cells) > MOST_ROWS:
        note += f" The first {MOST_ROWS} of {len(study.cells):,} are shown."
    return Table(["row", *(study.call(role) for role in roles)], rows, note)


def cell_table(study: Study) -> Table:
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
                "—" if pd.isna(row["flops"]) else power_of_ten(row["flops"]),
                *(
                    "—" if pd.isna(row[k]) else axis_value(row[k]) if isinstance(row[k], str) else f"{row[k]:.3g}"
                    for k in study.tuned
                ),
                "—" if pd.isna(row["val_loss"]) else f"{row['val_loss']:.4f}",
                _with_error(row["repeat_val_loss"], row["repeat_val_loss_se"], 4),
                _with_error(row["test_loss"], row["test_loss_se"], 4),
                _with_error(percent["test_error"], percent["test_error_se"], 2),
                f"{row['n_trials']:.0f} + {row['n_repeats']:.0f}",
                *("—" if pd.isna(row[k]) else f"{100 * row[k]:.1f}" for k in ("expected_gain", "noise")),
                _trouble(row),
            ]
        )
    head = [*map(label, study.axes), "N", "D", "FLOPs", *map(label, study.tuned)]
    head += ["val. loss, selected", "val. loss, repeats", "test loss", "test error (%)", "runs"]
    head += ["gain of 10 more trials (%)", "seed noise (%)", "notes"]
    note = (
        "Losses in nats per example, mean over repeats ± one standard error. Runs: trials + repeats. The gain is "
        "extrapolated from the cell's own trials, the noise is the standard deviation between repeats."
    )
    return Table(head, rows, note)


def _trouble(row: Mapping[Any, Any]) -> str:
    words = [f"{row[f'n_{k}']:.0f} {k}" for k in ("diverged", "failed") if row[f"n_{k}"] > 0]
    words += [f"edge: {', '.join(label(e) for e in row['edges'].split(';'))}"] if row["edges"] else []
    words += [f"widened: {', '.join(label(e) for e in row['widened'].split(';'))}"] if row["widened"] else []
    words += [flag for flag in row["flags"].split(";") if flag and not (flag == flags.SEARCH_EDGE and row["edges"])]
    return "; ".join(words if not pd.isna(row["test_loss"]) else ["no test loss", *words])


def _with_error(value: float, error: float, digits: int) -> str:
    if pd.isna(value):
        return "—"
    return f"{value:.{digits}f}" if pd.isna(error) else f"{value:.{digits}f} ± {error:.{digits}f}"


def _level(study: Study) -> str:
    level = study.fits.get("settings", {}).get("bootstrap", {}).get("level", 0.95)
    return f"{100 * level:g} % interval"
