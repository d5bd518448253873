"""The fits as rows: exponents by law and by method, joint laws' residuals, parameters."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from mnist_scaling.reporting.documents.fits_json import LawRecord
from mnist_scaling.reporting.documents.loading import Study
from mnist_scaling.reporting.prepare import Missing

MOST_LAWS = 6

MOST_LEVELS = 20
"""Rows or columns of a map of residuals that can still be read."""


def fitted(study: Study) -> dict[str, LawRecord]:
    """Laws with numbers, by name; those that were refused are left out."""
    return {k: law for k, law in study.fits.laws.items() if law.fitted}


@dataclass(frozen=True)
class Exponents:
    """Estimates of the same exponent by different laws and methods."""

    groups: dict[str, pd.DataFrame]
    """By title; columns label, value, low, high, kind (one-variable law, joint law, method)."""
    note: str


def exponents(study: Study) -> Exponents | Missing:
    """-d log L / d log N and D by law at the largest cell, and d log L / d log C by frontier method."""
    groups = {}
    for variable in ("N", "D"):
        rows = [
            {
                "label": name.replace("_", " "),
                **vars(slope),
                "kind": "joint law" if law.is_joint else "one-variable law",
            }
            for name, law in fitted(study).items()
            if (slope := law.slopes.get(variable)) and slope.known
        ]
        if rows:
            title = f"$-\\partial\\ln L/\\partial\\ln {variable}$ at the largest cell"
            groups[title] = pd.DataFrame(rows).sort_values("kind", ascending=False, kind="stable")
    methods = [
        {"label": name, **vars(-found.loss_exponent), "kind": "frontier"}
        for name, found in study.fits.frontier.items()
        if found.loss_exponent.known
    ]
    if methods:
        groups["$-\\mathrm{d}\\ln L/\\mathrm{d}\\ln C$ on the frontier"] = pd.DataFrame(methods)
    if not groups:
        return Missing("No law and no frontier method gave an exponent.")
    return Exponents(groups, "")


@dataclass(frozen=True)
class Residuals:
    """ln(measured / fitted) of joint laws over the grid."""

    laws: dict[str, pd.DataFrame]
    """By name: rows are N from largest to smallest, columns D from smallest to largest, NaN where no cell is."""
    rmse: dict[str, float]
    noise: float
    """Typical standard error of a cell's log loss, from the repeats; NaN where there is none."""
    note: str


def residuals(study: Study) -> Residuals | Missing:
    """Where each joint law misses, best by AICc first."""
    joint = {k: law for k, law in fitted(study).items() if law.is_joint and law.residuals}
    if not joint:
        return Missing(
            "No joint law in N and D was fitted: it needs a grid in which both vary, with more cells than parameters."
        )
    sizes = study.cells[["N", "D"]]
    if sizes.nunique().max() > MOST_LEVELS or sizes.duplicated().any():
        return Missing(
            f"The cells form no grid of at most {MOST_LEVELS} levels with one cell at each N and D: see the residuals "
            "in fits.json."
        )
    # A floor that ended at zero leaves the law without one: the same map twice.
    twice = [k for k, law in joint.items() if k.endswith("_floor") and _without_floor(law) and k[:-6] in joint]
    joint = {k: law for k, law in joint.items() if k not in twice}
    ordered = sorted(joint, key=lambda k: float(np.nan_to_num(joint[k].aicc, nan=np.inf)))
    laws = {name: _grid(study, joint[name]) for name in ordered[:MOST_LAWS]}
    relative = study.cells["se"] / study.cells["loss"]
    rmse = {name: joint[name].rmse_log for name in laws}
    noise = float((relative**2).mean() ** 0.5)
    note = f"Repeats say that seeds move a cell's mean by about {100 * noise:.1f} %." if noise == noise else ""
    return Residuals(laws, rmse, noise, note)


def _without_floor(law: LawRecord) -> bool:
    return "E" in law.params and law.params["E"].value == 0


def _grid(study: Study, law: LawRecord) -> pd.DataFrame:
    rows = pd.Series({one.row: one.residual for one in law.residuals or ()})
    cells = study.cells.loc[rows.index]
    long = pd.DataFrame({"N": cells["N"], "D": cells["D"], "residual": rows})
    return long.pivot_table(index="N", columns="D", values="residual").sort_index(ascending=False)
