"""L = E + A / N^alpha + B / D^beta: model and data each leave their own share of the loss.

Source: Hoffmann et al. 2022 (arXiv 2203.15556), equation 2.
"""

from __future__ import annotations

import numpy as np

from mnist_scaling.fitting.laws.base import (
    Array,
    Law,
    Logs,
    Parameter,
    exponent_grid,
    exponent_parameter,
    floor_parameter,
    linear_starts,
    power,
)

SCALES_AND_EXPONENTS = (
    Parameter("A", "model term at N = 1", "loss * N^alpha", log=True),
    Parameter("B", "data term at D = 1", "loss * D^beta", log=True),
    exponent_parameter("alpha", "exponent of N in the model term"),
    exponent_parameter("beta", "exponent of D in the data term"),
)


def balance(log_a: Array, log_b: Array, alpha: Array, beta: Array, kappa_n: float, kappa_d: float) -> dict[str, Array]:
    """Least A/N^alpha + B/D^beta on kappa_n log N + kappa_d log D = log c, by Lagrange's condition.

    alpha A N^-alpha / kappa_n = beta B D^-beta / kappa_d, so log N* is linear in log c.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        bottom = alpha * kappa_d + beta * kappa_n
        gap = np.log(alpha / kappa_n) + log_a - np.log(beta / kappa_d) - log_b
        n1, n0 = beta / bottom, kappa_d * gap / bottom
    n1 = np.where((alpha > 0) & (beta > 0), n1, np.nan)
    return {"n0": n0, "n1": n1}


class Additive(Law):
    """E + A/N^alpha + B/D^beta."""

    name = "additive"
    formula = "E + A / N^alpha + B / D^beta"
    inputs = ("N", "D")
    source = "Hoffmann et al. 2022, arXiv 2203.15556, eq. 2"
    levels = 3
    parameters = (floor_parameter(), *SCALES_AND_EXPONENTS)

    def evaluate(self, theta: Array, logs: Logs) -> tuple[Array, Array]:
        """See `Law.evaluate`."""
        model = power(theta[:, 1], theta[:, 3], logs["N"])
        data = power(theta[:, 2], theta[:, 4], logs["D"])
        loss = theta[:, :1] + model + data
        gradient = np.empty((*theta.shape, model.shape[1]))
        gradient[:, 0] = 1 / loss
        np.multiply(model, gradient[:, 0], out=gradient[:, 1])
        np.multiply(data, gradient[:, 0], out=gradient[:, 2])
        np.multiply(gradient[:, 1], -logs["N"], out=gradient[:, 3])
        np.multiply(gradient[:, 2], -logs["D"], out=gradient[:, 4])
        return np.log(loss), gradient

    def starts(self, logs: Logs, log_loss: Array) -> Array:
        """See `Law.starts`."""
        alpha, beta = exponent_grid(np.geomspace(0.05, 2.0, 14), np.geomspace(0.05, 2.0, 14))
        solved = linear_starts(log_loss, [(alpha, logs["N"]), (beta, logs["D"])], floor=True)
        return np.column_stack([solved[:, 2], solved[:, 0], solved[:, 1], alpha, beta])

    def optimum(self, theta: Array, kappa_n: float, kappa_d: float) -> dict[str, Array] | None:
        """See `Law.optimum`."""
        return balance(theta[:, 1], theta[:, 2], theta[:, 3], theta[:, 4], kappa_n, kappa_d)


LAWS = (Additive(),)
