"""What a report says, as data that terminal and pages draw alike: numbers as people read them, sentences and tables.

Here is the one place where a number, one with its interval, or a formula becomes text. Text may hold the few marks of
HTML that words need (b, sup, sub, br), as `Markup`; a plain string is taken as it is.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

from mnist_scaling.fitting.uncertainty.interval import Interval

NB = "\N{NO-BREAK SPACE}"
"""Between the parts of one number, so that no line ends inside it."""

DASH = "—"
"""Where there is no number."""

LARGE, SMALL = 10, 5e-3
"""Beyond these an estimate's numbers have three digits: three decimals would say too much, or nothing."""

GREEK = {"alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ"}


def estimate(interval: Interval, show: Callable[[float], str] | None = None, gap: str = NB) -> str:
    """0.280 [0.250, 0.310], 2.00 [1.20, ∞) where an end is open, the value alone without an interval, or a dash.

    Parameters
    ----------
    interval : Interval
    show : callable, optional
        One number as text; without it `decimals`, or three digits where a number is large: 155 [50.8, 772].
    gap : str
        Between the parts.
    """
    if not interval.known:
        return DASH
    show = show or digits(interval)
    return gap.join(filter(None, [show(interval.value), bracket(interval, show, gap)]))


def bracket(interval: Interval, show: Callable[[float], str] | None = None, gap: str = NB) -> str:
    """The interval alone: [0.250, 0.310], [1.20, ∞), (−∞, 3.00]; empty where neither end is known."""
    low, high = map(math.isfinite, (interval.low, interval.high))
    if not (low or high):
        return ""
    show = show or digits(interval)
    start = f"[{show(interval.low)}" if low else "(−∞"
    return f"{start},{gap}{show(interval.high)}]" if high else f"{start},{gap}∞)"


def digits(interval: Interval) -> Callable[[float], str]:
    """How the numbers of an estimate are shown, so that all of them are shown alike."""
    known = [abs(x) for x in (interval.value, interval.low, interval.high) if math.isfinite(x)]
    return number if max(known) >= LARGE else three_digits if max(known) < SMALL else decimals


def decimals(value: float) -> str:
    """An exponent or a floor: three decimals, so that a column of them lines up."""
    return f"{value:.3f}".replace("-", "−") if 0 < abs(value) < 100 else number(value)


def signed(value: float) -> str:
    """A difference, with its sign: +0.031, −0.010."""
    return f"{value:+.3f}".replace("-", "−")


def percent(value: float) -> str:
    """A log ratio as a change in per cent, with its sign: +1.5 %."""
    return f"{100 * math.expm1(value):+.1f} %".replace("-", "−")


def factor(value: float) -> str:
    """How many times as much: 1.28, or 41,455."""
    return f"{value:.2f}" if value < 100 else f"{value:,.0f}"


def three_digits(value: float) -> str:
    """A setting, a hold-out error: 0.0021, 5e+04."""
    return f"{value:.3g}".replace("-", "−") if math.isfinite(value) else DASH


def loss(value: float, error: float = math.nan) -> str:
    """A loss with its standard error, in four decimals, or three digits where it is small: 0.000264 ± 0.000045."""
    if not math.isfinite(value):
        return DASH
    form = f".{max(4, 2 - math.floor(math.log10(abs(value))))}f" if 1e-6 <= abs(value) < 1e4 else ".3g"
    return " ± ".join(f"{x:{form}}" for x in (value, error) if math.isfinite(x)).replace("-", "−")


def one_decimal(value: float) -> str:
    """An AICc: −29.2."""
    return f"{value:.1f}".replace("-", "−") if math.isfinite(value) else DASH


def number(value: float | None, digits: int = 3) -> str:
    """A measured number: fixed decimals where that reads well, a power of ten beyond, a true minus sign."""
    if value is None or not math.isfinite(value):
        return DASH
    if value == 0:
        return "0"
    if 1e-3 <= abs(value) < 1e3:
        places = max(0, min(4, digits - 1 - math.floor(math.log10(abs(value))))) if abs(value) >= 1 else digits
        if abs(value) < 0.1:
            places = digits + 1
        return f"{value:.{places}f}".replace("-", "−")
    return power_of_ten(value)


def power_of_ten(value: float) -> str:
    """1.7e13 as 1.7 × 10¹³."""
    if not math.isfinite(value):
        return DASH
    mantissa, exponent = f"{value:.1e}".split("e")
    raised = str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{mantissa}{NB}×{NB}10{raised}".replace("-", "−")


def count(value: float) -> str:
    """A whole number with thousands separated; a power of ten from a billion on."""
    return f"{value:,.0f}" if abs(value) < 1e9 else power_of_ten(value)


