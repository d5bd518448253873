"""The answer first: what a fit says in one sentence, how far to trust it, and what to do next.

The terminal, the page and the key "answer" of fits.json say the same.
"""

from __future__ import annotations

from collections.abc import Iterator

from mnist_scaling.fitting.diagnostics import Flag
from mnist_scaling.fitting.fitted import EXACT
from mnist_scaling.fitting.uncertainty.interval import Interval
from mnist_scaling.reporting.documents.fits_json import AnswerRecord, Fits
from mnist_scaling.reporting.text import estimate, factor, listing, number
from mnist_scaling.study.flags import ERROR, SEVERITIES, TOO_FEW_CELLS, WARNING

FACTOR = 4.0
"""Times as much data, parameters or compute: what it does to the loss is the sentence."""

SIZES = {"D": "data", "N": "parameters", "C": "compute"}
"""What grows, in the order of the sentence."""

HIGH, FAIR, LOW = "high", "fair", "low"
"""How far the numbers can be trusted."""

WIDE, OPEN = 0.5, 1.0
"""An interval that reaches farther than these shares of its value to either side: a reason for doubt; low trust."""

CERTIFIED = 0.9
"""So are cells of which fewer than this share are certified tuned."""

MISSED = 2.0
"""So is a law that misses rows which it was not fitted to by so many times the noise."""


def answer(fits: Fits) -> AnswerRecord:
    """The answer of one arm, whose record is still without."""
    slopes, why = _slopes(fits), fits.why or fits.headline.slope_N.why
    doubts = [*_doubts(fits, slopes)]
    grave = any(flag.severity == ERROR for flag in fits.flags) or any(slope.low <= 0 for slope in slopes.values())
    # One wide interval of several is a doubt of its own, which is named.
    grave |= all(_off(slope) > OPEN for slope in slopes.values())
    trust = LOW if grave else FAIR if doubts else HIGH
    sentence = _sentence(fits, slopes) if slopes else f"Quote no single exponent. {why}"
    advised = (flag.remedy for flag in warnings(fits) if flag.remedy)
    return AnswerRecord(sentence, trust, doubts, fits.data.unfinished or next(advised, ""))


def _slopes(fits: Fits) -> dict[str, Interval]:
    """-d ln L / d ln x at the largest cell, of each x that it is known of; of compute alone on a ladder."""
    headline = fits.headline
    if headline.ray is not None:
        return {"C": headline.ray.C}
    slopes = {"D": headline.slope_D, "N": headline.slope_N, "C": headline.slope_C}
    return {name: slope for name, slope in slopes.items() if slope.known}


def _sentence(fits: Fits, slopes: dict[str, Interval]) -> str:
    """L(4 x) / L(x) = 4^-slope, of each x: the slope at the largest cell, which a law with a floor bends beyond it."""
    ratios = [(SIZES[name], estimate(_ratio(slope), factor, " ")) for name, slope in slopes.items()]
    where = f"along {fits.headline.ray.line}" if fits.headline.ray else "at the largest cell"
    (first, ratio), *others = ratios
    more = "".join(f"; four times the {name} to {ratio}" for name, ratio in others)
    lasts = "if the slopes there go on" if others else "if the slope there goes on"
    verb = "cuts" if next(iter(slopes.values())).low > 0 else "brings"
    return f"Four times the {first} {verb} the loss to {ratio} of what it is {where}{more}, {lasts}."


def _ratio(slope: Interval) -> Interval:
    return Interval(FACTOR**-slope.value, FACTOR**-slope.high, FACTOR**-slope.low)


def _off(slope: Interval) -> float:
    """How far the interval reaches from the value, as a share of the value."""
    return max(slope.high - slope.value, slope.value - slope.low) / abs(slope.value)


def _doubts(fits: Fits, slopes: dict[str, Interval]) -> Iterator[str]:
    """Reasons for doubt, from the model, the cells and the flags."""
    if slopes and not fits.headline.settled:
        yield "no law is shown to hold, so the intervals rest on smoothness alone"
    for name, slope in slopes.items():
        if slope.low <= 0:
            yield f"the data do not show that the loss falls with {SIZES[name]}"
        elif _off(slope) > OPEN:
            yield f"little is known of the exponent of {SIZES[name]}, which may be twice as large, or near 0"
        elif _off(slope) > WIDE:
            yield f"the exponent of {SIZES[name]} is uncertain by {100 * _off(slope):.0f} %"
    certified = fits.data.certified
    if certified is not None and certified < CERTIFIED:
        yield f"{100 * certified:.0f} % of the cells are certified tuned"
    law = fits.laws.get(fits.selected or "")
    if law is not None and law.holdout.rmse_log > max(MISSED * fits.headline.noise, EXACT):
        missed = number(100 * law.holdout.rmse_log, 2)
        yield f"the nearest law misses held-out cells by {missed} %, more than their noise"
    if raised := warnings(fits):
        yield f"flagged {listing([*dict.fromkeys(flag.code for flag in raised)])}"


def trusted(answer: AnswerRecord) -> str:
    """How far to trust it, and the reasons for no further, as one sentence."""
    return f"Trust: {'; '.join([answer.trust, *answer.reasons]).rstrip('.')}."


def warnings(fits: Fits) -> list[Flag]:
    """Errors, then warnings; of these, first that cells are too few, then what concerns cells: runs mend both."""
    raised = [flag for flag in fits.flags if flag.severity in (ERROR, WARNING)]
    return sorted(
        raised, key=lambda flag: (SEVERITIES.index(flag.severity), flag.code != TOO_FEW_CELLS, not flag.cells)
    )
