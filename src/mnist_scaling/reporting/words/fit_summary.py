"""All that a fit says on a terminal, in order: rows, laws, frontier, settings, flags, and what to quote."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from mnist_scaling.reporting.documents.fits_json import Fits
from mnist_scaling.reporting.documents.tuning_records import OK, SettingsRecord
from mnist_scaling.reporting.parts import GOOD, QUIET, STRONG, WARNING, Part, Sentence
from mnist_scaling.reporting.prepare.best_settings import predicted_settings
from mnist_scaling.reporting.text import spaced
from mnist_scaling.reporting.words import fit_sentences as say
from mnist_scaling.reporting.words import fit_tables as tables
from mnist_scaling.reporting.words.tuning_tables import plane_table, settings_table


def fit_summary(fits: Fits) -> Iterator[Part]:
    """Everything of a table; of several arms, everything of each, then their exponents side by side."""
    if fits.data.unfinished:
        yield Sentence(fits.data.unfinished, WARNING)
    for arm in fits.arms or (fits,):
        if arm.name:
            yield Sentence(f"Arm {arm.name}", STRONG, apart=True)
        yield from _analysis(arm)
    if fits.arms:
        names, cells = [arm.name for arm in fits.arms], [arm.data.n for arm in fits.arms]
        yield tables.arms_table(fits.arms, names, cells, tables.OF_ARMS[:3])


def _analysis(fits: Fits) -> Iterator[Part]:
    """All that was found in one table, or in one of its arms."""
    if fits.why:
        yield Sentence(f"Not fitted. {fits.why}", WARNING)
        return
    yield from _rows(fits)
    yield tables.law_table(replace(fits, laws={k: law for k, law in fits.laws.items() if law.fitted}))
    yield from (Sentence(text) for text in say.selection(fits))
    for name, law in fits.laws.items():
        if not law.fitted:
            yield Sentence(law.status, QUIET, lead=spaced(name))
    yield tables.frontier_table(fits)
    if table := tables.prediction_table(fits):
        yield table
    if text := say.lifetime(fits):
        yield Sentence(text, apart=True)
    if change := fits.tuning_change:
        if change.status == OK:
            yield plane_table(change)
        else:
            yield Sentence(f"What tuning changed: {change.status}", QUIET, apart=True)
    yield from settings_summary(fits.settings_laws)
    yield from filter(None, [tables.sensitivity_table(fits), tables.coverage_table(fits)])
    yield Sentence("Flags", STRONG, apart=True) if fits.flags else Sentence("No flags.", GOOD, apart=True)
    yield from say.flags(fits)
    yield from _quoted(fits)


def _rows(fits: Fits) -> Iterator[Part]:
    """What is not in the fit, before what is."""
    data = fits.data
    for note in data.notes:
        yield Sentence(note, WARNING)
    if data.masked:
        yield Sentence(f"{len(data.masked)} rows at chance are left out (mask_chance=true)", WARNING)
    if data.left_out:
        reasons = ", ".join(sorted({row.why for row in data.left_out}))
        rows = f"{len(data.left_out)} of {len(data.left_out) + data.n} rows are left out"
        yield Sentence(f"{rows}: {reasons}", WARNING)


def settings_summary(record: SettingsRecord | None) -> Iterator[Part]:
    """How each tuned key's best value moves with the size of the cell, and what a new cell should have."""
    if table := settings_table(record):
        yield table
    if record is not None and record.status != OK:
        yield Sentence(f"Best settings against size: {record.status}", QUIET, apart=True)
    if record is not None and (text := predicted_settings(record.predicted)):
        yield Sentence(text)


def _quoted(fits: Fits) -> Iterator[Part]:
    """What to quote, over which laws, and whether the frontier methods contradict each other."""
    text = say.quote(fits, loss=True)
    yield Sentence(text or f"Quote no single exponent. {fits.headline.slope_N.why}", STRONG, apart=True)
    if text and not fits.headline.N_exponent.known:
        yield Sentence(f"N*: {fits.headline.N_exponent.why}")
    if conflict := say.conflict(fits):
        yield Sentence(conflict, WARNING)
