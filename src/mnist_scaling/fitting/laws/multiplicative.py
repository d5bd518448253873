"""L = A N^-alpha D^-beta, and the same on top of a floor: more data helps every model alike.

At fixed C the loss changes by one power of N alone, so there is no interior optimum: the law has no
compute-efficient frontier of its own.
"""

from __future__ import annotations

import numpy as np

from mnist_scaling.fitting.laws.base import (
    Array,
    Law,
    Logs,
    Parameter,
    exponent_parameter,
    floor_parameter,
)

POWERS = (
    Parameter("A", "reducible loss at N = D = 1", "loss * N^alpha * D^beta", log=True),
    exponent_parameter("alpha", "exponent of N", -10.0),
    exponent_parameter("beta", "exponent of D", -10.0),
)


def plane(logs: Logs, y: Array) -> Array:
    """Least squares y ~ log A - alpha log N - beta log D: (log A, alpha, beta)."""
    design = np.column_stack([np.ones_like(y), -logs["N"], -logs["D"]])
    return np.asarray(np.linalg.lstsq(design, y, rcond=None)[0], float)


class Multiplicative(Law):
    """A * N^-alpha * D^-beta: a plane in logs."""

    name = "multiplicative"
    formula = "A * N^-alpha * D^-beta"
    inputs = ("N", "D")
    source = "the product form; see Michaud et al. 2023, arXiv 2303.13506, for when the sum replaces it"
    parameters = POWERS

    def evaluate(self, theta: Array, logs: Logs) -> tuple[Array, Array]:
        """See `Law.evaluate`."""
        gradient = np.empty((*theta.shape, len(logs["N"])))
        gradient[:, 0], gradient[:, 1], gradient[:, 2] = 1.0, -logs["N"], -logs["D"]
        return theta[:, :1] - theta[:, 1:2] * logs["N"] - theta[:, 2:3] * logs["D"], gradient

    def starts(self, logs: Logs, log_loss: Array) -> Array:
        """See `Law.starts`."""
        return plane(logs, log_loss)[None]


class MultiplicativeFloor(Law):
    """E + A * N^-alpha * D^-beta."""

    name = "multiplicative_floor"
    formula = "E + A * N^-alpha * D^-beta"
    nests = ("multiplicative",)
    inputs = ("N", "D")
    source = Multiplicative.source
    parameters = (floor_parameter(), *POWERS)

    def evaluate(self, theta: Array, logs: Logs) -> tuple[Array, Array]:
        """See `Law.evaluate`."""
        exponent = theta[:, 1:2] - theta[:, 2:3] * logs["N"] - theta[:, 3:4] * logs["D"]
        term = np.exp(np.clip(exponent, -300, 300))
        loss = theta[:, :1] + term
        gradient = np.empty((*theta.shape, len(logs["N"])))
        gradient[:, 0] = 1 / loss
        gradient[:, 1] = term / loss
        gradient[:, 2] = -logs["N"] * gradient[:, 1]
        gradient[:, 3] = -logs["D"] * gradient[:, 1]
        return np.log(loss), gradient

    def starts(self, logs: Logs, log_loss: Array) -> Array:
        """See `Law.starts`."""
        floors = np.exp(log_loss.min()) * np.array([0.0, 0.1, 0.3, 0.5, 0.7, 0.85, 0.95])
        return np.array([[e, *plane(logs, np.log(np.exp(log_loss) - e))] for e in floors])


LAWS = (Multiplicative(), MultiplicativeFloor())
