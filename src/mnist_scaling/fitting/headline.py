"""Which exponents to quote, decided once: the terminal, fits.json and the report say the same.

With a selected law they are that law's: its local slopes -d log L / d log x at the largest cell, its floor, and the
exponents of its own compute-efficient frontier. Without one nothing is quoted, because the laws that fit contradict
each other. Straight lines in logs and the other frontier methods stand in tables beside them, for comparison.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mnist_scaling.fitting.frontier import EXPONENTS, METHODS
from mnist_scaling.fitting.frontier_intervals import parametric
from mnist_scaling.fitting.interval import Interval

if TYPE_CHECKING:
    from mnist_scaling.fitting.analysis import Result
    from mnist_scaling.fitting.fitted import Fitted

SLOPES = {"slope_N": "N", "slope_D": "D", "slope_C": "C"}
"""Keys of the local slopes, and their variables."""

QUANTITIES = (*SLOPES, *EXPONENTS, "floor")


def headline(result: Result) -> dict[str, Any]:
    """The key "headline" of fits.json: each of `QUANTITIES` as an interval, or null with a "why"."""
    name = result.choice.selected
    if name is None:
        return nothing_to_quote(f"No law is selected: {result.choice.reason}.")
    law = result.fitted[name]
    found = {**_slopes(law), **_frontier(result, law), "floor": _floor(law)}
    return {**found, "laws": [name], "settled": True}


def nothing_to_quote(why: str) -> dict[str, Any]:
    """The same where no law is selected, or nothing was fitted."""
    return {**{key: _absent(why) for key in QUANTITIES}, "laws": [], "settled": False}


def _absent(why: str) -> dict[str, Any]:
    return {"value": None, "low": None, "high": None, "why": why}


def _slopes(f: Fitted) -> dict[str, Any]:
    return {
        key: f.slopes[variable].record() if variable in f.slopes else _absent(f"{f.law.name} does not hold {variable}.")
        for key, variable in SLOPES.items()
    }


def _frontier(result: Result, f: Fitted) -> dict[str, Any]:
    """Exponents of the frontier of the selected law itself, not of whichever law has one."""
    if len(f.law.inputs) < 2:
        return {key: _absent(f"{f.law.name} holds one variable, so it has no frontier.") for key in EXPONENTS}
    found = parametric(result.table, {f.law.name: f}, f, result.cost, result.draws)
    if found.frontier.status != "ok":
        able = f.law.optimum(f.fit.theta[None], 1.0, 1.0) is not None
        why = found.frontier.status if able else f"{f.law.name} has no optimum at fixed C"
        return {key: _absent(f"{why}.") for key in EXPONENTS}
    return {key: found.intervals[key].record() for key in EXPONENTS}


def _floor(f: Fitted) -> dict[str, Any]:
    if "E" not in f.params:
        return _absent(f"{f.law.name} has no floor.")
    return f.params["E"].record()


def conflicts(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Pairs of frontier methods whose intervals of N* miss each other.

    Parameters
    ----------
    record : mapping
        fits.json, or one of its arms.

    Returns
    -------
    list of dict
        "methods": two names, and "intervals": the two `Interval` of the exponent of N*.
    """
    out = []
    for pair in record.get("agreement", []):
        if pair["exponent"] == "N_exponent" and pair["overlap"] is False:
            intervals = [Interval.of(record["frontier"][name]["N_exponent"]) for name in pair["methods"]]
            out.append({"methods": pair["methods"], "intervals": intervals})
    return out


def conflict_sentence(record: Mapping[str, Any]) -> str:
    """That frontier methods contradict each other, and what follows; empty where none do."""
    found = conflicts(record)
    if not found:
        return ""
    names = dict.fromkeys(name for conflict in found for name in conflict["methods"])
    values = [
        f"{METHODS.get(name, name)} {_words(Interval.of(record['frontier'][name]['N_exponent']))}" for name in names
    ]
    quoted = record.get("headline", {}).get("N_exponent", {}).get("value") is not None
    advice = "quote that of the selected law" if quoted else "the data do not settle it, so quote the range or none"
    return f"The frontier methods disagree on the exponent of N* beyond their intervals ({_list(values)}): {advice}."


def _words(i: Interval) -> str:
    text = f"{i.value:.3f}"
    return f"{text} [{i.low:.3f}, {i.high:.3f}]" if i.bounded else text


def _list(parts: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(parts[:-1]), *parts[-1:]]))
