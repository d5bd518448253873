"""Do the arms need exponents of their own? One law for both, with more and more of it their own, by AICc and hold-out.

    offset      L_b = k L_a: every parameter shared, one factor k on the loss
    shared      exponents and floor shared, scales (A, B, …) of each arm its own
    separate    every parameter of each arm its own

AICc counts residuals as the comparison does: where cells are paired, by the noise of the pair, of which the seeds' part
is common to both arms and cancels in their ratio. Taken as independent, rows would hide differences that are plain.

Separate fits are ill-conditioned: a floor, scales and exponents trade off within each arm, so that their differences
are mostly noise. Source: Volkova et al. 2026 (arXiv 2602.07712), who share exponents between optimisers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mnist_scaling.fitting.comparing.pairing import Cells
from mnist_scaling.fitting.estimation.estimate import Settings, fit_law
from mnist_scaling.fitting.fitted import aicc, hold_out
from mnist_scaling.fitting.laws.base import Array, Law, Logs, Parameter

OFFSET, SHARED, SEPARATE = "offset", "shared", "separate"
VARIANTS = (OFFSET, SHARED, SEPARATE)

ARM = "arm"
"""Input of a law of two arms: 0 in the rows of a, 1 in those of b."""

SINGULAR = 1e-6
"""Determinant over squared trace of a covariance that is too small a share to be trusted."""

TOLD_APART = 3.0
"""A variant with more parameters must be better by more than this in AICc to be preferred. At 2, exponents of their own
were preferred in 6 to 8 % of simulated equal arms; at 3 in 3 %."""


@dataclass(frozen=True)
class SharedFit:
    """One law for both arms with one way to share its parameters."""

    law: str
    variant: str
    size: int
    """Number of parameters."""
    aicc: float
    held_out: float
    """Root mean square log error of the rows of largest compute; NaN without a hold-out."""
    rmse: float


class TwoArms(Law):
    """A law whose parameters are shared between two arms or are each arm's own; inputs are the law's own and `ARM`."""

    levels = 2

    def __init__(self, law: Law, variant: str) -> None:
        self.law, self.variant = law, variant
        self.name, self.formula = f"{law.name} ({variant})", law.formula
        self.inputs = (*law.inputs, ARM)
        own = [variant == SEPARATE or (variant == SHARED and p.log) for p in law.parameters]
        first = list(law.parameters)
        second = [p for p, is_own in zip(law.parameters, own, strict=True) if is_own]
        factor = [Parameter("k", "factor on the loss", log=True)] if variant == OFFSET else []
        self.parameters = (*first, *second, *factor)
        places = iter(range(len(first), len(self.parameters)))
        self._of = (np.arange(len(first)), np.array([next(places) if is_own else k for k, is_own in enumerate(own)]))

    def evaluate(self, theta: Array, logs: Logs) -> tuple[Array, Array]:
        """See `Law.evaluate`."""
        arm = logs[ARM] > 0.5
        value = np.empty((len(theta), len(arm)))
        gradient = np.zeros((*theta.shape, len(arm)))
        for places, rows in zip(self._of, (~arm, arm), strict=True):
            inside = {k: logs[k][rows] for k in self.law.inputs}
            value[:, rows], part = self.law.evaluate(theta[:, places], inside)
            gradient[:, places[:, None], np.flatnonzero(rows)[None]] = part
        if self.variant == OFFSET:
            value = value + theta[:, -1:] * arm
            gradient[:, -1] = arm
        return value, gradient

    def starts(self, logs: Logs, log_loss: Array) -> Array:
        """See `Law.starts`: the best starts of both arms taken as one, and of each arm alone."""
        arm = logs[ARM] > 0.5
        out = []
        for rows in (np.ones_like(arm), ~arm, arm):
            inside = {k: logs[k][rows] for k in self.law.inputs}
            if rows.sum() < self.law.size:
                continue
            found = self.law.starts(inside, log_loss[rows])
            value = self.law.evaluate(np.clip(found, *self.law.bounds), inside)[0]
            best = np.argsort(np.abs(log_loss[rows] - value).sum(axis=1))[:8]
            theta = np.zeros((len(best), self.size))
            for places in self._of:
                theta[:, places] = found[best]
            out.append(theta)
        return np.vstack(out)


def shared_fits(cells: Cells, laws: list[Law], covariance: Array) -> list[SharedFit]:
    """Every law in every variant that the rows of both arms can hold.

    Parameters
    ----------
    cells : Cells
    laws : list of Law
        Joint laws of the variables that both arms vary.
    covariance : array, shape (2, 2)
        Of the noise of (a, b) in one cell, `Surfaces.covariance`; only its shape counts.
    """
    whiten = _whitening(covariance) if cells.paired else np.eye(2)
    y = np.concatenate(cells.y)
    arm = np.repeat([0.0, 1.0], [len(cells.a), len(cells.b)])
    cost = np.concatenate([table.log_cost(cells.variables) for table in (cells.a, cells.b)])
    out = []
    for law in laws:
        logs = {k: np.concatenate([np.log(t.inputs[k]) for t in (cells.a, cells.b)]) for k in law.inputs} | {ARM: arm}
        for variant in (v for v in VARIANTS if not (v == SHARED and _is_offset(law))):
            both = TwoArms(law, variant)
            if len(y) < both.size + 2:
                continue
            fit = fit_law(both, logs, y, Settings(), polished=8)
            held = hold_out(fit, cost)
            error = held.rmse_log if held is not None else np.nan
            residual = (whiten @ fit.residual.reshape(2, -1)).ravel() if cells.paired else fit.residual
            out.append(SharedFit(law.name, variant, both.size, aicc(residual, both.size), error, fit.rmse))
    return out


def _whitening(covariance: Array) -> Array:
    """A matrix that makes the noise of both arms independent and alike, of determinant 1, so that AICc compares."""
    if not np.isfinite(covariance).all() or np.linalg.det(covariance) <= SINGULAR * np.trace(covariance) ** 2:
        return np.eye(2)
    root = np.linalg.inv(np.linalg.cholesky(covariance))
    return root / np.sqrt(np.linalg.det(root))


def _is_offset(law: Law) -> bool:
    """Whether a scale of each arm's own is no more than a factor on its loss."""
    return law.floor is None and sum(p.log for p in law.parameters) == 1


def preferred(fits: list[SharedFit]) -> SharedFit | None:
    """The variant with the fewest parameters whose AICc is within `TOLD_APART` of the best, of the best law."""
    known = [f for f in fits if np.isfinite(f.aicc)]
    if not known:
        return None
    best = min(known, key=lambda f: f.aicc)
    return min((f for f in known if f.law == best.law and f.aicc <= best.aicc + TOLD_APART), key=lambda f: f.size)
