"""L = E + (A / N^alpha + B / D^beta)^gamma: gamma < 1 bends the corner between the two regimes; and its special cases,

    L = E + A / N^alpha + B / D^beta

    L = ((Nc / N)^(alpha_N / alpha_D) + Dc / D)^alpha_D

gamma = 1 is the additive law, in which model and data each leave their own share of the loss; with
alpha = alpha_N / alpha_D, beta = 1 and gamma = alpha_D it is Kaplan's, on top of a floor. The product form is its limit
for gamma to infinity only, which no gamma in the bounds comes near. Source: the common generalisation of these; see
Caballero et al. 2022, arXiv 2210.14891, for why a smooth corner is wanted. Hoffmann et al. 2022 (arXiv 2203.15556),
equation 2; Kaplan et al. 2020 (arXiv 2001.08361), equation 1.5, which has no floor.

A cross-entropy begins at chance: L = E + (L0 - E) h / (1 + h) with h coupled and L0 = ln(classes), the loss of a guess,
which small nets and little data stay near: there h >> 1. Far from it h << 1, and the law is `coupled` with scales in
units of L0 - E. Rows near chance are data for it, which other laws mask. The form is that of Rosenfeld et al. 2020
(arXiv 1909.12673), equation 5, with one limit for losses instead of error rates; and of Bryant & Liu 2026 (arXiv
2605.09189), whose h has a term for repeated data (`repeated.Overfitting`).
"""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np

from mnist_scaling.fitting.laws.base import (
    LARGEST_EXPONENT,
    NEAREST,
    Array,
    Law,
    Logs,
    OnFloor,
    Parameter,
    exponent_grid,
    exponent_parameter,
    floor_parameter,
    linear_starts,
    log_add,
    power,
)

SCALES_AND_EXPONENTS = (
    Parameter("A", "model term at N = 1", "loss * N^alpha", log=True),
    Parameter("B", "data term at D = 1", "loss * D^beta", log=True),
    exponent_parameter("alpha", "exponent of N in the model term"),
    exponent_parameter("beta", "exponent of D in the data term"),
)


class TwoTerms(Law):
    """A law of A/N^alpha + B/D^beta: its second to fifth parameters are log A, log B, alpha and beta."""

    inputs: tuple[str, ...] = ("N", "D")
    levels = 3

    def terms(self, theta: Array, logs: Logs) -> tuple[Array, Array]:
        """Both terms, shape (batch, n) each."""
        return power(theta[:, 1], theta[:, 3], logs["N"]), power(theta[:, 2], theta[:, 4], logs["D"])

    @staticmethod
    def chain(gradient: Array, share: Array, terms: tuple[Array, Array], logs: Logs) -> None:
        """Fill in d log f of these parameters, where `share`, shape (batch, n), is d log f over d of a term."""
        for k, (term, name) in enumerate(zip(terms, ("N", "D"), strict=True), start=1):
            np.multiply(term, share, out=gradient[:, k])
            np.multiply(gradient[:, k], -logs[name], out=gradient[:, k + 2])


class Additive(TwoTerms):
    """E + A/N^alpha + B/D^beta."""

    name = "additive"
    formula = "E + A / N^alpha + B / D^beta"
    source = "Hoffmann et al. 2022, arXiv 2203.15556, eq. 2"
    parameters = (floor_parameter(), *SCALES_AND_EXPONENTS)

    def evaluate(self, theta: Array, logs: Logs) -> tuple[Array, Array]:
        model, data = terms = self.terms(theta, logs)
        loss = theta[:, :1] + model + data
        gradient = np.empty((*theta.shape, model.shape[1]))
        gradient[:, 0] = 1 / loss
        self.chain(gradient, gradient[:, 0], terms, logs)
        return np.log(loss), gradient

    def starts(self, logs: Logs, log_loss: Array) -> Array:
        alpha, beta = exponent_grid(np.geomspace(0.05, 2.0, 14), np.geomspace(0.05, 2.0, 14))
        solved = linear_starts(log_loss, [(alpha, logs["N"]), (beta, logs["D"])], floor=True)
        return np.column_stack([solved[:, 2], solved[:, 0], solved[:, 1], alpha, beta])


