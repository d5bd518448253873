"""Error rates, which start at chance: err = chance * s / sqrt(s^2 + h^2), s = A / N^alpha + B / D^beta + c.

Small nets and little data give s >> h and the error of a guess; large ones give (chance / h) s, the
additive law. c is the floor. A guess among k classes is wrong 1 - 1 / k of the time, so chance is no larger; without a
number of classes it is bounded by 1. Source: Rosenfeld et al. 2020 (arXiv 1909.12673), equation 5.
"""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np

from mnist_scaling.fitting.laws.base import NEAREST, Array, Law, Logs, Parameter, exponent_grid, linear_starts, power
from mnist_scaling.fitting.laws.coupled import SCALES_AND_EXPONENTS, TwoTerms

CHANCE = Parameter("chance", "error of a guess", "loss", upper=1.0, log=True)


class _ErrorLaw(Law):
    """What both have in common: chance, the first parameter, and its bound."""

    source = "Rosenfeld et al. 2020, arXiv 1909.12673, eq. 5"
    default = False

    def for_classes(self, classes: int | None) -> Law:
        if classes is None:
            return self
        law = copy.copy(self)
        law.parameters = (replace(CHANCE, upper=1 - 1 / classes), *self.parameters[1:])
        return law

    def refuses(self, loss: Array) -> str:
        if loss.max() <= 1:
            return ""
        return f"not fitted: an error rate is at most 1, but the largest is {loss.max():.4g}"

    def _shares(self, log_loss: Array, factor: float) -> tuple[float, Array]:
        """A start's log chance, `factor` times the largest loss as far as the bound allows, and loss / chance."""
        log_chance = min(float(log_loss.max() + np.log(factor)), self.parameters[0].bounds[1])
        return log_chance, np.minimum(np.exp(log_loss - log_chance), NEAREST)


class ErrorRate(_ErrorLaw, TwoTerms):
    """chance * s / sqrt(1 + s^2) with s = A/N^alpha + B/D^beta + c: h is absorbed in A, B and c."""

    name = "error_rate"
    formula = "chance * s / sqrt(1 + s^2), s = A / N^alpha + B / D^beta + c"
    parameters = (CHANCE, *SCALES_AND_EXPONENTS, Parameter("c", "floor of s", "1", 0.0, 10.0))

    def evaluate(self, theta: Array, logs: Logs) -> tuple[Array, Array]:
        model, data = terms = self.terms(theta, logs)
        s = np.clip(model + data + theta[:, 5:6], 1e-150, 1e150)
        # d log(s / sqrt(1 + s^2)) / d s = 1 / (s (1 + s^2))
        slope = 1 / s / (1 + s * s)
        gradient = np.empty((*theta.shape, model.shape[1]))
        gradient[:, 0] = 1.0
        self.chain(gradient, slope, terms, logs)
        gradient[:, 5] = slope
        return theta[:, :1] + np.log(s) - 0.5 * np.log1p(s * s), gradient

    def starts(self, logs: Logs, log_loss: Array) -> Array:
        alpha, beta, over = exponent_grid(np.geomspace(0.1, 2.0, 8), np.geomspace(0.1, 2.0, 8), [1.02, 1.2, 2.0, 5.0])
        out = np.empty((len(alpha), 6))
        for factor in np.unique(over):
            rows = over == factor
            log_chance, share = self._shares(log_loss, factor)
            log_s = np.log(share) - 0.5 * np.log1p(-share * share)
            solved = linear_starts(log_s, [(alpha[rows], logs["N"]), (beta[rows], logs["D"])], floor=True)
            chance = np.full(rows.sum(), log_chance)
            out[rows] = np.column_stack([chance, solved[:, :2], alpha[rows], beta[rows], solved[:, 2]])
        return out


class ErrorPower(_ErrorLaw):
    """chance * s / sqrt(1 + s^2) with s = A / x^alpha: one variable, no floor."""

    def __init__(self, variable: str) -> None:
        self.name = f"error_{variable}"
        self.formula = f"chance * s / sqrt(1 + s^2), s = A / {variable}^alpha"
        self.inputs = (variable,)
        self.parameters = (
            CHANCE,
            Parameter("A", f"s at {variable} = 1", f"{variable}^alpha", log=True),
            Parameter("alpha", f"exponent of {variable} far below chance", "1", 0.0, 10.0),
        )

    def evaluate(self, theta: Array, logs: Logs) -> tuple[Array, Array]:
        x = logs[self.inputs[0]]
        s = np.clip(power(theta[:, 1], theta[:, 2], x), 1e-150, 1e150)
        gradient = np.empty((*theta.shape, len(x)))
        gradient[:, 0] = 1.0
        gradient[:, 1] = 1 / (1 + s * s)
        gradient[:, 2] = -x * gradient[:, 1]
        return theta[:, :1] + np.log(s) - 0.5 * np.log1p(s * s), gradient

    def starts(self, logs: Logs, log_loss: Array) -> Array:
        x = logs[self.inputs[0]]
        out = []
        for factor in (1.02, 1.2, 2.0, 5.0, 30.0):
            log_chance, share = self._shares(log_loss, factor)
            slope, level = np.polyfit(x, np.log(share) - 0.5 * np.log1p(-share * share), 1)
            out.append([log_chance, level, -slope])
        return np.array(out)


LAWS = (ErrorRate(), *(ErrorPower(v) for v in ("N", "D", "C")))
