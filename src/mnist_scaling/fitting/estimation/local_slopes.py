"""-d log L / d log x of a law at one point: an exponent that laws of any form have in common."""

from __future__ import annotations

import numpy as np

from mnist_scaling.fitting.laws.base import Array, Law, Logs

STEP = 1e-4
"""Half of the distance in log x of the central difference."""


def largest(logs: Logs) -> dict[str, float]:
    """The corner of the largest of every input."""
    return {name: float(x.max()) for name, x in logs.items()}


def middle(logs: Logs) -> dict[str, float]:
    """The geometric middle of every input's range."""
    return {name: float((x.max() + x.min()) / 2) for name, x in logs.items()}


def local_slope(law: Law, thetas: Array, at: dict[str, float], variable: str) -> Array:
    """-d log L / d log x at a point, by central difference.

    Parameters
    ----------
    law : Law
    thetas : array, shape (batch, p)
        NaN rows give NaN.
    at : dict of str to float
        Logarithm of every input of the law.
    variable : str
        The input x.

    Returns
    -------
    array, shape (batch,)
    """
    out = np.full(len(thetas), np.nan)
    valid = np.isfinite(thetas).all(axis=1)
    if not valid.any():
        return out
    ends = [
        law.evaluate(thetas[valid], {name: np.array([x + h * (name == variable)]) for name, x in at.items()})[0][:, 0]
        for h in (-STEP, STEP)
    ]
    out[valid] = (ends[0] - ends[1]) / (2 * STEP)
    return out
