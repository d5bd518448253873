"""ln L(N, D) = ln law(N, D; theta) + g(N, D) + noise: draws of whole surfaces, for tables that no law need describe.

g is a smooth random surface (`process`). How large and how rough it is, and how noisy the cells are, is learnt from
the table: these unknowns are drawn from their posterior, with the law linearised at its optimum and integrated out
(`linearised`). Each draw of a surface then takes a draw of g given the cells (Matheron's rule), fits the law again to
what g leaves, with fresh noise, and adds g. Several laws are mixed by their evidence.

Source: Kennedy & O'Hagan 2001 (J. R. Stat. Soc. B 63); Wilson et al. 2021 (J. Mach. Learn. Res. 22) for the draws of
surfaces; Del Moral, Doucet & Jasra 2006 (J. R. Stat. Soc. B 68) for those of the unknowns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq

from mnist_scaling.errors import InputError
from mnist_scaling.fitting.estimation.estimate import Fit, fit_law
from mnist_scaling.fitting.laws import get_law
from mnist_scaling.fitting.laws.base import STEP, Array, Law
from mnist_scaling.fitting.misfit.linearised import LinearisedLaw, Part, points_of
from mnist_scaling.fitting.misfit.process import Axes, design
from mnist_scaling.fitting.rows import Table
from mnist_scaling.fitting.slices import Ladder
from mnist_scaling.fitting.uncertainty.interval import Interval, median_of
from mnist_scaling.fitting.uncertainty.noise import seed_noise

PARTICLES = 256
"""Draws of the unknown sizes, lengths and noise."""

FEWEST_DRAWS = 200
"""Draws of the model's surfaces, at least: fewer than that give no quantiles of 2.5 %."""

MOST_POINTS = 2_000
"""Points handled at once."""


@dataclass(frozen=True)
class Posterior:
    """Draws of whole surfaces, the number to quote being the median of a quantity's draws."""

    law: Law
    """That of the largest weight."""
    axes: Axes
    parts: tuple[Part, ...]
    weights: Mapping[str, float]
    """Of each law."""
    broken: np.ndarray
    """Mask of the table's rows that are left out because they lie far off their neighbours, shape (n,)."""

    def log_loss(self, logs: Mapping[str, Array]) -> Array:
        """ln L at n points, logarithms of the inputs, of every draw: shape (draws, n)."""
        n = len(next(iter(logs.values())))
        if n > MOST_POINTS:
            cuts = [slice(k, k + MOST_POINTS) for k in range(0, n, MOST_POINTS)]
            return np.concatenate([self.log_loss({k: x[c] for k, x in logs.items()}) for c in cuts], axis=1)
        centred, waves = self.axes.centred(logs), design(self.axes.features(logs))
        return np.concatenate([p.law.evaluate(p.theta, centred)[0] + p.coefficients @ waves.T for p in self.parts])

    def slope(self, at: Mapping[str, float], variable: str) -> Array:
        """-d ln L / d ln variable at a point of logs, shape (draws,)."""
        steps = {k: np.full(2, at[k]) + (np.array([-STEP, STEP]) if k == variable else 0.0) for k in self.axes.names}
        low, high = self.log_loss(steps).T
        return (low - high) / (2 * STEP)

    def floor(self) -> Array:
        """E of every draw's law, 0 for a law without one, shape (draws,)."""
        return np.concatenate(
            [p.theta[:, p.law.floor] if p.law.floor is not None else np.zeros(len(p.theta)) for p in self.parts]
        )

    def misfit(self) -> Array:
        """Root mean square of g over the cells in ln loss, less what the law can follow of it, shape (draws,)."""
        return np.concatenate([p.misfit for p in self.parts])

    def scatter(self) -> Array:
        """Standard deviation of a cell's ln loss about the surface, shape (draws,).

        It holds the noise of the cell's repeats, and what its tuning and its draw of the data leave to luck.
        """
        return np.concatenate([np.sqrt(p.scatter) for p in self.parts])


