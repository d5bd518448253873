"""L = E + A x^-alpha (1 + (x / x0)^(1 / f))^(-c f): a power law whose exponent passes from alpha to alpha + c.

f is the width of the passage in log x. Source: Caballero et al. 2022 (arXiv 2210.14891), equation 1, one break.
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
)
from mnist_scaling.fitting.laws.power import SYMBOLS


class BrokenPowerLaw(Law):
    """E + A x^-alpha (1 + (x/x0)^(1/f))^(-c f)."""

    source = "Caballero et al. 2022, arXiv 2210.14891, eq. 1 with one break"
    levels = 6
    default = False

    def __init__(self, variable: str) -> None:
        scale, exponent = SYMBOLS[variable]
        self.name = f"broken_{variable}"
        self.nests = (f"power_{variable}", f"power_{variable}_floor")
        self.formula = f"E + {scale} {variable}^-{exponent} (1 + ({variable} / x0)^(1 / f))^(-c f)"
        self.inputs = (variable,)
        self.parameters = (
            floor_parameter(),
            Parameter(
                scale, f"reducible loss at {variable} = 1 before the break", f"loss * {variable}^{exponent}", log=True
            ),
            exponent_parameter(exponent, f"exponent of {variable} before the break", -10.0),
            exponent_parameter("c", "change of the exponent at the break", -10.0),
            Parameter("x0", f"{variable} at the break", variable, log=True),
            Parameter("f", "width of the break in log units", "1", 0.05, 5.0),
        )

    def evaluate(self, theta: Array, logs: Logs) -> tuple[Array, Array]:
        """See `Law.evaluate`."""
        x = logs[self.inputs[0]]
        floor, log_a, alpha, change, log_x0, width = (theta[:, k : k + 1] for k in range(6))
        ratio = (x - log_x0) / width
        soft = np.logaddexp(0.0, ratio)
        past = np.exp(ratio - soft)
        term = np.exp(np.clip(log_a - alpha * x - change * width * soft, -300, 300))
        loss = floor + term
        share = term / loss
        gradient = np.empty((*theta.shape, len(x)))
        gradient[:, 0] = 1 / loss
        gradient[:, 1] = share
        gradient[:, 2] = -share * x
        gradient[:, 3] = -share * width * soft
        gradient[:, 4] = share * change * past
        gradient[:, 5] = -share * change * (soft - ratio * past)
        return np.log(loss), gradient

    def starts(self, logs: Logs, log_loss: Array) -> Array:
        """See `Law.starts`."""
        x = logs[self.inputs[0]]
        where, width, floor = exponent_grid(
            np.quantile(x, [0.2, 0.35, 0.5, 0.65, 0.8]),
            [0.1, 0.5, 1.5],
            np.exp(log_loss.min()) * np.array([0, 0.4, 0.8]),
        )
        out = []
        for x0, f, e in zip(where, width, floor, strict=True):
            design = np.column_stack([np.ones_like(x), -x, -f * np.logaddexp(0.0, (x - x0) / f)])
            solved = np.linalg.lstsq(design, np.log(np.exp(log_loss) - e), rcond=None)[0]
            out.append([e, *solved, x0, f])
        return np.array(out)


LAWS = tuple(BrokenPowerLaw(v) for v in ("N", "D", "C"))
