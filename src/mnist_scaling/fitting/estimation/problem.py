"""What is minimised: sum_i w_i huber_delta(y_i - log f_i(theta)), for one set of rows or for a batch; and delta.

Source: Huber 1964 (Ann. Math. Statist. 35); used on log residuals by Hoffmann et al. 2022, section 3.3.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mnist_scaling.errors import InputError
from mnist_scaling.fitting.estimation.variance import pool
from mnist_scaling.fitting.laws.base import Array, Law, Logs

if TYPE_CHECKING:
    from mnist_scaling.fitting.uncertainty.noise import SeedNoise


@dataclass(frozen=True)
class Problem:
    """A law and the rows that it is fitted to, as every estimator takes them."""

    law: Law
    logs: Logs
    """Logarithms of the law's inputs, shape (n,) each."""
    y: Array
    """Logarithms of the losses, shape (n,), or (batch, n) where the members of a batch differ in them."""
    weights: NDArray[Any] = None  # type: ignore[assignment]
    """Non-negative weights of the rows, such as a resampled row's count, shape (n,) or (batch, n); 1 when left out."""
    delta: float = np.inf
    """Huber's threshold in log loss; inf for least squares."""

    def __post_init__(self) -> None:
        if self.weights is None:
            object.__setattr__(self, "weights", np.ones(self.y.shape[-1]))

    @property
    def n(self) -> int:
        """Number of rows."""
        return int(self.y.shape[-1])

    def rows(self, index: np.ndarray) -> Problem:
        """The same law on these rows of a problem that is no batch."""
        return replace(
            self, logs={k: v[index] for k, v in self.logs.items()}, y=self.y[index], weights=self.weights[index]
        )

    def members(self, index: np.ndarray | slice) -> Problem:
        """These members of a batch; what has shape (n,) belongs to all of them."""
        y, weights = (a if a.ndim == 1 else a[index] for a in (self.y, self.weights))
        return replace(self, y=y, weights=weights)

    def batch(self, size: int) -> Problem:
        """A batch of this size whose members all have losses and weights of their own, shape (size, n)."""
        shape = (size, self.n)
        weights = np.broadcast_to(np.asarray(self.weights, float), shape)
        return replace(self, y=np.broadcast_to(self.y, shape), weights=weights)

    def residual(self, theta: Array) -> Array:
        """log L - log f for parameters of shape (batch, p): shape (batch, n)."""
        return self.y - self.law.evaluate(theta, self.logs)[0]


EFFICIENT = 1.345
"""delta / sigma at which Huber's estimator keeps 95 % of least squares' efficiency on normal noise."""

SMALLEST_DELTA = 1e-4
"""A table without noise has no scale to take delta from; below this every delta gives the same fit."""

MEDIAN_DOF = 0.37
"""A median of n residuals is as uncertain as a root mean square of 0.37 n."""

LOSSES = ("huber", "squared", "absolute")


@dataclass(frozen=True)
class Delta:
    """The Huber threshold, in units of log loss, and where it comes from."""

    value: float
    reason: str


def huber(residual: Array, delta: float) -> Array:
    """r^2 / 2 inside delta, delta (|r| - delta / 2) outside; delta = inf is half the square."""
    clipped = residual if np.isinf(delta) else np.clip(residual, -delta, delta)
    return clipped * (residual - 0.5 * clipped)


def robust_scale(residual: Array, parameters: int = 0) -> float:
    """1.4826 * median |r|, with sqrt(n / (n - parameters)) for the parameters that the residuals were fitted with."""
    n = residual.size
    correction = np.sqrt(n / (n - parameters)) if n > parameters else 1.0
    return float(1.4826 * np.median(np.abs(residual)) * correction)


def absolute_scale(residual: Array, parameters: int) -> float:
    """1.4826 * the median of the n - parameters largest |r|: least absolute deviations pass through the other rows.

    Source: Hill & Holland 1977 (J. Amer. Statist. Assoc. 72), section 2.
    """
    size = np.sort(np.abs(residual))
    return float(1.4826 * np.median(size[min(parameters, len(size) - 1) :]))


def choose_delta(delta: float | str, residual: Array, parameters: int, seeds: SeedNoise | None) -> Delta:
    """The threshold asked for, such as the published 1e-3, or for "auto" 1.345 sigma with sigma from the table.

    sigma^2 is the robust variance of a first fit's log residuals, of so many free parameters, pooled with the repeats'
    where an F test does not tell the two apart. That fit is near one of least absolute deviations.
    """
    if not isinstance(delta, str):
        if not delta > 0:
            raise InputError(f"`delta > 0` or `delta=auto` must hold, but got {delta:g}.")
        return Delta(float(delta), "given")
    if delta != "auto":
        raise InputError(f"`delta` must be a positive number or auto, but got {delta!r}.")
    spread = absolute_scale(residual, parameters)
    sigma, why = spread, "the robust scale of the residuals"
    if seeds is not None:
        dof = MEDIAN_DOF * (len(residual) - parameters)
        pooled, together, ratio, _ = pool(spread**2, dof, seeds.scale**2, seeds.dof)
        if together > dof:
            sigma, why = float(np.sqrt(pooled)), "the residuals' robust scale and the repeats' standard errors, pooled"
        elif ratio > 1:
            why += f", which exceeds the repeats' {seeds.scale:.2g}: the law misses by more than seed noise"
        else:
            why += f", which is far below the repeats' {seeds.scale:.2g}"
    if EFFICIENT * sigma < SMALLEST_DELTA:
        return Delta(SMALLEST_DELTA, f"the smallest there is, because the scale of the residuals is {sigma:.1g}")
    return Delta(EFFICIENT * sigma, f"{EFFICIENT} x {sigma:.3g} from {why}")