class Coupled(TwoTerms):
    """E + (A/N^alpha + B/D^beta)^gamma."""

    name = "coupled"
    formula = "E + (A / N^alpha + B / D^beta)^gamma"
    source = "between Kaplan et al. 2020, eq. 1.5, and Hoffmann et al. 2022, eq. 2"
    parameters = (
        floor_parameter(),
        *SCALES_AND_EXPONENTS,
        Parameter("gamma", "bend of the corner: 1 adds the terms", "1", 0.02, 20.0),
    )

    def evaluate(self, theta: Array, logs: Logs) -> tuple[Array, Array]:
        gamma = theta[:, 5:6]
        model, data = terms = self.terms(theta, logs)
        inner = model + data
        log_inner = np.log(inner)
        outer = np.exp(np.clip(gamma * log_inner, -LARGEST_EXPONENT, LARGEST_EXPONENT))
        loss = theta[:, :1] + outer
        gradient = np.empty((*theta.shape, model.shape[1]))
        gradient[:, 0] = 1 / loss
        self.chain(gradient, gamma * (outer / loss) / inner, terms, logs)
        gradient[:, 5] = outer * log_inner / loss
        return np.log(loss), gradient

    def starts(self, logs: Logs, log_loss: Array) -> Array:
        alpha, beta, gamma, floor = exponent_grid(
            np.geomspace(0.1, 3.0, 8), np.geomspace(0.1, 3.0, 8), [0.3, 0.6, 1.0, 1.6], [0.0, 0.4, 0.8]
        )
        out = np.empty((len(alpha), 6))
        for level in np.unique(floor):
            rows = floor == level
            e = level * np.exp(log_loss.min())
            terms = [(alpha[rows], logs["N"]), (beta[rows], logs["D"])]
            solved = linear_starts(np.log(np.exp(log_loss) - e), terms, floor=False, squash=gamma[rows])
            out[rows] = np.column_stack([np.full(rows.sum(), e), solved, alpha[rows], beta[rows], gamma[rows]])
        return out


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
        log_nc, log_dc, a_n, a_d = (theta[:, k : k + 1] for k in range(4))
        ratio = a_n / a_d
        short = log_nc - logs["N"]
        log_model = ratio * short
        log_data = log_dc - logs["D"]
        log_sum = log_add(log_model, log_data)
        model = np.exp(log_model - log_sum)
        data = 1 - model
        gradient = np.empty((*theta.shape, len(logs["N"])))
        gradient[:, 0] = a_n * model
        gradient[:, 1] = a_d * data
        gradient[:, 2] = model * short
        gradient[:, 3] = log_sum - model * log_model
        return a_d * log_sum, gradient

    def starts(self, logs: Logs, log_loss: Array) -> Array:
        a_n, a_d = exponent_grid(np.geomspace(0.03, 1.5, 12), np.geomspace(0.03, 1.5, 12))
        ratio = a_n / a_d
        terms = [(ratio, logs["N"]), (np.ones_like(ratio), logs["D"])]
        solved = linear_starts(log_loss, terms, floor=False, squash=a_d)
        return np.column_stack([solved[:, 0] / ratio, solved[:, 1], a_n, a_d])


_COUPLED = Coupled()

CLASSES = 10
"""Classes of a law that nobody told them: MNIST's."""


class Bounded(Law):
    """E + (L0 - E) h / (1 + h), h = (A/N^alpha + B/D^beta)^gamma."""

    name = "bounded"
    formula = "E + (ln(classes) - E) h / (1 + h), h = (A / N^alpha + B / D^beta)^gamma"
    inputs: tuple[str, ...] = ("N", "D")
    source = "Rosenfeld et al. 2020, arXiv 1909.12673, eq. 5, with the limit of a cross-entropy"
    levels = 3
    default = False
    inner: Law = _COUPLED
    """h is this law with E = 0."""
    chance = float(np.log(CLASSES))

    def __init__(self) -> None:
        floor, *others = self.inner.parameters
        plain = (replace(p, unit=p.unit.removeprefix("loss * ")) for p in others)
        self.parameters = (replace(floor, upper=self.chance), *plain)

    def for_classes(self, classes: int | None) -> Law:
        """See `Law.for_classes`: chance is the loss of a guess among so many."""
        if classes is None:
            return self
        law = copy.copy(self)
        law.chance = float(np.log(classes))
        law.parameters = (replace(self.parameters[0], upper=law.chance), *self.parameters[1:])
        return law

    def refuses(self, loss: Array) -> str:
        if loss.min() < self.chance:
            return ""
        return f"not fitted: no loss is below that of a guess, {self.chance:.4g}; give `classes`"

    def evaluate(self, theta: Array, logs: Logs) -> tuple[Array, Array]:
        floor = theta[:, :1]
        log_h, gradient = self.inner.evaluate(np.column_stack([np.zeros(len(theta)), theta[:, 1:]]), logs)
        share = 1 / (1 + np.exp(-np.clip(log_h, -300, 300)))
        loss = floor + (self.chance - floor) * share
        gradient *= ((self.chance - floor) * share * (1 - share) / loss)[:, None]
        gradient[:, 0] = (1 - share) / loss
        return np.log(loss), gradient

    def starts(self, logs: Logs, log_loss: Array) -> Array:
        loss, parts = np.minimum(np.exp(log_loss), NEAREST * self.chance), []
        for floor in np.array([0.0, 0.4, 0.8]) * loss.min():
            inner = self.inner.starts(logs, np.log((loss - floor) / (self.chance - loss)))
            inner = inner[inner[:, 0] == 0]
            parts.append(np.column_stack([np.full(len(inner), floor), inner[:, 1:]]))
        return np.vstack(parts)


_KAPLAN = Kaplan()

LAWS = (
    Additive(),
    _COUPLED,
    Bounded(),
    _KAPLAN,
    OnFloor(_KAPLAN, f"{_KAPLAN.source}, plus an irreducible loss", (0.0, 0.3, 0.6, 0.85), levels=3),
)
