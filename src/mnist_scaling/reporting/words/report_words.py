"""A study's page in words and tables: what was measured, what came out, what the data do not show, every cell."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd
from markupsafe import Markup

from mnist_scaling.fitting.laws.power import SYMBOLS
from mnist_scaling.reporting.documents.loading import ROLES, Study, axis_value
from mnist_scaling.reporting.figures.change import Change, describe
from mnist_scaling.reporting.text import (
    DASH,
    TextTable,
    count,
    duration,
    estimate,
    listing,
    loss,
    number,
    plural,
    power,
    power_of_ten,
    symbol,
)
from mnist_scaling.reporting.words.fit_sentences import description
from mnist_scaling.settings.tuning_change import SIMULTANEOUS
from mnist_scaling.study import flags
from mnist_scaling.study.columns import COMPLETE, DIVERGED, FAILED, IMPORTANCE, NO, PRUNED, REPEAT, TRIAL, YES, label


def opening(study: Study) -> list[Markup]:
    """The first paragraph, sentence by sentence: the grid, the runs, their cost, the best cell."""
    cells = study.cells
    varying = [(a, cells[a].nunique(dropna=False)) for a in study.axes if cells[a].nunique(dropna=False) > 1]
    grid = " × ".join(plural(n, label(a)) if len(label(a)) > 1 else f"{n} values of {label(a)}" for a, n in varying)
    sizes = [f"{span(study, role)} {study.call(role)}" for role in ("N", "D", "C") if cells[role].notna().any()]
    sizes = sizes[:2] if study.is_study else sizes
    what = plural(len(cells), "cell" if study.is_study else "row") + (f" ({grid})" if grid else "")
    measured = int(cells["loss"].notna().sum())
    what += f", {measured} of them measured" if measured < len(cells) else ""
    table = "" if study.is_study else f" of {study.table}"
    out = [Markup("{}{}; {}.").format(what, table, ", ".join(sizes))]
    if where := study.fits.settings["where"]:
        out.append(Markup("Only rows with {} were fitted, and only they are shown.").format(where))
    if study.is_study:
        out += _how_tuned(study)
    best = cells.loc[cells["loss"].idxmin()] if cells["loss"].notna().any() else None
    if best is not None:
        error = best.get("test_error", float("nan"))
        wrong = f", {100 * error:.2f} % of test images wrong" if study.is_study and error == error else ""
        lowest = loss(best["loss"], best["se"] if best["se"] > 0 else math.nan)
        cell = f"{study.label(best)}{wrong}"
        out.append(Markup("The lowest {} is {} ({}).").format(study.call("loss"), lowest, cell))
    return out + [Markup("{}.").format(note.rstrip(".")) for note in study.fits.data.notes]


def _how_tuned(study: Study) -> list[Markup]:
    out = []
    trials, repeats = study.cells["n_trials"].median(), study.cells["n_repeats"].median()
    if study.tuned and trials == trials and repeats == repeats:
        known = f"confirmed by {plural(int(repeats), 'repeat')} with fresh seeds" if repeats else "not repeated yet"
        text = f"Each cell was tuned over {{}} with {plural(int(trials), 'trial')} and its best setting {known}."
        out.append(Markup(text).format(listing([label(k) for k in study.tuned])))
    return [*out, _cost(study)]


def findings(study: Study, change: Change | None) -> list[Markup]:
    """What came out beside the numbers to quote: the law, what tuning changed, how far the cells are tuned."""
    out = description(study.fits)
    if change is not None:
        out.append(tuning_sentence(change))
    certificate = certificate_sentence(study) if study.is_study else None
    return [*out, certificate] if certificate else out


def certificate_sentence(study: Study) -> Markup | None:
    """How many cells are certified tuned, and what further trials should gain against the noise between seeds."""
    known = study.cells[study.cells["tuned"].isin([YES, NO])]
    if known.empty:
        return None
    done, widened = int((known["tuned"] == YES).sum()), int((known["widened"] != "").sum())
    edges = int((known["edges"] != "").sum())
    text = Markup(
        "<b>{} of {} cells are certified tuned:</b> no selected value on the edge of its range ({} have one), and ten "
        "more trials should gain less than a seed's noise. Median over cells: a gain of {} % against a noise of {} %."
    ).format(
        done, len(study.cells), edges,
        number(100 * known["expected_gain"].median(), 2), number(100 * known["noise"].median(), 2),
    )  # fmt: skip
    at_limit = {k: int(known["limits"].map(lambda text, k=k: k in text.split(";")).sum()) for k in study.tuned}
    reached = listing([f"{label(k)} in {plural(n, 'cell')}" for k, n in at_limit.items() if n])
    if reached:
        text += Markup(" Within a tenth of its range from a declared limit lies the selected value of {}.").format(
            reached
        )
    if widened:
        text += Markup(" {} had a range widened on the way.").format(plural(widened, "cell"))
    shares = {k: study.cells[f"{IMPORTANCE}{k}"].median() for k in study.tuned if f"{IMPORTANCE}{k}" in study.cells}
    if shares and all(share == share for share in shares.values()):
        text += Markup(" Within a cell, {} (fANOVA, median share of the variance of the loss).").format(
            listing([f"{label(k)} explains {100 * share:.0f} %" for k, share in shares.items()])
        )
    return text


def tuning_sentence(change: Change) -> Markup:
    """How tuning tilts the law: exponents of one plane through all cells, untuned and tuned."""
    plane = change.record.plane
    used = list(plane["tuned"])
    shifts = {v: plane["change"][v] for v in used}
    untuned, tuned = (Markup(" ").join(power(v, -plane[s][v], bare=True) for v in used) for s in ("untuned", "tuned"))
    changes = [
        Markup("{} by {}").format(symbol(SYMBOLS[v][1]), f"{'+' * (one.value > 0)}{estimate(one)}")
        for v, one in shifts.items()
    ]
    certain = [v for v in used if plane[SIMULTANEOUS][v].excludes(0)]
    words = [f"{'flatter' if shifts[v].value < 0 else 'steeper'} in {v}" for v in certain]
    verdict = f"the tuned law is {listing(words)}" if words else "no tilt can be told from noise"
    saved = 100 * (1 - change.cells["tuned"] / change.cells["untuned"])
    worse = int((saved < 0).sum())
    luck = f", and nothing in {worse} of {len(saved)}, whose untuned loss is no worse" if worse else ""
    return Markup(
        "<b>{} the law:</b> untuned ({}), validation loss goes as {}; tuned, as {}. That changes {}: {}. "
        "Tuning takes up to {:.0f} % off a cell's loss (median {:.0f} %){}."
    ).format(
        "Tuning tilts" if certain else "Tuning shifts", describe(change.record.setting), untuned, tuned,
        listing(changes), verdict, saved.max(), saved.median(), luck,
    )  # fmt: skip


def not_shown(study: Study) -> list[Markup]:
    """What a reader must not take from this study, from the flags and from what is absent."""
    sentences = dict.fromkeys(_not_shown(study, flag.code) for flag in study.fits.flags)
    out = [Markup("{}").format(sentence) for sentence in sentences if sentence]
    lost = int(study.cells["loss"].isna().sum())
    if lost:
        why = "no repeat of theirs has finished" if study.is_study else "their field is empty"
        out.append(Markup("The loss of {} of {} cells: {}.").format(lost, len(study.cells), why))
    if study.is_study and study.cells["n_repeats"].max() < 2:
        out.append(
            Markup(
                "How much a seed moves a loss: no cell has two repeats, so noise and misfit are told apart by shape."
            )
        )
    isoflop = study.fits.frontier.get("isoflop")
    if isoflop is not None and not isoflop.N_exponent.known:
        out.append(Markup("The frontier by isoFLOP curves: {}.").format(isoflop.status))
    top = [f"{count(study.cells[role].max())} {study.call(role)}" for role in ("N", "D") if study.cells[role].max() > 0]
    if top:
        out.append(Markup("Anything beyond {}: no such run was made.").format(" and ".join(top)))
    return out


def _not_shown(study: Study, code: str) -> str:
    """What a flag keeps a reader from concluding; of the floor, what the headline's interval says."""
    if code == flags.FLOOR_NOT_IDENTIFIED and study.fits.headline.floor.low > 0:
        return ""
    return flags.kind(code).not_shown


