"""Sentences of a fit, and all that it says on a terminal, in order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from markupsafe import Markup

from mnist_scaling.fitting.fitted import EXACT
from mnist_scaling.reporting import text as tone
from mnist_scaling.reporting.documents.fits_json import Fits
from mnist_scaling.reporting.documents.tuning_records import OK, SettingsRecord
from mnist_scaling.reporting.text import Part, Sentence, bracket, count, digits, estimate, number, plural, spaced
from mnist_scaling.reporting.words import fit_tables as tables
from mnist_scaling.reporting.words.in_short import of_first, warnings

MOST_CELLS = 6
"""Cells named under a flag; the rest are counted."""

MOST_FLAGS = 3
"""Flags named where all has to fit one screen, the gravest first; the rest are counted."""

MOST_REASONS = 4
"""Reasons for no more trust named there; the page has all."""


def description(fits: Fits) -> list[Markup]:
    """Which law is the nearest, how far off it is, and what the model's own law may miss; or why nothing is quoted."""
    headline, law = fits.headline, fits.laws.get(fits.selected or "")
    if law is None or fits.selected is None:
        return [Markup("{}").format(spaced(headline.slope_N.why))] if headline.slope_N.why else []
    if law.rmse_log < EXACT:
        return [Markup("The law <b>{}</b> passes through these losses to rounding.").format(spaced(fits.selected))]
    within = f"{number(100 * law.rmse_log, 2)} %"
    misfit = estimate(headline.misfit, lambda x: number(100 * x, 2))
    misfit = "less than 0.01" if headline.misfit.high < 1e-4 else misfit
    against = f"against a noise of {number(100 * headline.noise, 2)} % per cell"
    # The misfit is what the model's own law misses, which a law of fewer parameters may miss more of.
    base = next(iter(headline.laws), fits.selected)
    near = "it" if base == fits.selected else Markup("<b>{}</b>").format(spaced(base))
    if not headline.settled:
        text = "No law is shown to hold: <b>{}</b> is the nearest, within {} (rms), and {} may miss {} %, {}."
    elif base == fits.selected:
        text = "The law <b>{}</b> describes these data within {} (rms); what {} may miss is {} %, small {}."
    else:
        text = "The law <b>{}</b> is the nearest, within {} (rms); the numbers rest on {}: it may miss {} %, small {}."
    return [Markup(text).format(spaced(fits.selected), within, near, misfit, against)]


def asked(fits: Fits) -> str:
    """The loss at the point that was asked for, or why it is not known; empty where no point was given."""
    one = fits.headline.asked
    if not one.at:
        return ""
    where = tables.beside(fits, one.at.get("N", 0.0), read_off="C" in one.at)
    near = {"N": f" ({where})"} if where else {}
    point = ", ".join(f"{k} = {count(v)}{near.get(k, '')}" for k, v in one.at.items())
    mean = "the expected loss" + (" of a model of exactly that N" if "N" in one.at else "")
    sd, level = fits.headline.scatter, fits.settings["bootstrap"]["level"]
    own = f", within {bracket(one.of_one(sd, level), digits(one))}" if one.bounded else ""
    own = f"a cell that you train scatters about it by {number(100 * sd, 2)} %{own}"
    far = f"{estimate(one)}, {one.beyond}. It is {mean}; {own}. Trust: {tables.trust_in(fits, 'asked')}."
    return f"Predicted loss at {point}: {far if one.known else one.why}"


def flags(fits: Fits) -> list[Sentence]:
    """Every flag with its remedy and its cells."""
    out = []
    for flag in fits.flags:
        out.append(Sentence(f"{flag.message} {flag.remedy}".strip(), flag.severity, lead=flag.code))
        if flag.cells:
            named = [f"({', '.join(f'{k} {v:.4g}' for k, v in cell.items() if k in 'NDC')})" for cell in flag.cells]
            more = f" and {len(named) - MOST_CELLS} more" if len(named) > MOST_CELLS else ""
            out.append(Sentence(f"  cells: {' '.join(named[:MOST_CELLS])}{more}", tone.QUIET))
    return out


