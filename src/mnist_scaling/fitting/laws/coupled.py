"""L = E + (A / N^alpha + B / D^beta)^gamma: gamma < 1 bends the corner between the two regimes.

gamma = 1 is the additive law; with alpha = alpha_N / alpha_D, beta = 1 and gamma = alpha_D it is Kaplan's, on top of a
floor. The product form is its limit for gamma to infinity only, which no gamma in the bounds comes near. Source: the
common generalisation of these; see Caballero et al. 2022, arXiv 2210.14891, for why a smooth corner is wanted.
"""

from __future__ import annotations

import numpy as np

from mnist_scaling.fitting.laws.additive import SCALES_AND_EXPONENTS, balance
from mnist_scaling.fitting.laws.base import (
    Array,
    Law,
    Logs,
    Parameter,
    exponent_grid,
    floor_parameter,
    linear_starts,
    power,
)


class Coupled(Law):
    """E + (A/N^alpha + B/D^beta)^gamma."""

    name = "coupled"
    formula = "E + (A / N^alpha + B / D^beta)^gamma"
    inputs = ("N", "D")
    source = "between Kaplan et al. 2020, eq. 1.5, and Hoffmann et al. 2022, eq. 2"
    levels = 3
    nests = ("additive", "kaplan", "kaplan_floor")
    parameters = (
        floor_parameter(),
        *SCALES_AND_EXPONENTS,
        Parameter("gamma", "bend of the corner: 1 adds the terms", "1", 0.02, 20.0),
    )

    def evaluate(self, theta: Array, logs: Logs) -> tuple[Array, Array]:
        """See `Law.evaluate`."""
        gamma = theta[:, 5:6]
        model = power(theta[:, 1], theta[:, 3], logs["N"])
        data = power(theta[:, 2], theta[:, 4], logs["D"])
        inner = model + data
        log_inner = np.log(inner)
        outer = np.exp(np.clip(gamma * log_inner, -300, 300))
        loss = theta[:, :1] + outer
        share = gamma * outer / (loss * inner)
        gradient = np.empty((*theta.shape, model.shape[1]))
        gradient[:, 0] = 1 / loss
        gradient[:, 1] = share * model
        gradient[:, 2] = share * data
        gradient[:, 3] = -logs["N"] * gradient[:, 1]
        gradient[:, 4] = -logs["D"] * gradient[:, 2]
        gradient[:, 5] = outer * log_inner / loss
        return np.log(loss), gradient

    def starts(self, logs: Logs, log_loss: Array) -> Array:
        """See `Law.starts`."""
        alpha, beta, gamma, floor = exponent_grid(
            np.geomspace(0.1, 3.0, 8), np.geomspace(0.1, 3.0, 8), [0.3, 0.6, 1.0, 1.6], [0.0, 0.4, 0.8]
        )
        out = np.empty((len(alpha), 6))
        for level in np.unique(floor):
            rows = floor == level
            e = level * np.exp(log_loss.min())
            terms = [(alpha[rows], logs["N"]), (beta[rows], logs["D"])]
            solved = linear_starts(np.log(np.exp(log_loss) - e), terms, floor=False, squash=gamma[rows])
            out[rows] = np.column_stack([np.full(rows.sum(), e), solved, alpha[rows], beta[rows], gamma[rows]])
        return out

    def optimum(self, theta: Array, kappa_n: float, kappa_d: float) -> dict[str, Array] | None:
        """See `Law.optimum`."""
        return balance(theta[:, 1], theta[:, 2], theta[:, 3], theta[:, 4], kappa_n, kappa_d)


LAWS = (Coupled(),)
