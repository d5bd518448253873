"""Repeated data: worth less than fresh ones, or a model's way to overfit.

L = E + A / N'^alpha + B / D'^beta

D' = U + U R_D* (1 - exp(-R_D / R_D*)),          R_D = D / U - 1 (repetitions)
N' = U_N + U_N R_N* (1 - exp(-R_N / R_N*)),      R_N = N / U_N - 1, U_N = min(N, N_opt(U))
N_opt(U) = G (G U)^(beta / alpha),               G = (alpha A / (beta B))^(1 / (alpha + beta))

N_opt(U) is the size that the additive law finds best for U unique examples at C = 6 N D.

Source: Muennighoff et al. 2023 (arXiv 2305.16264), equations 5 to 7 and appendix A.

L = E + (L0 - E) h / (1 + h),                    h = A / N^alpha + B / D^beta + F N^gamma / U^delta

A model that is too small, trained for too short, or too large for its unique examples: the loss rises with N where
these are few. Source: Bryant & Liu 2026 (arXiv 2605.09189), who call D T and U D.
"""

from __future__ import annotations

import numpy as np

from mnist_scaling.fitting.laws.base import (
    LARGEST_EXPONENT,
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
from mnist_scaling.fitting.laws.coupled import SCALES_AND_EXPONENTS, Additive, Bounded


def saturating(excess: Array, rate: Array) -> tuple[Array, Array, Array]:
    """v = 1 + r (1 - exp(-x / r)) with its derivatives in x and in r."""
    ratio = np.minimum(excess / rate, 700.0)
    decay = np.exp(-ratio)
    return 1 + rate * (1 - decay), decay, 1 - decay - ratio * decay


class Repeated(Law):
    """E + A/N'^alpha + B/D'^beta, with N' and D' that saturate as data are repeated."""

    name = "repeated"
    formula = "E + A / N'^alpha + B / D'^beta, D' = U + U Rd (1 - exp(-(D/U - 1) / Rd)), N' likewise with Rn"
    inputs = ("N", "D", "U")
    source = "Muennighoff et al. 2023, arXiv 2305.16264, eqs. 5-7"
    levels = 3
    parameters = (
        floor_parameter(),
        *SCALES_AND_EXPONENTS,
        Parameter(
            "Rd", "repetitions after which a repeated example is worth 1/e of a fresh one", "repeats", 1e-2, 1e4, True
        ),
        Parameter("Rn", "the same for parameters beyond N_opt(U)", "repeats", 1e-2, 1e4, True),
    )

    def evaluate(self, theta: Array, logs: Logs) -> tuple[Array, Array]:
        floor, log_a, log_b, alpha, beta = (theta[:, k : k + 1] for k in range(5))
        rate_d, rate_n = np.exp(theta[:, 5:6]), np.exp(theta[:, 6:7])
        log_u = np.minimum(logs["U"], logs["D"])
        value_d, _, d_rate = saturating(np.expm1(logs["D"] - log_u), rate_d)
        log_d = log_u + np.log(value_d)
        opt, opt_gradient = self._optimal_size(log_a, log_b, alpha, beta, log_u)
        short = opt < logs["N"]
        log_un = np.where(short, opt, logs["N"])
        excess = np.expm1(np.minimum(logs["N"] - log_un, 500.0))
        value_n, n_decay, n_rate = saturating(excess, rate_n)
        log_n = log_un + np.log(value_n)
        # d log N' / d log U_N: the level itself, less the excess that it takes away.
        through = np.where(short, 1 - n_decay * (1 + excess) / value_n, 0.0)
        model = np.exp(np.clip(log_a - alpha * log_n, -300, 300))
        data = np.exp(np.clip(log_b - beta * log_d, -300, 300))
        loss = floor + model + data
        share_n, share_d = model / loss, data / loss
        gradient = np.empty((*theta.shape, share_n.shape[1]))
        gradient[:, 0] = 1 / loss
        gradient[:, 1] = share_n * (1 - alpha * through * opt_gradient[0])
        gradient[:, 2] = share_d - share_n * alpha * through * opt_gradient[1]
        gradient[:, 3] = -share_n * (log_n + alpha * through * opt_gradient[2])
        gradient[:, 4] = -share_d * log_d - share_n * alpha * through * opt_gradient[3]
        gradient[:, 5] = -share_d * beta * d_rate / value_d * rate_d
        gradient[:, 6] = -share_n * alpha * n_rate / value_n * rate_n
        return np.log(loss), gradient

    @staticmethod
    def _optimal_size(
        log_a: Array, log_b: Array, alpha: Array, beta: Array, log_u: Array
    ) -> tuple[Array, tuple[Array, Array, Array, Array]]:
        """Log N_opt(U), and its gradient in log A, log B, alpha and beta."""
        a, b = np.maximum(alpha, 1e-6), np.maximum(beta, 1e-6)
        total, ratio = a + b, b / a
        log_g = (np.log(a / b) + log_a - log_b) / total
        weight = 1 + ratio
        by_scale = weight / total
        level = log_g + log_u
        by_alpha = weight * (1 / a - log_g) / total - ratio / a * level
        by_beta = weight * (-1 / b - log_g) / total + level / a
        return log_g * weight + ratio * log_u, (by_scale, -by_scale, by_alpha, by_beta)

    def starts(self, logs: Logs, log_loss: Array) -> Array:
        plain = Additive().starts({"N": logs["N"], "D": np.minimum(logs["D"], logs["U"] + 2.0)}, log_loss)[::2]
        rates = np.log([[3.0, 3.0], [15.0, 5.0], [40.0, 40.0]])
        return np.vstack([np.column_stack([plain, np.broadcast_to(r, (len(plain), 2))]) for r in rates])


class _Overfit(Law):
    """E + h of the law of Bryant & Liu; E is 0 in it."""

    name, formula, source = "", "", ""
    inputs = ("N", "D", "U")
    parameters = (
        floor_parameter(),
        *SCALES_AND_EXPONENTS,
        Parameter("F", "overfitting at N = U = 1", "loss * U^delta / N^gamma", log=True),
        exponent_parameter("gamma", "exponent of N in overfitting"),
        exponent_parameter("delta", "exponent of U in overfitting"),
    )

    def evaluate(self, theta: Array, logs: Logs) -> tuple[Array, Array]:
        log_loss, of_additive = Additive().evaluate(theta[:, :5], logs)
        log_term = theta[:, 5:6] + theta[:, 6:7] * logs["N"] - theta[:, 7:8] * logs["U"]
        total = log_add(log_loss, np.clip(log_term, -LARGEST_EXPONENT, LARGEST_EXPONENT))
        share = np.exp(log_term - total)[:, None]
        of_term = np.stack(np.broadcast_arrays(1.0, logs["N"], -logs["U"]))
        return total, np.concatenate([(1 - share) * of_additive, share * of_term], axis=1)

    def starts(self, logs: Logs, log_loss: Array) -> Array:
        """See `Law.starts`: overfitting by powers of N^r / U."""
        alpha, beta, delta = exponent_grid(np.geomspace(0.1, 2.0, 5), np.geomspace(0.1, 2.0, 5), [0.2, 0.5, 1.2])
        parts = []
        for r in (0.4, 1.0, 2.0):
            terms = [(alpha, logs["N"]), (beta, logs["D"]), (delta, logs["U"] - r * logs["N"])]
            solved = linear_starts(log_loss, terms, floor=False)
            parts.append(
                np.column_stack([np.zeros(len(alpha)), solved[:, :2], alpha, beta, solved[:, 2], r * delta, delta])
            )
        return np.vstack(parts)


class Overfitting(Bounded):
    """E + (L0 - E) h / (1 + h), h = A/N^alpha + B/D^beta + F N^gamma/U^delta."""

    name = "overfitting"
    formula = "E + (ln(classes) - E) h / (1 + h), h = A / N^alpha + B / D^beta + F N^gamma / U^delta"
    inputs = ("N", "D", "U")
    source = "Bryant & Liu 2026, arXiv 2605.09189"
    inner = _Overfit()


LAWS = (Repeated(), Overfitting())
