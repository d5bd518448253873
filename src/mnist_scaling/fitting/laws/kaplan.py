"""L = ((Nc / N)^(alpha_N / alpha_D) + Dc / D)^alpha_D: the two regimes share one bend; and the same on top of a floor.

Source: Kaplan et al. 2020 (arXiv 2001.08361), equation 1.5, which has no floor.
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
    floor_parameter,
    linear_starts,
    log_add,
)

BENDS = (
    Parameter("Nc", "N at which the model term alone gives loss 1", "N", log=True),
    Parameter("Dc", "D at which the data term alone gives loss 1", "D", log=True),
    exponent_parameter("alpha_N", "exponent of N when data abound", 1e-3),
    exponent_parameter("alpha_D", "exponent of D when the model is large", 1e-3),
)


class Kaplan(Law):
    """((Nc/N)^(alpha_N/alpha_D) + Dc/D)^alpha_D."""

    name = "kaplan"
    formula = "((Nc / N)^(alpha_N / alpha_D) + Dc / D)^alpha_D"
    inputs = ("N", "D")
    source = "Kaplan et al. 2020, arXiv 2001.08361, eq. 1.5"
    parameters = BENDS

    def evaluate(self, theta: Array, logs: Logs) -> tuple[Array, Array]:
        """See `Law.evaluate`."""
        log_nc, log_dc, a_n, a_d = (theta[:, k : k + 1] for k in range(4))
        ratio = a_n / a_d
        log_model = ratio * (log_nc - logs["N"])
        log_data = log_dc - logs["D"]
        log_sum = log_add(log_model, log_data)
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


class KaplanFloor(Law):
    """E + ((Nc/N)^(alpha_N/alpha_D) + Dc/D)^alpha_D."""

    name = "kaplan_floor"
    formula = "E + ((Nc / N)^(alpha_N / alpha_D) + Dc / D)^alpha_D"
    inputs = ("N", "D")
    source = "Kaplan et al. 2020, arXiv 2001.08361, eq. 1.5, plus an irreducible loss"
    levels = 3
    nests = ("kaplan",)
    parameters = (floor_parameter(), *BENDS)

    def evaluate(self, theta: Array, logs: Logs) -> tuple[Array, Array]:
        """See `Law.evaluate`."""
        log_term, inner = _KAPLAN.evaluate(theta[:, 1:], logs)
        term = np.exp(np.clip(log_term, -300, 300))
        loss = theta[:, :1] + term
        gradient = np.empty((*theta.shape, len(logs["N"])))
        gradient[:, 0] = 1 / loss
        gradient[:, 1:] = (term / loss)[:, None] * inner
        return np.log(loss), gradient

    def starts(self, logs: Logs, log_loss: Array) -> Array:
        """See `Law.starts`."""
        floors = np.exp(log_loss.min()) * np.array([0.0, 0.3, 0.6, 0.85])
        parts = []
        for e in floors:
            bends = _KAPLAN.starts(logs, np.log(np.exp(log_loss) - e))
            parts.append(np.column_stack([np.full(len(bends), e), bends]))
        return np.vstack(parts)

    def optimum(self, theta: Array, kappa_n: float, kappa_d: float) -> dict[str, Array] | None:
        """See `Law.optimum`: a floor moves no optimum."""
        return _KAPLAN.optimum(theta[:, 1:], kappa_n, kappa_d)


_KAPLAN = Kaplan()

LAWS = (_KAPLAN, KaplanFloor())
