"""Fit one law to rows: screen many starts, polish the best, say how sure the optimum is.

Source: the multi-start of Hoffmann et al. 2022, section 3.3, with the scales solved for each set of
exponents (variable projection, Golub & Pereyra 1973) instead of being gridded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from mnist_scaling.errors import InputError, one_of
from mnist_scaling.fitting.estimation.problem import LOSSES, Delta, Problem, choose_delta, huber
from mnist_scaling.fitting.estimation.solve import EMBEDDINGS, Solution, minimise, nested_in
from mnist_scaling.fitting.laws.base import Array, Law, Logs

if TYPE_CHECKING:
    from mnist_scaling.fitting.uncertainty.noise import SeedNoise

POLISHED = 24
"""Starts that are followed to the end; the others are only screened."""

SCREENED = 400
"""Rows that starts are screened on; longer tables are sampled for it, and the fit itself takes all rows."""

ROUGH, FEW = 8, 3
"""Starts of the first fit that delta=auto comes from, and starts that are followed on all rows of a long table."""

HEAT, BEHIND = 30, 1.2
"""Steps after which a start is given up whose objective is so many times the best one's."""

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
        one_of("loss", self.loss, LOSSES)


@dataclass(frozen=True)
class Fit:
    """One law fitted to one set of rows."""

    problem: Problem
    theta: Array
    """Parameters in the solver's coordinates, shape (p,)."""
    objective: float
    """Sum over rows of w * huber_delta(log residual)."""
    delta: Delta
    converged: bool
    starts: int
    """Starts that were screened."""
    agreeing: int
    """Polished starts that ended in the same optimum, of `polished`."""
    polished: int
    nested: Mapping[str, Array] = field(default_factory=dict)
    """Optimum of each law that this one holds (`solve.nested_in`), where draws are compared with it."""

    @property
    def law(self) -> Law:
        """The law that was fitted."""
        return self.problem.law

    @property
    def values(self) -> dict[str, float]:
        """Natural parameter values by name."""
        return dict(zip(self.law.names, map(float, self.law.natural(self.theta)), strict=True))

    @property
    def n(self) -> int:
        """Number of rows."""
        return self.problem.n

    @cached_property
    def residual(self) -> Array:
        """log L - log f, shape (n,)."""
        return self.problem.residual(self.theta[None])[0]

    @cached_property
    def jacobian(self) -> Array:
        """Gradient of log f, shape (p, n)."""
        return self.law.evaluate(self.theta[None], self.problem.logs)[1][0]

    @property
    def rmse(self) -> float:
        """Root mean square of the log residuals."""
        return float(np.sqrt(np.mean(self.residual**2)))

    @property
    def inside(self) -> np.ndarray:
        """Mask of the parameters that did not stop at a bound, shape (p,)."""
        lower, upper = self.law.bounds
        return (self.theta > lower) & (self.theta < upper)

    @property
    def at_bound(self) -> tuple[str, ...]:
        """Parameters that stopped at a bound."""
        return tuple(name for name, free in zip(self.law.names, self.inside, strict=True) if not free)

    @property
    def free(self) -> int:
        """Parameters that are not at a bound."""
        return int(self.inside.sum())

    @cached_property
    def _directions(self) -> Array:
        """What each free parameter does to the weighted fitted values, of length 1, shape (n, free)."""
        rows = (self.jacobian[self.inside] * np.sqrt(self.problem.weights)).T
        return rows / np.maximum(np.linalg.norm(rows, axis=0), 1e-300)

    @cached_property
    def leverage(self) -> Array:
        """Diagonal of the hat matrix, shape (n,)."""
        if not self.free:
            return np.zeros(self.n)
        basis, size, _ = np.linalg.svd(self._directions, full_matrices=False)
        return np.minimum((basis[:, size > 1e-12 * size.max()] ** 2).sum(axis=1), 1.0)

    @property
    def condition(self) -> float:
        """Condition number of floor and exponents given the scales; inf where singular."""
        return self._trade_off[0]

    @property
    def ridge(self) -> tuple[str, ...]:
        """Floor and exponents that trade off along the worst direction, when the condition number is too large."""
        return self._trade_off[1]

    @cached_property
    def _trade_off(self) -> tuple[float, tuple[str, ...]]:
        """`condition` and `ridge`.

        A scale and its exponent are correlated merely because the data lie far from N = 1. So what the
        scales can explain is projected out first; what is left is scaled to a unit diagonal.
        """
        rows, logged = self._directions, np.array([p.log for p in self.law.parameters])[self.inside]
        scales, shape = rows[:, logged], rows[:, ~logged]
        shown = [p.name for p, free in zip(self.law.parameters, self.inside, strict=True) if free and not p.log]
        if scales.shape[1]:
            shape = shape - scales @ np.linalg.lstsq(scales, shape, rcond=None)[0]
        length = np.linalg.norm(shape, axis=0)
        if not len(length):
            return 1.0, ()
        if (length < 1e-9).any():
            return np.inf, tuple(shown[k] for k in np.flatnonzero(length < 1e-9))
        _, size, directions = np.linalg.svd(shape / length, full_matrices=False)
        condition = float((size[0] / size[-1]) ** 2) if size[-1] > 0 else np.inf
        worst = np.abs(directions[-1])
        large = np.flatnonzero(worst > 0.3 * worst.max()) if condition > ILL_CONDITIONED else ()
        return condition, tuple(shown[k] for k in large)


