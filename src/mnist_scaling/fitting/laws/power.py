"""One variable: L = A x^-alpha, and L = E + A x^-alpha with a floor.

Source: Kaplan et al. 2020 (arXiv 2001.08361), equations 1.1 to 1.3; with a floor, Henighan et al.
2020 (arXiv 2010.14701), equation 1.1.
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

SYMBOLS = {"N": ("A", "alpha"), "D": ("B", "beta"), "C": ("A", "gamma")}


class PowerLaw(Law):
    """L = A / x^alpha: a straight line in logs, so squared loss makes it ordinary least squares."""

    source = "Kaplan et al. 2020, arXiv 2001.08361, eqs. 1.1-1.3"

    def __init__(self, variable: str) -> None:
        scale, exponent = SYMBOLS[variable]
        self.name = f"power_{variable}"
        self.formula = f"{scale} / {variable}^{exponent}"
        self.inputs = (variable,)
        self.parameters = (
            Parameter(scale, f"loss at {variable} = 1", f"loss * {variable}^{exponent}", log=True),
            # Not bounded at zero: a loss that rises is a fact to show, not to hide behind a bound.
            exponent_parameter(exponent, f"exponent of {variable}", -10.0),
        )

    def evaluate(self, theta: Array, logs: Logs) -> tuple[Array, Array]:
        """See `Law.evaluate`."""
        x = logs[self.inputs[0]]
        gradient = np.empty((*theta.shape, len(x)))
        gradient[:, 0] = 1.0
        gradient[:, 1] = -x
        return theta[:, :1] - theta[:, 1:] * x, gradient

    def starts(self, logs: Logs, log_loss: Array) -> Array:
        """See `Law.starts`."""
        x = logs[self.inputs[0]]
        slope = np.polyfit(x - x.mean(), log_loss, 1)[0] if np.ptp(x) > 0 else 0.0
        return np.array([[log_loss.mean() - slope * x.mean(), -slope]])


class PowerLawFloor(Law):
    """L = E + A / x^alpha."""

    source = "Henighan et al. 2020, arXiv 2010.14701, eq. 1.1"
    levels = 3

    def __init__(self, variable: str) -> None:
        scale, exponent = SYMBOLS[variable]
        self.name = f"power_{variable}_floor"
        self.nests = (f"power_{variable}",)
        self.formula = f"E + {scale} / {variable}^{exponent}"
        self.inputs = (variable,)
        self.parameters = (
            floor_parameter(),
            Parameter(scale, f"reducible loss at {variable} = 1", f"loss * {variable}^{exponent}", log=True),
            exponent_parameter(exponent, f"exponent of {variable} in the reducible loss"),
        )

    def evaluate(self, theta: Array, logs: Logs) -> tuple[Array, Array]:
        """See `Law.evaluate`."""
        x = logs[self.inputs[0]]
        term = power(theta[:, 1], theta[:, 2], x)
        loss = theta[:, :1] + term
        gradient = np.empty((*theta.shape, len(x)))
        gradient[:, 0] = 1 / loss
        gradient[:, 1] = term / loss
        gradient[:, 2] = -x * gradient[:, 1]
        return np.log(loss), gradient

    def starts(self, logs: Logs, log_loss: Array) -> Array:
        """See `Law.starts`."""
        (a,) = exponent_grid(np.geomspace(0.02, 3.0, 40))
        solved = linear_starts(log_loss, [(a, logs[self.inputs[0]])], floor=True)
        return np.column_stack([solved[:, 1], solved[:, 0], a])


LAWS = tuple(law(v) for v in ("N", "D", "C") for law in (PowerLaw, PowerLawFloor))
