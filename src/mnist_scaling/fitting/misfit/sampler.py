"""Draws of a few unknowns from their posterior, and its evidence: sequential Monte Carlo over tempered likelihoods.

Particles begin as draws of the prior, which is standard normal in every unknown. The likelihood's power rises from 0
to 1 in steps that leave half of the particles effective; after each, particles are chosen by weight and moved.

Source: Del Moral, Doucet & Jasra 2006 (J. R. Stat. Soc. B 68).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.optimize import brentq

from mnist_scaling.fitting.laws.base import Array

EFFECTIVE = 0.5
"""Share of effective particles that a step leaves."""

MOVES = 2
"""Moves of all particles after each step."""

JUMP = 0.9
"""Size of a move, in standard deviations of the particles."""


def posterior_draws(
    log_likelihood: Callable[[Array], Array], unknowns: int, particles: int, rng: np.random.Generator
) -> tuple[Array, float]:
    """Particles of the posterior, shape (particles, unknowns), and the log of the evidence."""
    z = rng.standard_normal((particles, unknowns))
    value = log_likelihood(z)
    power, evidence = 0.0, 0.0
    while power < 1:
        step = _step(value, 1 - power)
        power = min(power + step, 1.0)
        weight = np.exp(step * (value - value.max()))
        evidence += float(np.log(weight.mean()) + step * value.max())
        kept = _systematic(weight, rng)
        z, value = z[kept], value[kept]
        spread = np.linalg.cholesky(np.cov(z.T).reshape(unknowns, unknowns) + 1e-6 * np.eye(unknowns))
        for _ in range(MOVES):
            tried = z + JUMP * rng.standard_normal(z.shape) @ spread.T
            new = log_likelihood(tried)
            gain = power * (new - value) + 0.5 * ((z**2).sum(axis=1) - (tried**2).sum(axis=1))
            better = np.log(rng.random(particles)) < gain
            z, value = np.where(better[:, None], tried, z), np.where(better, new, value)
    return z, evidence


def _step(value: Array, left: float) -> float:
    """The largest rise of the power that leaves enough effective particles."""

    def effective(step: float) -> float:
        weight = np.exp(step * (value - value.max()))
        return float(weight.sum() ** 2 / (weight**2).sum() / len(value))

    if effective(left) >= EFFECTIVE:
        return left
    return max(float(brentq(lambda step: effective(step) - EFFECTIVE, 0.0, left, xtol=1e-9)), 1e-6)


def _systematic(weight: Array, rng: np.random.Generator) -> np.ndarray:
    """Positions of particles, chosen by weight."""
    ends = np.cumsum(weight / weight.sum())
    at = (np.arange(len(weight)) + rng.random()) / len(weight)
    return np.minimum(np.searchsorted(ends, at), len(weight) - 1)
