"""Predictions as tables and sentences: one that was just registered, all with their scores, and the next budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from mnist_scaling.fitting.uncertainty.interval import Interval
from mnist_scaling.planning.new_cell import NewCell
from mnist_scaling.planning.next_budget import NextBudget
from mnist_scaling.planning.predictions import SEAL
from mnist_scaling.reporting import parts as tone
from mnist_scaling.reporting.parts import Part, Sentence, TextTable
from mnist_scaling.reporting.text import estimate, number, percent, power_of_ten, short, spaced, three_digits
from mnist_scaling.study.columns import label


def prediction(row: Mapping[str, str], path: Path, cell: NewCell, settings: Sequence[str], command: str) -> list[Part]:
    """A prediction, and the command that runs its cell in the study, or registers it, if there is one."""
    where = ", ".join(f"{label(k)} {v}" for k, v in cell.axes.items())
    sizes = ", ".join(f"{k} = {short(v)}" for k, v in cell.at.items())
    beyond = f", {number(float(row['reach']))} times the largest compute that was measured" if row["reach"] else ""
    rows = [["loss", _interval(row, "predicted_loss", "low", "high")]]
    if row["predicted_error"]:
        rows.append(["error rate", _interval(row, "predicted_error", "error_low", "error_high")])
    for key in settings:
        source = "by its law" if key in row["by_law"].split(";") else "as in the nearest cells"
        ends = _interval(row, key, f"{key}_low", f"{key}_high") if f"{key}_low" in row else row[key]
        rows.append([label(key), f"{ends} ({source})"])
    seal = row.get(SEAL)
    kept = f"Registered in {path} at {row['time']}, seal {seal}." if seal else "Not registered: it counts for nothing."
    found: list[Part] = [
        Sentence(f"{where or 'The target'} ({sizes}; {cell.counted}){beyond}:"),
        TextTable(["what", "predicted"], rows),
        Sentence(kept, tone.QUIET),
    ]
    if row["warnings"]:
        codes = ", ".join(spaced(code) for code in row["warnings"].split(";"))
        text = f"The fit has warnings ({codes}), and the prediction rests on it: see what it prints."
        found.append(Sentence(text, tone.WARNING))
    return [*found, Sentence(command, lead="Next")] if command else found


def _value(row: Mapping[str, str], key: str) -> float:
    return float(row.get(key) or np.nan)


def _interval(row: Mapping[str, str], *keys: str) -> str:
    return estimate(Interval(*(_value(row, key) for key in keys)), three_digits)


def scores(rows: Sequence[Mapping[str, str]], of: Mapping[str, float]) -> list[Part]:
    """Every registered prediction against what has come, and how they did together."""
    table = [
        [
            *(short(_value(row, k)) if row[k] else None for k in ("n_params", "n_seen")), number(_value(row, "reach")),
            _interval(row, "predicted_loss", "low", "high"), three_digits(_value(row, "measured_loss")),
            {"true": "yes", "false": "no"}.get(row.get("inside", ""), row.get("why_not")),
            *(percent(_value(row, k)) if row.get(k) else None for k in ("log_error", "regret")),
        ]
        for row in rows
    ]  # fmt: skip
    head = ["N", "D", "times the compute", "predicted", "measured", "inside", "off by", "regret"]
    found: list[Part] = [TextTable(head, table)]
    if of["scored"]:
        found.append(
            Sentence(
                f"{of['inside']} of {of['scored']} inside. In ln loss the error is {of['rms']:.3f} (root mean square; "
                f"mean {of['bias']:+.3f}), the interval's width {of['width']:.3f}, the CRPS {of['crps']:.3f}."
            )
        )
    waiting = of["registered"] - of["scored"]
    return found + ([Sentence(f"{waiting} of {of['registered']} not scored.", tone.QUIET)] if waiting else [])


def budget(of: NextBudget) -> list[Part]:
    """The best run at each budget, the line through them, and the next one."""
    rows = [[*(f"{v:.6g}" if isinstance(v, float) else v for v in row)] for row in of.winners.to_numpy(object)]
    without = f", the {of.left_out} smallest left out," if of.left_out else ""
    settings = [f"{label(k)} {estimate(v) if v.high > v.low else short(v.value)}" for k, v in of.settings.items()]
    text = (
        f"The line through {len(rows) - of.left_out} budgets{without} falls as C^-{estimate(of.slope)}, and gives "
        f"{of.loss.value:.6f} [{of.loss.low:.4f}, {of.loss.high:.4f}] at {power_of_ten(of.budget)}."
    )
    lines: list[Part] = [TextTable([str(c) for c in of.winners], rows, title="Best run at each budget"), Sentence(text)]
    return [*lines, Sentence(", ".join(settings), lead="Its settings")] if settings else lines
