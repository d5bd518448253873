"""Tables of a comparison, and all that it says on a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from markupsafe import Markup

from mnist_scaling.fitting.comparing.shared_exponents import TOLD_APART
from mnist_scaling.reporting.documents.comparison_json import Pair
from mnist_scaling.reporting.markup import symbol
from mnist_scaling.reporting.parts import STRONG, Part, Sentence, TextTable
from mnist_scaling.reporting.text import estimate, factor, number, one_decimal, power_of_ten, spaced
from mnist_scaling.reporting.words.conclusion import EXPONENTS, shared_sentence


def comparison_summary(found: Pair) -> Iterator[Part]:
    """Every pair of arms: what was compared, the differences, the multiplier, the verdict in a sentence."""
    for pair in found.pairs or (found,):
        a, b = pair.names
        yield Sentence(f"{pair.what} Below, a is {a} and b is {b}.", apart=True)
        yield slope_table(pair)
        if table := multiplier_table(pair):
            yield table
        if text := shared_sentence(pair):
            yield Sentence(text)
        for flag in pair.flags:
            yield Sentence(f"{flag.message} {flag.remedy}".strip(), flag.severity, lead=flag.code)
        yield Sentence(pair.sentence, STRONG, apart=True)


def slope_table(pair: Pair) -> TextTable:
    """Exponents of L ∝ N^-alpha D^-beta in both arms and their difference."""
    a, b = pair.names
    rows = [
        [symbol(name), found.a, found.b, found.difference, found.why or pair.verdict[name]]
        for name in EXPONENTS
        if (found := pair.slopes.get(name))
    ]
    rows.append(["ln(loss of b / loss of a)", "", "", pair.offset, pair.verdict["offset"]])
    return TextTable(["", f"a: {a}", f"b: {b}", "b − a", "verdict"], rows, title="Exponents and losses")


def multiplier_table(pair: Pair) -> TextTable | None:
    """The multiplier at both ends; None where there is none."""
    rows = [
        [power_of_ten(m.C), number(m.loss), estimate(m.interval, factor, " ")]
        for m in pair.multiplier
        if m.interval.known
    ]
    head = ["FLOPs of a", "loss that both reach", "FLOPs of b, as a multiple of a's"]
    return TextTable(head, rows, title="Compute multiplier at equal loss") if rows else None


def shared_table(pair: Pair) -> TextTable | None:
    """One law for both arms, with more and more of it their own."""
    best = pair.shared.preferred
    rows = []
    for fit in pair.shared.fits:
        preferred = best is not None and (best.law, best.variant) == (fit.law, fit.variant)
        variant = Markup("<b>{}</b>" if preferred else "{}").format(fit.variant)
        rows.append([spaced(fit.law), variant, fit.size, one_decimal(fit.aicc), number(fit.held_out)])
    note = (
        "offset: every parameter shared, one factor on the loss. shared: exponents and floor shared, scales each arm's "
        "own. separate: everything each arm's own. Bold: the fewest parameters within "
        f"{TOLD_APART:g} of the best AICc."
    )
    head = ["law", "what is each arm's own", "parameters", "AICc", "hold-out rmse"]
    return TextTable(head, rows, note) if rows else None


def exponent_table(pair: Pair) -> TextTable | None:
    """Every exponent that fit has."""
    rows = [
        [spaced(e.law or e.method), symbol(e.parameter) if e.law else spaced(e.parameter), e.at, e.a, e.b, e.difference]
        for e in pair.exponents
    ]
    return TextTable(["law or method", "parameter", "at", "a", "b", "b − a"], rows) if rows else None
