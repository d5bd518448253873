"""Numbers as people read them; text for figures and for the page alike."""

from __future__ import annotations

import math

from mnist_scaling.fitting.uncertainty.interval import Interval

NB = "\N{NO-BREAK SPACE}"
"""Between the parts of one number, so that no line ends inside it."""

LARGE = 10
"""From here on an estimate is no exponent: all its numbers have three digits, in place of three decimals."""


def estimate(found: Interval) -> str:
    """0.280 [0.250, 0.310], the value alone, or a dash; 155 [50.8, 772] where large, 2.00 [1.20, ∞) without an end."""
    if not found.known:
        return "—"
    shown = [x for x in (found.value, found.low, found.high) if math.isfinite(x)]
    digits = number if max(map(abs, shown)) >= LARGE else decimals
    if found.bounded:
        return f"{digits(found.value)}{NB}[{digits(found.low)},{NB}{digits(found.high)}]"
    open_end = math.isfinite(found.low) and found.high == math.inf
    return f"{digits(found.value)}{NB}[{digits(found.low)},{NB}∞)" if open_end else digits(found.value)


def decimals(value: float) -> str:
    """An exponent or a floor: three decimals, so that a column of them lines up."""
    if value == 0 or not abs(value) < 100:
        return number(value)
    return f"{value:.3f}".replace("-", "−")


def number(value: float | None, digits: int = 3) -> str:
    """A measured number: fixed decimals where that reads well, a power of ten beyond, a true minus sign."""
    if value is None or not math.isfinite(value):
        return "—"
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
    mantissa, exponent = f"{value:.1e}".split("e")
    raised = str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{mantissa}{NB}×{NB}10{raised}".replace("-", "−")


def count(value: float) -> str:
    """A whole number with thousands separated; a power of ten from a billion on."""
    return "—" if not math.isfinite(value) else f"{value:,.0f}" if abs(value) < 1e9 else power_of_ten(value)


def short(value: float) -> str:
    """A tick label: 4.27k, 50k, 1.2M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size * 0.9995:
            return f"{value / size * (1 + 1e-9):.3g}{letter}"  # 3.125k is 3.13k, not to even
    return f"{value:.3g}"


def plural(how_many: int, word: str) -> str:
    """1 cell, 2 cells, 3 data fractions."""
    if how_many != 1:
        word = f"{word[:-1]}ies" if word.endswith("y") else f"{word}s"
    return f"{how_many:,} {word}"


def listing(words: list[str]) -> str:
    """a, b and c."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def duration(seconds: float) -> str:
    """Seconds, minutes or hours, whichever reads best."""
    if not math.isfinite(seconds):
        return "an unknown time"
    for size, word in ((3600, "h"), (60, "min")):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.1f} {word}"
    return f"{seconds:.0f} s"
