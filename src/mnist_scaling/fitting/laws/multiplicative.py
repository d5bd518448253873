"""Surfaces in logs: the plane L = A N^-alpha D^-beta, the same on top of a floor, and a quadratic one that is no law.

The plane says that more data helps every model alike. At fixed C its loss changes by one power of N alone, so there is
no interior optimum: the law has no compute-efficient frontier of its own.

The quadratic surface, log L = c + n x + d z + n2 x^2 + nd x z + d2 z^2 with x = log N and z = log D, is any smooth bend
and no idea behind it: it predicts nothing beyond the rows, and it has no floor. It says how well some smooth surface
fits the rows; where it fits better than every law, no law is right (a test of fit that needs no repeats; Box & Wilson
1951 for the surface itself).
"""

from __future__ import annotations

import numpy as np

from mnist_scaling.fitting.laws.base import Array, Law, Logs, OnFloor, Parameter, exponent_parameter


class Multiplicative(Law):
    """A * N^-alpha * D^-beta: a plane in logs."""

    name = "multiplicative"
    formula = "A * N^-alpha * D^-beta"
    inputs = ("N", "D")
    source = "the product form; see Michaud et al. 2023, arXiv 2303.13506, for when the sum replaces it"
    parameters = (
        Parameter("A", "reducible loss at N = D = 1", "loss * N^alpha * D^beta", log=True),
        exponent_parameter("alpha", "exponent of N", -10.0),
        exponent_parameter("beta", "exponent of D", -10.0),
    )

    def evaluate(self, theta: Array, logs: Logs) -> tuple[Array, Array]:
        """See `Law.evaluate`."""
        gradient = np.empty((*theta.shape, len(logs["N"])))
        gradient[:, 0], gradient[:, 1], gradient[:, 2] = 1.0, -logs["N"], -logs["D"]
        return theta[:, :1] - theta[:, 1:2] * logs["N"] - theta[:, 2:3] * logs["D"], gradient

    def starts(self, logs: Logs, log_loss: Array) -> Array:
        """See `Law.starts`."""
        design = np.column_stack([np.ones_like(log_loss), -logs["N"], -logs["D"]])
        return np.asarray(np.linalg.lstsq(design, log_loss, rcond=None)[0][None], float)


class Quadratic(Law):
    """c + n log N + d log D + n2 log^2 N + nd log N log D + d2 log^2 D, of log L."""

    name = "quadratic"
    formula = "exp(c + n log N + d log D + n2 log(N)^2 + nd log(N) log(D) + d2 log(D)^2)"
    inputs = ("N", "D")
    source = "a second-order response surface, Box & Wilson 1951, J. R. Stat. Soc. B 13"
    levels = 3
    empirical = True
    nests = ("multiplicative",)
    parameters = tuple(
        Parameter(name, meaning, unit, -np.inf, np.inf)
        for name, meaning, unit in (
            ("c", "log loss at N = D = 1", "log loss"),
            ("n", "slope in log N there", "log loss"),
            ("d", "slope in log D there", "log loss"),
            ("n2", "curvature in log N", "log loss"),
            ("nd", "how the slope in one changes with the other", "log loss"),
            ("d2", "curvature in log D", "log loss"),
        )
    )

    def evaluate(self, theta: Array, logs: Logs) -> tuple[Array, Array]:
        """See `Law.evaluate`."""
        terms = _terms(logs)
        return theta @ terms, np.repeat(terms[None], len(theta), axis=0)

    def starts(self, logs: Logs, log_loss: Array) -> Array:
        """See `Law.starts`: least squares, which is the optimum but for outliers."""
        return np.asarray(np.linalg.lstsq(_terms(logs).T, log_loss, rcond=None)[0][None], float)


def _terms(logs: Logs) -> Array:
    """The six terms, shape (6, n)."""
    x, z = logs["N"], logs["D"]
    return np.stack([np.ones_like(x), x, z, x * x, x * z, z * z])


_PLANE = Multiplicative()

LAWS = (_PLANE, OnFloor(_PLANE, _PLANE.source, (0.0, 0.1, 0.3, 0.5, 0.7, 0.85, 0.95)), Quadratic())
