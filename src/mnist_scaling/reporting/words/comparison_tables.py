"""comparison.json as tables for a terminal; it computes nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mnist_scaling.fitting.comparing.conclusion import EXPONENTS, factor, shared_sentence
from mnist_scaling.fitting.uncertainty.interval import Interval

COLOURS = {"error": "bold red", "warning": "yellow", "info": "cyan"}


def show(record: Mapping[str, Any], console: Console | None = None) -> None:
    """Print every pair of arms: what was compared, the differences, the multiplier, the verdict in a sentence."""
    console = console or Console(highlight=False)
    for pair in record.get("pairs", [record]):
        a, b = (arm["name"] for arm in pair["arms"])
        console.print(Text(f"\n{pair['what']} Below, a is {a} and b is {b}."))
        console.print(_slopes(pair))
        if pair["multiplier"]:
            console.print(_multiplier(pair))
        if pair["shared"]["preferred"]:
            console.print(Text(shared_sentence(pair)))
        for flag in pair["flags"]:
            text = Text(f"{flag['code']}: ", style=COLOURS.get(flag["severity"], ""))
            console.print(text + Text(f"{flag['message']} {flag['remedy']}", style="default"))
        console.print(Text(f"\n{pair['sentence']}", style="bold"))


def _slopes(record: Mapping[str, Any]) -> Table:
    grid = _grid(("", "a", "b", "b - a", "verdict"))
    for name in EXPONENTS:
        found = record["slopes"].get(name)
        if found and found["difference"]["value"] is not None:
            values = [f"{found[key]['value']:.3f}" for key in ("a", "b")]
            grid.add_row(name, *values, _interval(found["difference"]), record["verdict"][name])
    grid.add_row("ln(loss b / loss a)", "", "", _interval(record["offset"]), record["verdict"]["offset"])
    return grid


def _multiplier(record: Mapping[str, Any]) -> Table:
    grid = _grid(("compute of a", "loss", "compute of b, over a's"))
    for m in record["multiplier"]:
        grid.add_row(f"{m['C']:.3g}", f"{m['loss']:.4g}", _interval(m, factor))
    return grid


def _grid(head: tuple[str, ...]) -> Table:
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for i, name in enumerate(head):
        grid.add_column(Text(name), no_wrap=True, justify="left" if i == 0 else "right")
    return grid


def _interval(record: Mapping[str, Any], shown: Callable[[float], str] = "{:.3f}".format) -> str:
    found = Interval.of(record)
    if not found.known:
        return "-"
    value, low, high = (shown(v) for v in (found.value, found.low, found.high))
    return f"{value} [{low}, {high}]" if found.bounded else value
