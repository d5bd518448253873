"""What `plan` says, as tables and sentences: what is known of a study, its predictions, and the scores of these."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mnist_scaling.fitting.uncertainty.interval import Interval
from mnist_scaling.planning.new_cell import NewCell
from mnist_scaling.planning.next_budget import NextBudget
from mnist_scaling.planning.studied import Studied
from mnist_scaling.reporting import parts as tone
from mnist_scaling.reporting.parts import Part, Sentence, TextTable
from mnist_scaling.reporting.text import estimate, number, power_of_ten, short, three_digits
from mnist_scaling.study import provenance
from mnist_scaling.study.columns import label


def ground(of: Studied) -> list[Part]:
    """How many cells there are, how noisy they are, and what a run of the largest costs."""
    costs = of.costs
    dearest = costs.loc[costs["flops"].idxmax()] if costs["flops"].notna().any() else None
    each = "" if dearest is None else f" A run of the largest cell takes {power_of_ten(dearest['flops'])} FLOPs"
    seconds = "" if dearest is None or not np.isfinite(dearest["seconds"]) else f" and {dearest['seconds']:.3g} s"
    text = (
        f"{len(of.table)} cells. The loss differs by {_percent(of.seeds)} between seeds, and by {_percent(of.luck)} "
        f"between cells beyond that.{each}{seconds}{'.' if each else ''}"
    )
    return [Sentence(text)]


def _percent(sd: float) -> str:
    return f"{number(100 * sd, 2)} %" if np.isfinite(sd) else "an unknown share"


def _interval(row: Mapping[str, str], *keys: str) -> Interval:
    return Interval(*(float(row[k]) if row[k] else np.nan for k in keys))


def prediction(row: Mapping[str, str], path: Path, cell: NewCell, study: Mapping[str, Any] | None) -> list[Part]:
    """A registered prediction, and the command that runs its cell in the study."""
    where = ", ".join(f"{label(k)} {v}" for k, v in cell.axes.items())
    sizes = ", ".join(f"{k} = {short(v)}" for k, v in cell.at.items())
    beyond = f", {number(float(row['reach']))} times the largest compute that was measured" if row["reach"] else ""
    rows: list[list[Any]] = [["loss", _interval(row, "predicted_loss", "low", "high")]]
    if (error := _interval(row, "predicted_error", "error_low", "error_high")).known:
        rows.append(["error rate", error])
    tuned = [k for k in (study or {}).get("tuned", ()) if row.get(k)]
    by_law = row["by_law"].split(";")
    source = {True: "by its law", False: "as in the nearest cells"}
    rows += [[label(k), f"{_rounded(row[k])} ({source[k in by_law]})"] for k in tuned]
    found: list[Part] = [
        Sentence(f"{where or 'The target'} ({sizes}; {cell.counted}){beyond}:"),
        TextTable(["what", "predicted"], rows),
        Sentence(f"Registered in {path} at {row['time']}, seal {row['seal']}.", tone.QUIET),
    ]
    if study and cell.keys and study.get(provenance.COMMAND):
        found.append(Sentence(run_command(str(study[provenance.COMMAND]), cell.keys), lead="Next"))
    return found


def _rounded(text: str) -> str:
    try:
        return three_digits(float(text))
    except ValueError:
        return text


def run_command(command: str, keys: Mapping[str, Any]) -> str:
    """A study's command with other values of its axes, which adds their cell to the study."""
    words = [w for w in shlex.split(command) if w.split("=", 1)[0] not in keys]
    return shlex.join([*words, *(f"{key}=choice({value})" for key, value in keys.items())])


def scores(rows: Sequence[Mapping[str, str]], of: Mapping[str, Any]) -> list[Part]:
    """Every registered prediction against what has come, and how they did together."""
    table = []
    for row in rows:
        shown = [short(float(row[k])) if row[k] else None for k in ("n_params", "n_seen")]
        came = float(row["measured_loss"]) if row.get("measured_loss") else None
        off = f"{100 * float(row['log_error']):+.1f} %" if came else None
        inside = {"true": "yes", "false": "no"}.get(row.get("inside", ""), row.get("why_not") or None)
        regret = f"{100 * float(row['regret']):+.1f} %" if row.get("regret") else None
        reach = number(float(row["reach"])) if row["reach"] else None
        table.append(
            [*shown, reach, _interval(row, "predicted_loss", "low", "high"), number(came), inside, off, regret]
        )
    head = ["N", "D", "times the compute", "predicted", "measured", "inside", "off by", "regret"]
    found: list[Part] = [TextTable(head, table)]
    if of["scored"]:
        found.append(
            Sentence(
                f"{of['inside']} of {of['scored']} inside; off by {100 * of['rms']:.1f} % (root mean square; mean "
                f"{100 * of['bias']:+.1f} %), width {100 * of['width']:.0f} %, CRPS {of['crps']:.4f} in ln loss."
            )
        )
    waiting = of["registered"] - of["scored"]
    return found + ([Sentence(f"{waiting} of {of['registered']} not scored.", tone.QUIET)] if waiting else [])


def budget(of: NextBudget) -> list[Part]:
    """The best run at each budget, the line through them, and the next one."""
    rows = [[*(f"{v:.6g}" if isinstance(v, float) else v for v in row)] for row in of.winners.to_numpy(object)]
    without = f", the {of.left_out} smallest left out," if of.left_out else ""
    settings = ", ".join(
        f"{label(k)} {estimate(v) if v.high > v.low else short(v.value)}" for k, v in of.settings.items()
    )
    text = (
        f"The line through {len(rows) - of.left_out} budgets{without} falls as C^-{estimate(of.slope)}, and gives "
        f"{of.loss.value:.6f} [{of.loss.low:.4f}, {of.loss.high:.4f}] at {power_of_ten(of.budget)}."
    )
    lines: list[Part] = [TextTable([str(c) for c in of.winners], rows, title="Best run at each budget"), Sentence(text)]
    return [*lines, Sentence(settings, lead="Its settings")] if settings else lines
