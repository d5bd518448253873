"""What is minimised: sum_i w_i huber_delta(y_i - log f_i(theta)), for one set of rows or for a batch of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_scaling.fitting.laws.base import Array, Law, Logs


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
