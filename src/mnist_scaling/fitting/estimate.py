"""Fit one law to rows: screen many starts, polish the best, say how sure the optimum is.

Source: the multi-start of Hoffmann et al. 2022, section 3.3, with the scales solved for each set of
exponents (variable projection, Golub & Pereyra 1973) instead of being gridded.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mnist_scaling.errors import InputError
from mnist_scaling.fitting.laws.base import Array, Law, Logs
from mnist_scaling.fitting.objective import LOSSES, Delta, Scale, choose_delta, huber
from mnist_scaling.fitting.solve import Solution, minimise

POLISHED = 24
"""Starts that are followed to the end; the others are only screened."""

SAME_OBJECTIVE = 1e-6
"""Starts agree when their objectives differ by less than this share."""

ILL_CONDITIONED = 1e4
"""Condition number beyond which floor and exponents trade off: a correlation of 0.9998 between two of them."""


@dataclass(frozen=True)
class Settings:
    """How to estimate; `conf/fit.yaml` explains each key."""

    delta: float | str = "auto"
    loss: str = "huber"
    weights: str = "equal"

    def __post_init__(self) -> None:
        if self.loss not in LOSSES:
            raise InputError(f"`loss` must be one of {', '.join(LOSSES)}, but got {self.loss!r}.")


@dataclass(frozen=True)
class Fit:
    """One law fitted to one set of rows."""

    law: Law
    theta: Array
    """Parameters in the solver's coordinates, shape (p,)."""
    objective: float
    """Sum over rows of w * huber_delta(log residual)."""
    delta: Delta
    residual: Array
    """log L - log f, shape (n,)."""
    jacobian: Array
    """Gradient of log f, shape (p, n)."""
    weights: Array
    converged: bool
    starts: int
    """Starts that were screened."""
    agreeing: int
    """Polished starts that ended in the same optimum, of `polished`."""
    polished: int
    at_bound: tuple[str, ...]
    """Parameters that stopped at a bound."""
    condition: float
    """Condition number of floor and exponents given the scales (`_conditioning`); inf where singular."""
    ridge: tuple[str, ...]
    """Parameters that trade off along the worst direction, when the condition number is too large."""
    leverage: Array
    """Diagonal of the hat matrix, shape (n,)."""

    @property
    def values(self) -> dict[str, float]:
        """Natural parameter values by name."""
        return dict(zip(self.law.names, map(float, self.law.natural(self.theta)), strict=True))

    @property
    def n(self) -> int:
        """Number of rows."""
        return len(self.residual)

    @property
    def free(self) -> int:
        """Parameters that are not at a bound."""
        return self.law.size - len(self.at_bound)

    @property
    def rmse(self) -> float:
        """Root mean square of the log residuals."""
        return float(np.sqrt(np.mean(self.residual**2)))

    def log_predict(self, logs: Logs) -> Array:
        """log f at other inputs, shape (n,)."""
        return self.law.evaluate(self.theta[None], logs)[0][0]


def fit_law(
    law: Law,
    logs: Logs,
    y: Array,
    settings: Settings | None = None,
    weights: Array | None = None,
    seeds: Scale | None = None,
    start: Array | None = None,
    polished: int = POLISHED,
) -> Fit:
    """Minimise the sum of Huber losses of log residuals over a law's parameters.

    Parameters
    ----------
    law : Law
    logs : mapping of str to array, shape (n,)
        Logarithms of the law's inputs.
    y : array, shape (n,)
        Logarithms of the losses.
    settings : Settings, optional
    weights : array, shape (n,), optional
        Weights of the rows; 1 when left out.
    seeds : Scale, optional
        Noise of a row's log loss by the repeats, for ``delta=auto``.
    start : array, shape (starts, p), optional
        Starts to screen instead of the law's own.
    polished : int
        How many of the screened starts are followed to the end.

    Raises
    ------
    InputError
        When there are fewer rows than parameters or an input never varies.
    """
    settings = settings or Settings()
    weights = np.ones_like(y) if weights is None else weights
    check_rows(law, logs, y)
    starts = law.starts(logs, y) if start is None else np.atleast_2d(start)
    delta = _delta(law, logs, y, starts, weights, settings, seeds)
    solution, polished = _polish(law, logs, y, starts, delta.value, weights, polished)
    best = int(np.argmin(solution.objective))
    limit = solution.objective[best] * (1 + SAME_OBJECTIVE) + 1e-24 * len(y)
    agreeing = int((solution.objective <= limit).sum())
    return _describe(law, logs, y, weights, solution, best, delta, (len(starts), agreeing, polished))