def short(value: float) -> str:
    """A tick label: 4.27k, 50k, 1.2M; a power of ten from a thousand E on."""
    if abs(value) >= 1e21:
        return power_of_ten(value)
    for size, letter in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size * 0.9995:
            return f"{value / size * (1 + 1e-9):.3g}{letter}"  # 3.125k is 3.13k, not to even
    return f"{value:.3g}"


def spaced(name: str) -> str:
    """The name of a law or of a flag in words: power N floor."""
    return name.replace("_", " ")


def plural(how_many: int, word: str) -> str:
    """1 cell, 2 cells, 3 data fractions; a word that ends in s stays."""
    if how_many != 1 and not word.endswith("s"):
        word = f"{word[:-1]}ies" if word.endswith("y") else f"{word}s"
    return f"{how_many:,} {word}"


def listing(words: Sequence[str]) -> str:
    """a, b and c; as `Markup` where the words are."""
    kind: type[str] = type(words[0]) if words else str
    return kind(" and ").join(filter(None, [kind(", ").join(words[:-1]), *words[-1:]]))


def duration(seconds: float) -> str:
    """Seconds, minutes or hours, whichever reads best."""
    if not math.isfinite(seconds):
        return "an unknown time"
    for size, word in ((3600, "h"), (60, "min")):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.1f} {word}"
    return f"{seconds:.0f} s"


def power(symbol: str, exponent: Interval, bare: bool = False) -> Markup:
    """N<sup>−0.28</sup> [−0.32, −0.24]."""
    raised = Markup("{}<sup>{}</sup>").format(symbol, _two_digits(exponent.value))
    interval = "" if bare else bracket(exponent, _two_digits)
    return Markup("{}{}{}").format(raised, NB, interval) if interval else raised


def _two_digits(value: float) -> str:
    return number(value, 2)


def symbol(name: str) -> Markup:
    """alpha_N as α with an index."""
    head, _, index = name.partition("_")
    return Markup("{}<sub>{}</sub>" if index else "{}").format(GREEK.get(head, head), index)


def formula(text: str) -> Markup:
    """E + A / N^alpha with Greek letters and raised exponents."""
    safe = str(escape(text)).replace("*", "·").replace(" - ", " − ")
    safe = re.sub(
        rf"\b({'|'.join(GREEK)})(?:_(\w))?\b", lambda m: GREEK[m[1]] + (f"<sub>{m[2]}</sub>" if m[2] else ""), safe
    )
    safe = re.sub(r"\b([ND])([cC])\b", r"\1<sub>\2</sub>", safe)
    raised = re.sub(r"\^\(([^()]*)\)", r"<sup>\1</sup>", safe)
    return Markup(re.sub(r"\^(-?[\wαβγδ]+(?:<sub>\w</sub>)?)", r"<sup>\1</sup>", raised).replace("<sup>-", "<sup>−"))


NORMAL, STRONG, QUIET, WARNING, ERROR, INFO, GOOD = "", "strong", "quiet", "warning", "error", "info", "good"
"""Tones of a sentence."""


@dataclass(frozen=True)
class Missing:
    """Why a figure can't be drawn, as a sentence for the reader."""

    reason: str


@dataclass(frozen=True)
class Sentence:
    """One or more sentences in one tone."""

    text: str
    tone: str = NORMAL
    lead: str = ""
    """The first words, where only they have the tone."""
    apart: bool = False
    """Whether a line is left free before it."""


@dataclass(frozen=True)
class TextTable:
    """A head and rows. A cell is text, a whole number, an `Interval`, or None where there is nothing."""

    head: Sequence[str]
    rows: Sequence[Sequence[Any]]
    note: str = ""
    """For the page."""
    title: str = ""
    """For the terminal; a page has headings of its own."""
    ids: Sequence[str] = ()
    """The cell that each row is about, as figures name it; empty where rows are of no cell."""
    right: Sequence[int] = ()
    """Columns that are aligned to the right."""
    aside: int | None = None
    """A column of prose, which a terminal writes below the table, led by the row's first cell."""

    @property
    def cells(self) -> dict[str, str]:
        """What readers see for the cell of a row: its first two columns."""
        words = [", ".join(f"{h} {v}" for h, v in list(zip(self.head, row, strict=True))[:2]) for row in self.rows]
        return dict(zip(self.ids, words, strict=True))


Part = TextTable | Sentence


def cell_text(cell: Any) -> str:
    """A cell as text, which may be `Markup`."""
    if cell is None:
        return DASH
    if isinstance(cell, Interval):
        return estimate(cell)
    return cell if isinstance(cell, str) else str(cell)