def fit_summary(fits: Fits, details: bool = True) -> Iterator[Part]:
    """What a table says, or each of its arms, whose exponents then stand side by side.

    Without details it is the answer, and what it rests on, on one screen.
    """
    if fits.data.unfinished:
        yield Sentence(fits.data.unfinished, tone.WARNING)
    for arm in fits.arms or (fits,):
        if arm.name:
            yield Sentence(f"Arm {arm.name}", tone.STRONG, apart=True)
        if arm.why:
            yield Sentence(f"Not fitted. {arm.why}", tone.WARNING)
        else:
            yield from _analysis(arm) if details else _in_short(arm)
    if fits.arms:
        names, cells = [arm.name for arm in fits.arms], [arm.data.n for arm in fits.arms]
        yield tables.arms_table(fits.arms, names, cells, tables.OF_ARMS[:3])
    if not details:
        raised = [*dict.fromkeys(flag.code for arm in fits.arms or (fits,) for flag in warnings(arm))]
        named = ", ".join(raised[:MOST_FLAGS]) or "none"
        more = f"all {len(raised)}" if len(raised) > MOST_FLAGS else "more"
        yield Sentence(f"Flags: {named}; {more}: details=true.", tone.QUIET)


def _in_short(fits: Fits) -> Iterator[Part]:
    """The answer and how far to trust it, the numbers to quote, the nearest law, and what to do next."""
    yield from _asked(fits)
    yield Sentence(fits.answer.sentence, tone.STRONG)
    yield Sentence(of_first(fits.answer, MOST_REASONS))
    if fits.headline.laws:
        yield from _quoted(fits)
        yield from map(Sentence, description(fits)[:1])
    yield from _rows(fits)
    # A study has that table in any case: on its page, and with details=true.
    if fits.config.get("leave_future_out") and (future := tables.future_table(fits)):
        yield future
    if fits.answer.next:
        yield Sentence(fits.answer.next, lead="Next")


def _analysis(fits: Fits) -> Iterator[Part]:
    """All that was found in one table, or in one of its arms."""
    yield from _rows(fits)
    yield tables.law_table(replace(fits, laws={k: law for k, law in fits.laws.items() if law.fitted}))
    yield from (Sentence(text) for text in description(fits))
    yield from (Sentence(law.status, tone.QUIET, lead=spaced(k)) for k, law in fits.laws.items() if not law.fitted)
    drawn = tables.frontier_table, tables.sizes_table, tables.in_use_table, tables.counts_table
    for table in filter(None, (make(fits) for make in drawn)):
        yield from (table, Sentence(table.note, tone.QUIET))
    yield from filter(None, (tables.future_table(fits),))
    if change := fits.tuning_change:
        if change.status == OK:
            yield tables.plane_table(change)
        else:
            yield Sentence(f"What tuning changed: {change.status}", tone.QUIET, apart=True)
    yield from settings_summary(fits.settings_laws)
    yield Sentence("Flags", tone.STRONG, apart=True) if fits.flags else Sentence("No flags.", tone.GOOD, apart=True)
    yield from flags(fits)
    yield from filter(None, (tables.exponents_table(fits),))
    yield from _quoted(fits)
    yield from _asked(fits)


def _asked(fits: Fits) -> Iterator[Part]:
    """The loss that was asked for, where one was."""
    if told := asked(fits):
        yield Sentence(told, tone.STRONG)


def _rows(fits: Fits) -> Iterator[Part]:
    """What is not in the fit, and what its numbers must not be taken for."""
    data = fits.data
    for note in data.notes:
        yield Sentence(note, tone.WARNING)
    if data.masked:
        yield Sentence(f"Left out at chance: {plural(len(data.masked), 'row')} (mask_chance=true)", tone.WARNING)
    if data.left_out:
        yield Sentence(left_out_of(data.left_out), tone.WARNING)


def left_out_of(rows: Sequence[Mapping[str, Any]]) -> str:
    """Which rows of a table are not in the fit, and why; empty where all are."""
    reasons = " or ".join(sorted({row["why"] for row in rows}))
    return f"Left out: {plural(len(rows), 'row')} with {reasons}" if rows else ""


def settings_summary(record: SettingsRecord | None) -> Iterator[Part]:
    """How each tuned key's best value moves with the size of the cell, and what a new cell should have."""
    if table := tables.settings_table(record):
        yield table
    if record is not None and record.status != OK:
        yield Sentence(f"Best settings against size: {record.status}", tone.QUIET, apart=True)
    if record is not None and record.predicted is not None and record.predicted.settings:
        yield Sentence(record.predicted.sentence)


def _quoted(fits: Fits) -> Iterator[Part]:
    """What to quote, with trust, at which sizes losses beyond the data are, and the loss that was asked for."""
    if not fits.headline.laws:
        yield Sentence(f"Quote no single exponent. {fits.headline.slope_N.why}", tone.STRONG, apart=True)
        return
    table = tables.quoted_table(fits, brief=True)
    yield table
    if fits.headline.ray is None and not fits.headline.N_exponent.known:
        yield Sentence(f"N*: {fits.headline.N_exponent.why}")
    if table.note:
        yield Sentence(table.note)