def check_rows(law: Law, logs: Logs, y: Array) -> None:
    """Refuse what no estimator can do: fewer rows than parameters, an input that never varies."""
    if len(y) < law.size:
        raise InputError(
            f"The law {law.name} needs at least as many rows as its {law.size} parameters, but got {len(y)}: "
            "add cells, or fit a law with fewer parameters."
        )
    for name in law.inputs:
        distinct = len(np.unique(np.round(logs[name], 9)))
        if distinct < law.levels and name != "U":
            raise InputError(
                f"The law {law.name} needs at least {law.levels} distinct values of {name}, but got {distinct}: "
                f"vary {name}, or fit a simpler law."
            )


def _delta(
    law: Law, logs: Logs, y: Array, starts: Array, weights: Array, settings: Settings, seeds: Scale | None
) -> Delta:
    """The threshold; "auto" takes its scale from a first fit that is nearly least absolute deviations."""
    if settings.loss == "squared":
        return Delta(np.inf, "loss=squared")
    if settings.loss == "absolute":
        return Delta(1e-6, "loss=absolute: Huber's loss so near to |r| that the difference does not show")
    if settings.delta != "auto":
        return choose_delta(settings.delta, y, law.size, seeds)
    spread = max(1e-6, float(np.std(y)))
    rough, _ = _polish(law, logs, y, starts, 0.02 * spread, weights)
    theta = rough.theta[np.argmin(rough.objective)]
    lower, upper = law.bounds
    free = int(((theta > lower) & (theta < upper)).sum())
    return choose_delta("auto", y - law.evaluate(theta[None], logs)[0][0], free, seeds)


def _polish(
    law: Law, logs: Logs, y: Array, starts: Array, delta: float, weights: Array, most: int = POLISHED
) -> tuple[Solution, int]:
    value, _ = law.evaluate(np.clip(starts, *law.bounds), logs)
    screened = huber(y - value, delta) @ weights
    chosen = np.argsort(screened)[:most]
    return minimise(law, logs, y, starts[chosen], delta, weights, max_iterations=300), len(chosen)


def _describe(
    law: Law,
    logs: Logs,
    y: Array,
    weights: Array,
    solution: Solution,
    best: int,
    delta: Delta,
    counts: tuple[int, int, int],
) -> Fit:
    theta = solution.theta[best]
    value, jacobian = law.evaluate(theta[None], logs)
    lower, upper = law.bounds
    bound = (theta <= lower) | (theta >= upper)
    condition, ridge, leverage = _conditioning(law, jacobian[0], weights, ~bound)
    return Fit(
        law=law,
        theta=theta,
        objective=float(solution.objective[best]),
        delta=delta,
        residual=y - value[0],
        jacobian=jacobian[0],
        weights=weights,
        converged=bool(solution.converged[best]),
        starts=counts[0],
        agreeing=counts[1],
        polished=counts[2],
        at_bound=tuple(name for name, hit in zip(law.names, bound, strict=True) if hit),
        condition=condition,
        ridge=ridge,
        leverage=leverage,
    )


def _conditioning(law: Law, jacobian: Array, weights: Array, free: np.ndarray) -> tuple[float, tuple[str, ...], Array]:
    """Condition number of the floor's and the exponents' directions, the worst of them, and the leverages.

    A scale and its exponent are correlated merely because the data lie far from N = 1. So what the
    scales can explain is projected out first; what is left is scaled to a unit diagonal.
    """
    names = [name for name, is_free in zip(law.names, free, strict=True) if is_free]
    logged = np.array([p.log for p in law.parameters])[free]
    if not free.any():
        return 1.0, (), np.zeros(jacobian.shape[1])
    rows = (jacobian[free] * np.sqrt(weights)).T
    rows = rows / np.maximum(np.linalg.norm(rows, axis=0), 1e-300)
    basis, singular, _ = np.linalg.svd(rows, full_matrices=False)
    leverage = np.minimum((basis[:, singular > 1e-12 * singular.max()] ** 2).sum(axis=1), 1.0)
    scales, shape = rows[:, logged], rows[:, ~logged]
    shown = [name for name, is_log in zip(names, logged, strict=True) if not is_log]
    if scales.shape[1]:
        shape = shape - scales @ np.linalg.lstsq(scales, shape, rcond=None)[0]
    length = np.linalg.norm(shape, axis=0)
    if not len(length):
        return 1.0, (), leverage
    if (length < 1e-9).any():
        return np.inf, tuple(shown[k] for k in np.flatnonzero(length < 1e-9)), leverage
    _, size, directions = np.linalg.svd(shape / length, full_matrices=False)
    condition = float((size[0] / size[-1]) ** 2) if size[-1] > 0 else np.inf
    worst = np.abs(directions[-1])
    large = np.flatnonzero(worst > 0.3 * worst.max()) if condition > ILL_CONDITIONED else ()
    ridge = tuple(shown[k] for k in large)
    return condition, ridge, leverage