def _cost(study: Study) -> Markup:
    trials = study.trials
    runs = len(trials) or int((study.cells["n_trials"] + study.cells["n_repeats"]).sum())
    others = int((trials["stage"] == REPEAT).sum() - study.cells["n_repeats"].sum()) if len(trials) else 0
    text = plural(runs, "run") + f" (with {others} repeats of settings not selected, such as the untuned one)" * (
        others > 0
    )
    spent = trials["flops_spent"].fillna(trials["flops"])  # a run that diverged may lack the first
    if (total := spent.sum()) > 0:
        kinds = trials["stage"].mask(trials["state"] == PRUNED, PRUNED)
        words = {TRIAL: "trials", PRUNED: "pruned trials", REPEAT: "repeats"}
        shares = spent.groupby(kinds).sum() / total
        told = [f"{100 * shares[kind]:.0f} % for {said}" for kind, said in words.items() if kind in shares]
        text += f", {power_of_ten(float(total))} training FLOPs ({listing(told)})"
    seconds = study.cells["seconds"].astype(float).sum()
    if seconds > 0:
        text += f", {duration(float(seconds))} of computing"
    states = {s: int((trials["state"] == s).sum()) for s in (PRUNED, DIVERGED, FAILED)}
    bad = listing([f"{n} {s.lower()}" for s, n in states.items() if n])
    return Markup("{}{}.").format(text, f"; {bad}" if bad else "")


