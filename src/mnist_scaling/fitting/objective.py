"""Sum over rows of w * huber_delta(log L - log f): the published loss of scaling-law fits, and its delta.

Source: Huber 1964 (Ann. Math. Statist. 35); used on log residuals by Hoffmann et al. 2022, section 3.3.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mnist_scaling.errors import InputError
from mnist_scaling.fitting.laws.base import Array

EFFICIENT = 1.345
"""delta / sigma at which Huber's estimator keeps 95 % of least squares' efficiency on normal noise."""

SMALLEST_DELTA = 1e-4
"""A table without noise has no scale to take delta from; below this every delta gives the same fit."""

LOSSES = ("huber", "squared", "absolute")


@dataclass(frozen=True)
class Delta:
    """The Huber threshold, in units of log loss, and where it comes from."""

    value: float
    reason: str


def huber(residual: Array, delta: float) -> Array:
    """r^2 / 2 inside delta, delta (|r| - delta / 2) outside; delta = inf is half the square."""
    size = np.abs(residual)
    if np.isinf(delta):
        return 0.5 * residual * residual
    return np.where(size <= delta, 0.5 * residual * residual, delta * (size - 0.5 * delta))


def robust_scale(residual: Array, lost: int = 0) -> float:
    """1.4826 * median |r|, with sqrt(n / (n - lost)) for the parameters that the residuals were fitted with."""
    n = residual.size
    freedom = np.sqrt(n / (n - lost)) if n > lost else 1.0
    return float(1.4826 * np.median(np.abs(residual)) * freedom)


def seed_noise(loss: Array, se: Array | None) -> float | None:
    """Pooled relative standard error of the rows, sqrt(mean (se / L)^2); None when no row has one.

    The standard error of a mean's logarithm is se / L to first order, so this is the scale of the
    residuals in log loss that the repeats alone explain.
    """
    if se is None:
        return None
    known = np.isfinite(se) & (se > 0)
    if known.sum() < 2:
        return None
    return float(np.sqrt(np.mean((se[known] / loss[known]) ** 2)))


def choose_delta(delta: float | str, residual: Array, lost: int, noise: float | None) -> Delta:
    """The threshold asked for, or 1.345 sigma with sigma from the table.

    Parameters
    ----------
    delta : float or "auto"
        A number is taken as it is; 1e-3 is the published convention.
    residual : array, shape (n,)
        Log residuals of a first, least-absolute-deviation-like fit.
    lost : int
        Parameters of that fit.
    noise : float or None
        `seed_noise` of the table.

    Raises
    ------
    InputError
        When `delta` is neither a positive number nor "auto".
    """
    if not isinstance(delta, str):
        if not delta > 0:
            raise InputError(f"`delta > 0` or `delta=auto` must hold, but got {delta:g}.")
        return Delta(float(delta), "given")
    if delta != "auto":
        raise InputError(f"`delta` must be a positive number or auto, but got {delta!r}.")
    spread = robust_scale(residual, lost)
    if noise is not None and noise >= spread:
        sigma, why = noise, "the repeats' standard errors"
    else:
        sigma, why = spread, "the robust scale of the residuals"
        if noise is not None:
            why += f", which exceeds the repeats' {noise:.2g}: the law misses by more than seed noise"
    if EFFICIENT * sigma < SMALLEST_DELTA:
        return Delta(SMALLEST_DELTA, f"the smallest there is, because the scale of the residuals is {sigma:.1g}")
    return Delta(EFFICIENT * sigma, f"{EFFICIENT} x {sigma:.3g} from {why}")


def weights_from(kind: str, loss: Array, se: Array | None) -> Array:
    """Weight of each row: 1, or inverse variance of log loss, scaled to a mean of 1.

    A row's own standard error of three repeats is itself off by half, so variances are shrunk half-way
    to their pooled value before they are inverted.

    Raises
    ------
    InputError
        When inverse variances are asked for and some row has no standard error.
    """
    if kind == "equal":
        return np.ones_like(loss)
    if kind != "inverse_variance":
        raise InputError(f"`weights` must be equal or inverse_variance, but got {kind!r}.")
    if se is None or not np.all(np.isfinite(se) & (se > 0)):
        raise InputError(
            "`weights=inverse_variance` needs a positive standard error in every row, but some rows have none: "
            "name the column with columns.se=…, or use weights=equal."
        )
    variance = (se / loss) ** 2
    shrunk = 0.5 * variance + 0.5 * variance.mean()
    return (1 / shrunk) / np.mean(1 / shrunk)
