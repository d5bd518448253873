"""L = ((Nc / N)^(alpha_N / alpha_D) + Dc / D)^alpha_D: no floor, the two regimes share one bend.

Source: Kaplan et al. 2020 (arXiv 2001.08361), equation 1.5.
"""

from __future__ import annotations

import numpy as np

from mnist_scaling.fitting.laws.additive import balance
from mnist_scaling.fitting.laws.base import (
    Array,
    Law,
    Logs,
    Parameter,
    exponent_grid,
    exponent_parameter,
    linear_starts,
)


class Kaplan(Law):
    """((Nc/N)^(alpha_N/alpha_D) + Dc/D)^alpha_D."""

    name = "kaplan"
    formula = "((Nc / N)^(alpha_N / alpha_D) + Dc / D)^alpha_D"
    inputs = ("N", "D")
    source = "Kaplan et al. 2020, arXiv 2001.08361, eq. 1.5"
    parameters = (
        Parameter("Nc", "N at which the model term alone gives loss 1", "N", log=True),
        Parameter("Dc", "D at which the data term alone gives loss 1", "D", log=True),
        exponent_parameter("alpha_N", "exponent of N when data abound", 1e-3),
        exponent_parameter("alpha_D", "exponent of D when the model is large", 1e-3),
    )

    def evaluate(self, theta: Array, logs: Logs) -> tuple[Array, Array]:
        """See `Law.evaluate`."""
        log_nc, log_dc, a_n, a_d = (theta[:, k : k + 1] for k in range(4))
        ratio = a_n / a_d
        log_model = ratio * (log_nc - logs["N"])
        log_data = log_dc - logs["D"]
        log_sum = np.logaddexp(log_model, log_data)
        model = np.exp(log_model - log_sum)
        data = 1 - model
        gradient = np.empty((*theta.shape, len(logs["N"])))
        gradient[:, 0] = a_n * model
        gradient[:, 1] = a_d * data
        gradient[:, 2] = model * (log_nc - logs["N"])
        gradient[:, 3] = log_sum - model * log_model
        return a_d * log_sum, gradient

    def starts(self, logs: Logs, log_loss: Array) -> Array:
        """See `Law.starts`."""
        a_n, a_d = exponent_grid(np.geomspace(0.03, 1.5, 12), np.geomspace(0.03, 1.5, 12))
        ratio = a_n / a_d
        terms = [(ratio, logs["N"]), (np.ones_like(ratio), logs["D"])]
        solved = linear_starts(log_loss, terms, floor=False, squash=a_d)
        return np.column_stack([solved[:, 0] / ratio, solved[:, 1], a_n, a_d])

    def optimum(self, theta: Array, kappa_n: float, kappa_d: float) -> dict[str, Array] | None:
        """See `Law.optimum`."""
        ratio = theta[:, 2] / theta[:, 3]
        return balance(ratio * theta[:, 0], theta[:, 1], ratio, np.ones_like(ratio), kappa_n, kappa_d)


LAWS = (Kaplan(),)
