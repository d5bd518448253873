"""A cross-entropy that begins at chance: L = E + (L0 - E) h / (1 + h), h = (A / N^alpha + B / D^beta)^gamma.

L0 = ln(classes) is the loss of a guess, which small nets and little data stay near: there h >> 1. Far from it h << 1,
and the law is `coupled` with scales in units of L0 - E. Rows near chance are data for it, which other laws mask. The
form is that of Rosenfeld et al. 2020 (arXiv 1909.12673), equation 5, with one limit for losses instead of error rates.
"""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np

from mnist_scaling.fitting.laws.base import Array, Law, Logs, floor_parameter
from mnist_scaling.fitting.laws.coupled import SCALES_AND_EXPONENTS, Coupled

CLASSES = 10
"""Classes of a law that nobody told them: MNIST's."""

NEAREST = 0.98
"""Share of chance that a start takes for losses at or above it, where h would be infinite."""

_INNER = Coupled()


class Bounded(Law):
    """E + (L0 - E) h / (1 + h), h = (A/N^alpha + B/D^beta)^gamma."""

    name = "bounded"
    formula = "E + (ln(classes) - E) h / (1 + h), h = (A / N^alpha + B / D^beta)^gamma"
    inputs = ("N", "D")
    source = "Rosenfeld et al. 2020, arXiv 1909.12673, eq. 5, with the limit of a cross-entropy"
    levels = 3
    default = False
    chance = float(np.log(CLASSES))
    parameters = (
        replace(floor_parameter(), upper=chance),
        *(replace(p, unit=p.unit.removeprefix("loss * ")) for p in SCALES_AND_EXPONENTS),
        _INNER.parameters[5],
    )

    def for_classes(self, classes: int | None) -> Law:
        """See `Law.for_classes`: chance is the loss of a guess among so many."""
        if classes is None:
            return self
        law = copy.copy(self)
        law.chance = float(np.log(classes))
        law.parameters = (replace(self.parameters[0], upper=law.chance), *self.parameters[1:])
        return law

    def refuses(self, loss: Array) -> str:
        """See `Law.refuses`."""
        if loss.min() < self.chance:
            return ""
        return f"not fitted: no loss is below that of a guess, {self.chance:.4g}; give `classes`"

    def evaluate(self, theta: Array, logs: Logs) -> tuple[Array, Array]:
        """See `Law.evaluate`."""
        floor = theta[:, :1]
        log_h, gradient = _INNER.evaluate(np.column_stack([np.zeros(len(theta)), theta[:, 1:]]), logs)
        share = 1 / (1 + np.exp(-np.clip(log_h, -300, 300)))
        loss = floor + (self.chance - floor) * share
        gradient *= ((self.chance - floor) * share * (1 - share) / loss)[:, None]
        gradient[:, 0] = (1 - share) / loss
        return np.log(loss), gradient

    def starts(self, logs: Logs, log_loss: Array) -> Array:
        """See `Law.starts`."""
        loss, parts = np.minimum(np.exp(log_loss), NEAREST * self.chance), []
        for floor in np.array([0.0, 0.4, 0.8]) * loss.min():
            inner = _INNER.starts(logs, np.log((loss - floor) / (self.chance - loss)))
            inner = inner[inner[:, 0] == 0]
            parts.append(np.column_stack([np.full(len(inner), floor), inner[:, 1:]]))
        return np.vstack(parts)

    def optimum(self, theta: Array, kappa_n: float, kappa_d: float) -> dict[str, Array] | None:
        """See `Law.optimum`: that of h."""
        return _INNER.optimum(theta, kappa_n, kappa_d)


LAWS = (Bounded(),)
