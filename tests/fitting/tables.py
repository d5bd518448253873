"""Tables with known answers, and the public ones where this machine has them."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pytest

from mnist_scaling.fitting import Table, get_law, make_table
from mnist_scaling.fitting.laws.base import Array

SHARED = Path(os.environ.get("MNIST_SCALING_SHARED_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))

ADDITIVE = {"E": 0.03, "A": 3.0, "B": 60.0, "alpha": 0.35, "beta": 0.6}
"""A truth like the project's: losses from 0.15 to 1.2 on its grid."""


def public(name: str) -> dict[str, list[str]]:
    """Columns of a public table; the test is skipped where it is absent."""
    path = SHARED / name
    if not path.is_file():
        pytest.skip(f"{path} is not here")
    with path.open() as file:
        rows = list(csv.DictReader(file))
    return {key: [row[key] for row in rows] for key in rows[0]}


def numbers(columns: dict[str, list[str]], key: str) -> Array:
    return np.array([float(v) if v else np.nan for v in columns[key]])


def design(widths: int = 5, fractions: int = 6) -> dict[str, Array]:
    """N, D and C like the project's: widths in sqrt2 steps, halved data, C not quite proportional to N D."""
    w = 8 * 2 ** (np.arange(widths) / 2)
    n, d = np.meshgrid(10 * w**2 + 100 * w, 50_000 / 2.0 ** np.arange(fractions))
    n, d = n.ravel(), d.ravel()
    return {"N": n, "D": d, "C": 6 * (n + 500 * np.sqrt(n)) * d}


def grid(
    law: str = "additive",
    values: dict[str, float] | None = None,
    noise: float = 0.0,
    repeats: int = 3,
    seed: int = 0,
    inputs: dict[str, Array] | None = None,
) -> Table:
    """A table whose losses obey a law, with log-normal noise of each repeat and its standard error."""
    inputs = design() if inputs is None else inputs
    found = get_law(law)
    loss = found.predict(values or ADDITIVE, **{k: inputs[k] for k in found.inputs})
    if not noise:
        return make_table(loss, inputs)
    runs = loss[:, None] * np.exp(noise * np.random.default_rng(seed).standard_normal((len(loss), repeats)))
    se = runs.std(axis=1, ddof=1) / np.sqrt(repeats)
    return make_table(runs.mean(axis=1), inputs, se, np.full(len(loss), float(repeats)))


def additive_optimum(values: dict[str, float], kappa_n: float = 1.0, kappa_d: float = 1.0) -> tuple[float, float]:
    """n0, n1 of log N* = n0 + n1 log c at kappa_n log N + kappa_d log D = log c, by Lagrange's condition."""
    alpha, beta = values["alpha"], values["beta"]
    gap = np.log(alpha * values["A"] / kappa_n) - np.log(beta * values["B"] / kappa_d)
    bottom = alpha * kappa_d + beta * kappa_n
    return float(kappa_d * gap / bottom), beta / bottom