def span(study: Study, column: str) -> str:
    """From the smallest to the largest value of a column."""
    low, high = study.cells[column].min(), study.cells[column].max()
    return count(low) if low == high else f"{count(low)} to {count(high)}"


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
                loss(row["val_loss"]),
                loss(row["repeat_val_loss"], row["repeat_val_loss_se"]),
                loss(row["test_loss"], row["test_loss_se"]),
                _with_error(percent["test_error"], percent["test_error_se"], ".2f"),
                f"{row['n_trials']:.0f} + {row['n_repeats']:.0f}",
                *(_known(100 * row[k], ".1f") for k in ("expected_gain", "noise")),
                _trouble(row),
            ]
        )
    head = [*map(label, study.axes), "N", "D", "FLOPs", *map(label, study.tuned)]
    head += ["val. loss, selected", "val. loss, repeats", "test loss", "test error (%)", "runs"]
    head += ["gain of 10 more trials (%)", "seed noise (%)", "notes"]
    for absent in ("FLOPs", "test error (%)"):  # a program of one's own may not count them
        if all(row[head.index(absent)] == DASH for row in rows):
            rows = [[*row[: head.index(absent)], *row[head.index(absent) + 1 :]] for row in rows]
            head.remove(absent)
    note = (
        f"Losses{' in nats per example' * bool(study.unit)}, mean over repeats ± one standard error. Runs: trials + "
        "repeats. The gain is "
        "extrapolated from the cell's own trials, the noise is the standard deviation between repeats."
    )
    return TextTable(head, rows, note, ids=[*map(str, study.cells.index)])


def seed_table(study: Study) -> TextTable:
    """Every repeat of every cell's selected setting: those that are complete make the mean of the cell."""
    runs = study.runs(study.cells, REPEAT, COMPLETE, DIVERGED, FAILED).sort_index(kind="stable")
    losses = ["val_loss", "test_loss", "test_error"]
    rows = [
        [study.label(row), _known(row["seed"], ".0f"), *(loss(row[k]) for k in losses), row["state"].lower()]
        for row in runs.to_dict("records")
    ]
    return TextTable(["cell", "seed", *map(label, losses), "state"] if rows else [], rows, ids=[*map(str, runs.index)])


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
