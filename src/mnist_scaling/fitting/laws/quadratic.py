"""log L = c + n x + d z + n2 x^2 + nd x z + d2 z^2 with x = log N, z = log D: any smooth bend, and no idea behind it.

It is no law: it predicts nothing beyond the rows, and it has no floor. It says how well some smooth surface fits the
rows; where it fits better than every law, no law is right (a test of fit that needs no repeats; Box & Wilson 1951 for
the surface itself).
"""

from __future__ import annotations

import numpy as np

from mnist_scaling.fitting.laws.base import Array, Law, Logs, Parameter


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


LAWS = (Quadratic(),)