def fit_law(
    law: Law,
    logs: Logs,
    y: Array,
    settings: Settings | None = None,
    weights: Array | None = None,
    seeds: SeedNoise | None = None,
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
    seeds : SeedNoise, optional
        Noise of a row's log loss by the repeats, for ``delta=auto``.

    Raises
    ------
    InputError
        When there are fewer rows than parameters or an input never varies.
    """
    settings = settings or Settings()
    problem = Problem(law, logs, y, np.ones_like(y) if weights is None else weights)
    check_rows(problem)
    return fit_problem(problem, _delta(problem, settings, seeds))


def fit_problem(problem: Problem, delta: Delta, start: Array | None = None, polished: int = POLISHED) -> Fit:
    """`fit_law` with a threshold that is known, and `start` (starts, p) to screen instead of the law's own starts."""
    problem = replace(problem, delta=delta.value)
    starts = _starts(problem) if start is None else np.atleast_2d(start)
    nested = _nested(problem)
    held = [EMBEDDINGS[problem.law.name, name](theta[None]) for name, theta in nested.items()]
    solution, polished = _polish(problem, starts, polished, held)
    best = int(np.argmin(solution.objective))
    limit = solution.objective[best] * (1 + SAME_OBJECTIVE) + 1e-24 * problem.n
    agreeing = int((solution.objective <= limit).sum())
    theta, objective = solution.theta[best], float(solution.objective[best])
    converged = bool(solution.converged[best])
    return Fit(problem, theta, objective, delta, converged, len(starts), agreeing, polished, nested)


def _nested(problem: Problem) -> dict[str, Array]:
    """Optimum of every law that this one holds, shape (q,) each."""
    out = {}
    for law in nested_in(problem.law):
        small = replace(problem, law=law)
        solution, _ = _polish(small, _starts(small), FEW)
        out[law.name] = solution.theta[np.argmin(solution.objective)]
    return out


def check_rows(problem: Problem) -> None:
    """Refuse what no estimator can do: fewer rows than parameters, an input that never varies."""
    law = problem.law
    if problem.n < law.size:
        raise InputError(
            f"The law {law.name} needs at least as many rows as its {law.size} parameters, but got {problem.n}: "
            "add cells, or fit a law with fewer parameters."
        )
    for name in law.inputs:
        distinct = len(np.unique(np.round(problem.logs[name], 9)))
        if distinct < law.levels and name != "U":
            raise InputError(
                f"The law {law.name} needs at least {law.levels} distinct values of {name}, but got {distinct}: "
                f"vary {name}, or fit a simpler law."
            )


def _delta(problem: Problem, settings: Settings, seeds: SeedNoise | None) -> Delta:
    """The threshold; "auto" takes its scale from a first fit that is nearly least absolute deviations."""
    law = problem.law
    if settings.loss == "squared":
        return Delta(np.inf, "loss=squared")
    if settings.loss == "absolute":
        return Delta(1e-6, "loss=absolute: Huber's loss so near to |r| that the difference does not show")
    if settings.delta != "auto":
        return choose_delta(settings.delta, problem.y, law.size, seeds)
    spread = max(1e-6, float(np.std(problem.y)))
    centred = replace(_centred(problem), delta=0.02 * spread)
    some = centred.rows(_sample(centred))
    starts = law.starts(some.logs, some.y)
    rough = minimise(some, starts[_screen(some, starts)[:ROUGH]], max_iterations=60, tolerance=1e-6)
    theta = rough.theta[np.argmin(rough.objective)]
    lower, upper = law.bounds
    free = int(((theta > lower) & (theta < upper)).sum())
    return choose_delta("auto", centred.residual(theta[None])[0], free, seeds)


def _centred(problem: Problem) -> Problem:
    """Inputs and losses around their geometric means: residuals stay, and no unit decides where this fit ends.

    D and U keep their ratio.
    """
    logs, y = problem.logs, problem.y
    middle = {k: float(logs["D" if k == "U" and "D" in logs else k].mean()) for k in logs}
    return replace(problem, logs={k: v - middle[k] for k, v in logs.items()}, y=y - y.mean())


def _sample(problem: Problem) -> np.ndarray:
    """Positions of up to `SCREENED` rows, evenly spread over the table whatever its order."""
    if problem.n <= SCREENED:
        return np.arange(problem.n)
    order = np.lexsort((problem.y, *problem.logs.values()))
    return order[np.linspace(0, problem.n - 1, SCREENED).astype(int)]


def _starts(problem: Problem) -> Array:
    some = problem.rows(_sample(problem))
    return problem.law.starts(some.logs, some.y)


def _screen(problem: Problem, starts: Array) -> np.ndarray:
    """Positions of the starts, the lowest objective first."""
    residual = problem.residual(np.clip(starts, *problem.law.bounds))
    return np.argsort(huber(residual, problem.delta) @ problem.weights, kind="stable")


def _polish(problem: Problem, starts: Array, most: int = POLISHED, held: Sequence[Array] = ()) -> tuple[Solution, int]:
    """Follow the best `most` starts to the end; of a long table, on a sample first and then the `FEW` best on all rows.

    `held` are further starts, of shape (1, p) each, that are followed in any case.
    """
    some = problem.rows(_sample(problem))
    chosen = np.vstack([starts[_screen(some, starts)[:most]], *held])
    if some.n < problem.n:
        rough = minimise(some, chosen, max_iterations=60, tolerance=1e-8)
        chosen = np.vstack([rough.theta[np.argsort(rough.objective, kind="stable")[:FEW]], *held])
    return _follow(problem, chosen), len(chosen)


def _follow(problem: Problem, starts: Array) -> Solution:
    """Minima from these starts; those that are far behind after `HEAT` steps are left where they are."""
    solution = minimise(problem, starts, max_iterations=HEAT)
    near = solution.objective <= solution.objective.min() * BEHIND + 1e-24 * problem.n
    left = np.flatnonzero(~solution.converged & near)
    if not len(left):
        return solution
    rest = minimise(problem, solution.theta[left], max_iterations=300)
    solution.take(left, rest)
    return solution
