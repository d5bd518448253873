"""Sentences of a fit, and all that it says on a terminal, in order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from markupsafe import Markup

from mnist_scaling.fitting.frontier.fronts import METHODS
from mnist_scaling.reporting.documents.fits_json import Fits
from mnist_scaling.reporting.documents.tuning_records import OK, SettingsRecord
from mnist_scaling.reporting.parts import GOOD, QUIET, STRONG, WARNING, Part, Sentence
from mnist_scaling.reporting.text import estimate, listing, plural, spaced
from mnist_scaling.reporting.words import fit_tables as tables

MOST_CELLS = 6
"""Cells named under a flag; the rest are counted."""


def selection(fits: Fits) -> list[Markup]:
    """Which law was selected, or why none was; the simplest that would do."""
    fitted = [law for law in fits.laws.values() if law.fitted]
    rivals = "joint laws" if any(law.is_joint for law in fitted) else "laws of one variable"
    reason = spaced(fits.selection.reason.rstrip("."))
    if not fits.selected:
        if not reason:
            return []
        none = Markup("None of the {} is").format(rivals) if fitted else "No law is"
        return [Markup("{} selected: {}.").format(none, reason)]
    out = [Markup("Of the {}, <b>{}</b> is selected: {}.").format(rivals, spaced(fits.selected), reason)]
    simplest = fits.selection.simplest
    if simplest and simplest != fits.selected:
        out.append(Markup("The simplest law that the data do not reject is {}.").format(spaced(simplest)))
    return out


def quote(fits: Fits, loss: bool = False) -> Markup | None:
    """The numbers to quote; None where there are none.

    Parameters
    ----------
    fits : Fits
    loss : bool
        Whether the loss at the point that was asked for is among them.
    """
    numbers = [
        Markup("{} {}").format(name, estimate(found))
        for key, name in tables.QUOTED.items()
        if (found := tables.quoted_as(fits.headline, key)).known
        and not key.startswith("middle_")
        and (loss or key != "loss")
    ]
    if not numbers:
        return None
    laws = [spaced(law) for law in fits.headline.laws]
    several = f"the average over {listing(laws)}, with what they differ by in the intervals"
    over = several if len(laws) > 1 else f"of {laws[0]}"
    return Markup("<b>Quote</b>, at the largest cell, {}: {}.").format(over, listing(numbers))


def conflict(fits: Fits) -> str:
    """That frontier methods contradict each other on N*, and what follows; empty where none do."""
    pairs = [pair.methods for pair in fits.agreement if pair.exponent == "N_exponent" and pair.overlap is False]
    if not pairs:
        return ""
    names = dict.fromkeys(name for pair in pairs for name in pair)
    values = [f"{METHODS[name]} {estimate(fits.frontier[name].N_exponent)}" for name in names]
    advice = "the data do not settle it, so quote the range or none"
    if fits.headline.N_exponent.known:
        advice = "quote that of the laws (parametric)"
    return f"The frontier methods disagree on the exponent of N* beyond their intervals ({listing(values)}): {advice}."


def lifetime(fits: Fits) -> str:
    """What over-training saves a model that serves many queries; empty where nobody asked."""
    found = fits.lifetime
    if found is None:
        return ""
    return (
        f"For {found.queries:.3g} queries, by {found.law} at loss {found.loss:.3g}: {estimate(found.size_ratio)} times "
        f"the compute-efficient size, trained on {estimate(found.data_ratio)} times its data, saves "
        f"{estimate(found.saved)} of all FLOPs."
    )


def flags(fits: Fits) -> list[Sentence]:
    """Every flag with its remedy and its cells."""
    out = []
    for flag in fits.flags:
        out.append(Sentence(f"{flag.message} {flag.remedy}".strip(), flag.severity, lead=flag.code))
        if flag.cells:
            named = [f"({', '.join(f'{k} {v:.4g}' for k, v in cell.items() if k in 'NDC')})" for cell in flag.cells]
            more = f" and {len(named) - MOST_CELLS} more" if len(named) > MOST_CELLS else ""
            out.append(Sentence(f"  cells: {' '.join(named[:MOST_CELLS])}{more}", QUIET))
    return out


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
    yield from (Sentence(text) for text in selection(fits))
    for name, law in fits.laws.items():
        if not law.fitted:
            yield Sentence(law.status, QUIET, lead=spaced(name))
    yield tables.frontier_table(fits)
    if table := tables.prediction_table(fits):
        yield table
    if text := lifetime(fits):
        yield Sentence(text, apart=True)
    if change := fits.tuning_change:
        if change.status == OK:
            yield tables.plane_table(change)
        else:
            yield Sentence(f"What tuning changed: {change.status}", QUIET, apart=True)
    yield from settings_summary(fits.settings_laws)
    yield from filter(None, [tables.sensitivity_table(fits), tables.coverage_table(fits)])
    yield Sentence("Flags", STRONG, apart=True) if fits.flags else Sentence("No flags.", GOOD, apart=True)
    yield from flags(fits)
    yield from _quoted(fits)


def _rows(fits: Fits) -> Iterator[Part]:
    """What is not in the fit, before what is."""
    data = fits.data
    for note in data.notes:
        yield Sentence(note, WARNING)
    if data.masked:
        yield Sentence(f"Left out at chance: {plural(len(data.masked), 'row')} (mask_chance=true)", WARNING)
    if data.left_out:
        reasons = ", ".join(sorted({row.why for row in data.left_out}))
        yield Sentence(f"Left out: {plural(len(data.left_out), 'row')} with {reasons}", WARNING)


def settings_summary(record: SettingsRecord | None) -> Iterator[Part]:
    """How each tuned key's best value moves with the size of the cell, and what a new cell should have."""
    if table := tables.settings_table(record):
        yield table
    if record is not None and record.status != OK:
        yield Sentence(f"Best settings against size: {record.status}", QUIET, apart=True)
    if record is not None and record.predicted is not None and record.predicted.settings:
        yield Sentence(record.predicted.sentence)


def _quoted(fits: Fits) -> Iterator[Part]:
    """What to quote, over which laws, and whether the frontier methods contradict each other."""
    text = quote(fits, loss=True)
    yield Sentence(text or f"Quote no single exponent. {fits.headline.slope_N.why}", STRONG, apart=True)
    if text and not fits.headline.N_exponent.known:
        yield Sentence(f"N*: {fits.headline.N_exponent.why}")
    if contradiction := conflict(fits):
        yield Sentence(contradiction, WARNING)
