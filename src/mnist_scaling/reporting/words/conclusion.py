"""A comparison in sentences: what was compared, the verdict, the compute multiplier."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from mnist_scaling.fitting.comparing.verdict import DIFFERS, EQUIVALENT
from mnist_scaling.fitting.uncertainty.interval import Interval

EXPONENTS = {"alpha": "N", "beta": "D", "gamma": "C"}
"""The variable whose exponent each name is."""


def what(record: Mapping[str, Any]) -> str:
    """What was compared."""
    a, b = (arm["name"] for arm in record["arms"])
    cells = record["cells"]
    if record["paired"]:
        seeds = " and by seed" if record["by_seed"] else ""
        return f"{b} was compared with {a} on {cells} shared cells, paired by cell{seeds}."
    rows = " and ".join(f"{arm['cells']} of {arm['name']}" for arm in record["arms"])
    return f"{b} was compared with {a} on the range of sizes that both cover, unpaired ({rows})."


def sentence(record: Mapping[str, Any]) -> str:
    """The verdict: exponents, offset, and the compute multiplier where there is one."""
    a, b = (arm["name"] for arm in record["arms"])
    words, slopes = record["verdict"], record["slopes"]
    names = [k for k in EXPONENTS if slopes.get(k, {}).get("difference", {}).get("value") is not None]
    parts = [_of_slope(k, Interval.of(slopes[k]["difference"]), words[k], record["margin"]) for k in names]
    text = f"{_join(parts)}." if parts else ""
    offset = Interval.of(record["offset"])
    text += f" {_of_offset(a, b, offset, words['offset'], all(words[k] == EQUIVALENT for k in names))}"
    return f"{text} {_of_compute(a, b, record['multiplier'])}".strip()


def shared_sentence(record: Mapping[str, Any]) -> str:
    """What AICc says of exponents that both arms share, in accord with the verdict.

    The two ask different questions. An interval asks whether one difference is told from zero, for which it must be two
    standard errors large; AICc asks whether exponents of each arm's own predict better than shared ones, for which one
    difference among two must be two and a half.
    """
    best, words = record["shared"]["preferred"], record["verdict"]
    names = [k for k in EXPONENTS if record["slopes"].get(k, {}).get("difference", {}).get("value") is not None]
    differing = [k for k in names if words[k] == DIFFERS]
    alike = bool(names) and all(words[k] == EQUIVALENT for k in names)
    enough = "one factor on the loss" if best["variant"] == "offset" else "a scale of each arm's own"
    if best["variant"] != "separate":
        text = f"{enough} is all that the arms need of their own"
        if differing:
            what = f"{' and '.join(differing)} differ{'s' * (len(differing) == 1)}"
            text += f" to be predicted as well: {what} by what is told from zero, but is small against the noise"
    elif differing:
        text = "the arms need exponents of their own, as the verdict says"
    elif alike:
        text = "the arms need parameters of their own: they differ, but in no exponent by more than the margin"
    else:
        text = "the arms need parameters of their own, but the intervals do not settle which exponent differs"
    return f"By AICc ({best['law'].replace('_', ' ')}), {text}."


def _of_slope(name: str, difference: Interval, word: str, margin: float) -> str:
    shown = f"{name}, the exponent of {EXPONENTS[name]},"
    if word == DIFFERS:
        return f"{shown} differs by {_signed(difference)}"
    if word == EQUIVALENT:
        return f"{shown} is equivalent within {margin:g} ({_signed(difference)})"
    return f"whether {shown} differs is not settled ({_signed(difference)})"


def _of_offset(a: str, b: str, offset: Interval, word: str, only: bool) -> str:
    def percent(value: float) -> str:
        return f"{100 * math.expm1(value):+.1f} %".replace("-", "−")

    size = percent(offset.value)
    if offset.bounded:
        size += f" [{percent(offset.low)}, {percent(offset.high)}]"
    if word == DIFFERS:
        higher, lower = (a, b) if offset.value < 0 else (b, a)
        apart = -offset if offset.value < 0 else offset  # of the higher loss over the lower one
        more = percent(apart.value).lstrip("+")
        more += f" [{percent(apart.low)}, {percent(apart.high)}]".replace("+", "") if apart.bounded else ""
        alone = "Only the offset differs" if only else "In the middle of the grid the losses differ"
        return f"{alone}: the loss of {higher} is {more} higher than that of {lower}."
    if word == EQUIVALENT:
        return f"In the middle of the grid the losses are equivalent ({size})."
    return f"In the middle of the grid it is not settled which loss is lower ({size})."


def _of_compute(a: str, b: str, multiplier: list[Mapping[str, Any]]) -> str:
    known = [m for m in multiplier if m["value"] is not None]
    if not known:
        return ""
    parts = [f"{_times(Interval.of(m))} the compute at C = {m['C']:.2g} FLOPs" for m in known]
    return f"For {a}'s loss {b} needs {' and '.join(parts)}."


def _times(i: Interval) -> str:
    value, low, high = (factor(v) for v in (i.value, i.low, i.high))
    return f"{value} [{low}, {high}] times" if i.bounded else f"{value} times"


def factor(value: float) -> str:
    """How many times as much: 1.28, or 41,455."""
    return f"{value:.2f}" if value < 100 else f"{value:,.0f}"


def _signed(i: Interval) -> str:
    text = f"{i.value:+.3f}" + (f" [{i.low:+.3f}, {i.high:+.3f}]" if i.bounded else "")
    return text.replace("-", "−")


def _join(parts: list[str]) -> str:
    text = " and ".join(parts)
    return text[:1].upper() + text[1:]