@dataclass(frozen=True)
class Model:
    """The posterior of a table, and what it is of."""

    posterior: Posterior
    rows: Table
    """The rows that it was learnt from."""
    noise: float
    """Standard deviation of a row's log loss, by the repeats, else by the residuals that the misfit leaves."""
    level: float
    """Of the intervals, such as 0.95."""
    exact: bool = False
    """Whether a law passes through the losses to rounding: what it misses is then nothing, whatever noise is known."""
    ray: Ladder | None = None
    """The ladder that the rows are on, where N and D move together."""
    base: Sequence[Law] = ()
    """Laws that were named as its base; none where they are the usual ones."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """What the surfaces are over: N and D, or one variable."""
        return self.posterior.axes.names

    def slope(self, at: Mapping[str, float], variable: str) -> Interval:
        """-d ln L / d ln variable at a point of logs."""
        return median_of(self.posterior.slope(at, variable), self.level)

    def loss(self, **logs: float) -> Interval:
        """L at a point of logs."""
        at = {k: np.array([v]) for k, v in logs.items()}
        return median_of(self.posterior.log_loss(at)[:, 0], self.level).exp()

    @property
    def misfit(self) -> Interval:
        """Root mean square of g over the cells, in ln loss."""
        return median_of(self.posterior.misfit(), self.level)

    @property
    def settled(self) -> bool:
        """Whether the law of the model describes the table: the misfit's upper end is below a cell's noise.

        It says nothing of laws of fewer parameters, nor of the numbers, whose intervals hold any misfit.
        """
        return self.exact or bool(self.misfit.high <= self.noise)


def surface(table: Table, draws: int, rng: np.random.Generator, laws: Sequence[str | Law] | None = None) -> Posterior:
    """The posterior of one table, whose law may be wrong.

    Parameters
    ----------
    table : Table
        Rows, one for each cell; with or without standard errors of repeats.
    draws : int
    rng : numpy.random.Generator
        The draws depend on it and the table only.
    laws : sequence of str or Law, optional
        Base laws, of the same inputs, by name or as they are; the usual ones for the table's inputs when left out.

    Raises
    ------
    InputError
        When the table can hold none of the laws.
    """
    base = [get_law(law) if isinstance(law, str) else law for law in laws or _usual(table)]
    axes = Axes.of(table.logs(base[0].inputs))
    fits = _fits(table, axes, base)
    cells = points_of(table, axes, fits[0])
    models = [LinearisedLaw(fit, cells, axes) for fit in fits]
    particles = [posterior_draws(m.log_likelihood, m.unknowns, PARTICLES, rng) for m in models]
    evidence = np.array([e for _, e in particles])
    weights = np.exp(evidence - evidence.max())
    weights /= weights.sum()
    counts = np.floor(draws * weights.cumsum() + 0.5).astype(int)
    counts = np.diff(counts, prepend=0)
    parts = [
        m.draw(z[rng.integers(len(z), size=count)], rng)
        for m, (z, _), count in zip(models, particles, counts, strict=True)
        if count
    ]
    by_name = {m.fit.law.name: float(w) for m, w in zip(models, weights, strict=True)}
    return Posterior(models[int(weights.argmax())].fit.law, axes, tuple(parts), by_name, cells.broken)


def _usual(table: Table) -> tuple[str, ...]:
    if table.has(("N", "D")):
        return ("coupled", "multiplicative_floor")
    return (f"power_{next(k for k in ('N', 'D', 'C') if k in table.inputs)}_floor",)


def _fits(table: Table, axes: Axes, laws: Sequence[Law]) -> list[Fit]:
    """Each law that the table can hold, fitted around the middle of the table; the plane where it holds none."""
    logs, scale, out = axes.centred(table.logs(axes.names)), seed_noise(table), []
    for law in laws:
        try:
            out.append(fit_law(law, logs, table.y, seeds=scale))
        except InputError:
            continue
    plane = get_law("multiplicative" if len(axes.names) == 2 else f"power_{axes.names[0]}")
    return out or [fit_law(plane, logs, table.y, seeds=scale)]


EFFECTIVE = 0.5
"""Share of effective particles that a step leaves."""

MOVES = 2
"""Moves of all particles after each step."""

JUMP = 0.9
"""Size of a move, in standard deviations of the particles."""


def posterior_draws(
    log_likelihood: Callable[[Array], Array], unknowns: int, particles: int, rng: np.random.Generator
) -> tuple[Array, float]:
    """Particles of the posterior, shape (particles, unknowns), and the log of the evidence: sequential Monte Carlo.

    Particles begin as draws of the prior, which is standard normal in every unknown. The likelihood's power rises from
    0 to 1 in steps that leave half of the particles effective; after each, particles are chosen by weight and moved.
    """
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
