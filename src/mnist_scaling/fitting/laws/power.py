"""Power laws: L = A x^-alpha; L = E + A x^-alpha; and the product of two, A N^-alpha D^-beta (+ E), a plane in logs.

The product says that more data helps every model alike. At fixed C its loss changes by one power of N alone, so there
is no interior optimum: the law has no compute-efficient frontier of its own.

Source: Kaplan et al. 2020 (arXiv 2001.08361), equations 1.1 to 1.3; with a floor, Henighan et al. 2020 (arXiv
2010.14701), equation 1.1.
"""

from __future__ import annotations

import numpy as np

from mnist_scaling.fitting.laws.base import (
    LARGEST_EXPONENT,
    Array,
    Law,
    Logs,
    OnFloor,
    Parameter,
    exponent_grid,
    exponent_parameter,
    floor_parameter,
    linear_starts,
)

SYMBOLS = {"N": ("A", "alpha"), "D": ("B", "beta"), "C": ("A", "gamma")}
"""What the scale and the exponent of each variable are called."""

VARIABLE_OF = {exponent: variable for variable, (_, exponent) in SYMBOLS.items()}


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
        x = logs[self.inputs[0]]
        gradient = np.empty((*theta.shape, len(x)))
        gradient[:, 0] = 1.0
        gradient[:, 1] = -x
        return theta[:, :1] - theta[:, 1:] * x, gradient

    def starts(self, logs: Logs, log_loss: Array) -> Array:
        x = logs[self.inputs[0]]
        slope = np.polyfit(x - x.mean(), log_loss, 1)[0] if np.ptp(x) > 0 else 0.0
        return np.array([[log_loss.mean() - slope * x.mean(), -slope]])


class PowerLawFloor(OnFloor):
    """L = E + A / x^alpha."""

    limit = LARGEST_EXPONENT

    def __init__(self, variable: str) -> None:
        super().__init__(PowerLaw(variable), "Henighan et al. 2020, arXiv 2010.14701, eq. 1.1", levels=3)
        scale, exponent = SYMBOLS[variable]
        self.parameters = (
            floor_parameter(),
            Parameter(scale, f"reducible loss at {variable} = 1", f"loss * {variable}^{exponent}", log=True),
            exponent_parameter(exponent, f"exponent of {variable} in the reducible loss"),
        )

    def starts(self, logs: Logs, log_loss: Array) -> Array:
        (a,) = exponent_grid(np.geomspace(0.02, 3.0, 40))
        solved = linear_starts(log_loss, [(a, logs[self.inputs[0]])], floor=True)
        return np.column_stack([solved[:, 1], solved[:, 0], a])


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
        gradient = np.empty((*theta.shape, len(logs["N"])))
        gradient[:, 0], gradient[:, 1], gradient[:, 2] = 1.0, -logs["N"], -logs["D"]
        return theta[:, :1] - theta[:, 1:2] * logs["N"] - theta[:, 2:3] * logs["D"], gradient

    def starts(self, logs: Logs, log_loss: Array) -> Array:
        design = np.column_stack([np.ones_like(log_loss), -logs["N"], -logs["D"]])
        return np.asarray(np.linalg.lstsq(design, log_loss, rcond=None)[0][None], float)


_PLANE = Multiplicative()

LAWS = (
    *(law(v) for v in ("N", "D", "C") for law in (PowerLaw, PowerLawFloor)),
    _PLANE,
    OnFloor(_PLANE, _PLANE.source, (0.0, 0.1, 0.3, 0.5, 0.7, 0.85, 0.95)),
)
