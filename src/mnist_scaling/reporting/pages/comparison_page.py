"""The page of a comparison: one self-contained HTML file from comparison.json."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure

from mnist_scaling.fitting.comparing.conclusion import EXPONENTS, shared_sentence
from mnist_scaling.fitting.comparing.shared_exponents import TOLD_APART
from mnist_scaling.fitting.uncertainty.interval import Interval
from mnist_scaling.reporting import figure_files, html
from mnist_scaling.reporting.figures import style
from mnist_scaling.reporting.figures import two_arms as draw
from mnist_scaling.reporting.html_tables import Table
from mnist_scaling.reporting.markup import symbol
from mnist_scaling.reporting.prepare import Missing, two_arms
from mnist_scaling.reporting.text import decimals, estimate, number, power_of_ten
from mnist_scaling.study.provenance import COMMAND

KICKER = "Comparison"


@dataclass(frozen=True)
class Plot:
    """One figure of a pair."""

    name: str
    title: str
    caption: str
    prepare: Callable[[Mapping[str, Any]], Any]
    draw: Callable[[Any], Figure]


PLOTS = (
    Plot(
        "ratio", "Ratio of the losses, cell by cell",
        "Points are cells, lines the plane that the differences of alpha and beta come from: level lines mean equal "
        "exponents, their distance from 1 is the offset.",
        two_arms.ratios, draw.draw_ratios,
    ),
    Plot(
        "compute", "Loss against compute",
        "Every cell of both arms, and the least loss at each compute inside the sizes that both cover, by a smooth "
        "surface through each arm's cells.",
        two_arms.curves, draw.draw_curves,
    ),
    Plot(
        "multiplier", "Compute multiplier",
        "The compute that b needs for a's loss, over a's, with its pointwise interval. Below 1, b is cheaper. A "
        "sloping line means that the advantage changes with scale.",
        two_arms.multiples, draw.draw_multiples,
    ),
    Plot(
        "exponents", "Differences of exponents",
        "b − a by every law and method, with intervals; intervals that miss 0 are red, and the margin of equivalence "
        "is shaded. Exponents of laws that were fitted to each arm alone are ill-conditioned and wide.",
        two_arms.differences, draw.draw_differences,
    ),
)  # fmt: skip
"""Figures of a pair, in the order of the page."""


def page(record: Mapping[str, Any], title: str, now: datetime | None = None) -> str:
    """The whole page as HTML.

    Parameters
    ----------
    record : mapping
        comparison.json.
    title : str
    now : datetime, optional
        Date under the title.
    """
    pairs = list(record.get("pairs", [record]))
    return (
        html.environment()
        .get_template("comparison.html.j2")
        .render(
            kicker=KICKER,
            title=title,
            style=html.style_sheet(),
            date=html.date(now),
            pairs=[_pair(pair, i) for i, pair in enumerate(pairs)],
            command=record.get(COMMAND, ""),
            settings=pairs[0]["settings"],
            margin=record["margin"],
        )
    )


def _pair(record: Mapping[str, Any], place: int) -> dict[str, Any]:
    a, b = two_arms.names_of(record)
    return {
        "a": a,
        "b": b,
        "what": record["what"],
        "sentence": record["sentence"],
        "shared": shared_sentence(record) if record["shared"]["preferred"] else "",
        "slopes": slope_table(record),
        "multiplier": multiplier_table(record),
        "fits": shared_table(record),
        "exponents": exponent_table(record),
        "flags": record["flags"],
        "figures": [_figure(plot, record, place) for plot in PLOTS],
        "noise": noise_sentence(record),
    }


def _figure(plot: Plot, record: Mapping[str, Any], place: int) -> dict[str, Any]:
    data = plot.prepare(record)
    shown = {"name": f"{plot.name}-{place}", "title": plot.title, "caption": plot.caption}
    if isinstance(data, Missing):
        return shown | {"svg": None, "note": data.reason}
    with style.theme():
        svg = figure_files.inline(figure_files.as_svg(plot.draw(data)), f"{plot.name}-{place}", plot.title)
    return shown | {"svg": svg, "note": getattr(data, "note", "")}


def slope_table(record: Mapping[str, Any]) -> Table:
    """Exponents of L ∝ N^-alpha D^-beta in both arms and their difference."""
    a, b = two_arms.names_of(record)
    rows = []
    for name in EXPONENTS:
        found = record["slopes"].get(name)
        if not found:
            continue
        shown = [estimate(Interval.of(found[key])) for key in ("a", "b", "difference")]
        rows.append([symbol(name), *shown, found.get("why") or record["verdict"][name]])
    rows.append(["ln(loss of b / loss of a)", "", "", estimate(Interval.of(record["offset"])),
                 record["verdict"]["offset"]])  # fmt: skip
    return Table(["", f"a: {a}", f"b: {b}", "b − a", "verdict"], rows)


def multiplier_table(record: Mapping[str, Any]) -> Table | None:
    """The multiplier at both ends; None where there is none."""
    rows = [
        [power_of_ten(m["C"]), number(m["loss"]), _times(m)] for m in record["multiplier"] if m["value"] is not None
    ]
    return Table(["FLOPs of a", "loss that both reach", "FLOPs of b, as a multiple of a's"], rows) if rows else None


def shared_table(record: Mapping[str, Any]) -> Table | None:
    """One law for both arms, with more and more of it their own."""
    best = record["shared"]["preferred"]
    rows = [
        [
            fit["law"].replace("_", " "),
            Markup("<b>{}</b>").format(fit["variant"])
            if best == {"law": fit["law"], "variant": fit["variant"]}
            else fit["variant"],
            fit["size"],
            "—" if fit["aicc"] is None else f"{fit['aicc']:.1f}".replace("-", "−"),
            number(fit["held_out"]),
        ]
        for fit in record["shared"]["fits"]
    ]
    note = (
        "offset: every parameter shared, one factor on the loss. shared: exponents and floor shared, scales each arm's "
        "own. separate: everything each arm's own. Bold: the fewest parameters within "
        f"{TOLD_APART:g} of the best AICc."
    )
    return Table(["law", "what is each arm's own", "parameters", "AICc", "hold-out rmse"], rows, note) if rows else None


def exponent_table(record: Mapping[str, Any]) -> Table | None:
    """Every exponent that fit has."""
    rows = [
        [
            (e.get("law") or e.get("method")).replace("_", " "),
            symbol(e["parameter"]) if "law" in e else e["parameter"].replace("_", " "),
            e.get("at", ""),
            *(estimate(Interval.of(e[key])) for key in ("a", "b", "difference")),
        ]
        for e in record["exponents"]
    ]
    return Table(["law or method", "parameter", "at", "a", "b", "b − a"], rows) if rows else None


def noise_sentence(record: Mapping[str, Any]) -> str:
    """What pairing has saved."""
    noise = record["noise"]
    if noise["ratio"] is None or not record["paired"]:
        return ""
    return (
        f"The noise of one cell's log loss is {decimals(noise['a'])} in a and {decimals(noise['b'])} in b; of the log "
        f"ratio it is {decimals(noise['ratio'])}, because the two are correlated by {number(noise['correlation'], 2)}."
    )


def _times(record: Mapping[str, Any]) -> str:
    found = Interval.of(record)
    text = number(found.value, 2)
    return f"{text} [{number(found.low, 2)}, {number(found.high, 2)}]" if found.bounded else text
