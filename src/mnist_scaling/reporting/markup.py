"""Exponents and formulae as HTML: raised, indexed, with Greek letters; everything else is escaped."""

from __future__ import annotations

import re

from markupsafe import Markup, escape

from mnist_scaling.fitting.uncertainty.interval import Interval
from mnist_scaling.reporting.text import NB, bracket, number

GREEK = {"alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ"}


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
    return (
        Markup("{}<sub>{}</sub>").format(GREEK.get(head, head), index)
        if index
        else Markup(escape(GREEK.get(head, head)))
    )


def formula(text: str) -> Markup:
    """E + A / N^alpha with Greek letters and raised exponents."""
    safe = str(escape(text)).replace("*", "·").replace(" - ", " − ")
    safe = re.sub(
        rf"\b({'|'.join(GREEK)})(?:_(\w))?\b", lambda m: GREEK[m[1]] + (f"<sub>{m[2]}</sub>" if m[2] else ""), safe
    )
    safe = re.sub(r"\b([ND])([cC])\b", r"\1<sub>\2</sub>", safe)
    raised = re.sub(r"\^\(([^()]*)\)", r"<sup>\1</sup>", safe)
    return Markup(re.sub(r"\^(-?[\wαβγδ]+(?:<sub>\w</sub>)?)", r"<sup>\1</sup>", raised).replace("<sup>-", "<sup>−"))
