"""Many robust non-linear fits at once: a damped Newton method for sums of Huber losses.

All members of a batch (starts, bootstrap draws, held-out folds) share the law and the inputs and
differ in weights, in y or in start, so that one array operation serves all of them. With J the
gradient of log f, r = y - log f and w the weights, each step solves

    (J diag(w [|r| <= delta] + lam w min(1, delta / |r|)) J') s = J (w clip(r, -delta, delta))

The first part is the exact second derivative of Huber's loss (Gauss-Newton in f), the second is the
majorising weight of iteratively reweighted least squares: lam = 0 is Newton, lam = 1 adds a reweighting
step, larger lam shortens it. Nothing depends on how parameters are scaled.

A law never fits worse than a law that it holds: members that stalled above one start again from its optimum.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from mnist_scaling.fitting.estimation.problem import Problem
from mnist_scaling.fitting.laws import ALL
from mnist_scaling.fitting.laws.base import Array, Law

TOLERANCE = 1e-13
"""A fit has converged when one more step is expected to lower the objective by less than this share."""

STALLED = 1e-6
"""A fit whose steps no longer lower the objective has converged only if they promised less than this share of it."""

EXACT = 1e-24
"""Objective per unit of weight at which residuals are rounding: a fit that stalls below it has converged."""

CHUNK = 40_000
"""Rows x members handled in one array, so that a batch stays in the cache and in memory."""


@dataclass(frozen=True)
class Solution:
    """Minima of a batch: theta (batch, p), objective (batch,), converged (batch,)."""

    theta: Array
    objective: Array
    converged: np.ndarray

    def take(self, members: np.ndarray, other: Solution, rows: np.ndarray | slice = slice(None)) -> None:
        """Put `rows` of another solution in the place of `members`."""
        for name in Solution.__dataclass_fields__:
            getattr(self, name)[members] = getattr(other, name)[rows]


def minimise(problem: Problem, start: Array, max_iterations: int = 200, tolerance: float = TOLERANCE) -> Solution:
    """Minimise sum_i w_i huber_delta(y_i - log f_i(theta)) inside the law's bounds, for every start.

    Parameters
    ----------
    problem : Problem
    start : array, shape (batch, p)
        Where each member begins.
    max_iterations : int
        After so many steps a member is given back as not converged.
    tolerance : float
        Share of the objective that one more step, which is still taken, may promise at the optimum.
    """
    size = max(1, CHUNK // max(problem.n, 1))
    chunks = [slice(low, low + size) for low in range(0, max(len(start), 1), size)]
    parts = [_minimise_chunk(problem.members(c), start[c], max_iterations, tolerance) for c in chunks]
    return Solution(*(np.concatenate([getattr(p, f) for p in parts]) for f in Solution.__dataclass_fields__))


def _minimise_chunk(problem: Problem, start: Array, max_iterations: int, tolerance: float) -> Solution:
    lower, upper = problem.law.bounds
    batch = len(start)
    theta = np.clip(start, lower, upper)
    problem = problem.batch(batch)
    total = np.maximum(problem.weights.sum(axis=1), 1.0)
    tiny, exact = 1e-30 * total, EXACT * total
    best = np.full(batch, np.inf)
    converged = np.zeros(batch, bool)
    live = np.arange(batch)
    state = _State(problem, theta)
    best[:] = state.objective
    damping = np.ones(batch)
    for _ in range(max_iterations):
        step, gain = _step(state, damping, lower, upper)
        reached = np.isfinite(state.objective) & (gain <= tolerance * state.objective + tiny[live])
        if tolerance > TOLERANCE and reached.all():
            # So little is left to gain that the last step needs no second look.
            theta[live], best[live] = np.clip(state.theta + step, lower, upper), state.objective - gain
            converged[live] = True
            break
        tried = _State(state.problem, np.clip(state.theta + step, lower, upper))
        better = tried.objective < state.objective
        # Where no step lowers the objective any more, this is the optimum if hardly anything was left to gain.
        stuck = ~better & (damping > 1e12)
        left = STALLED * np.where(np.isfinite(state.objective), state.objective, 0.0) + exact[live]
        reached |= stuck & np.isfinite(state.objective) & (gain <= left)
        done = reached | stuck
        state.take(tried, better)
        damping = np.where(better, np.maximum(damping * 0.15, 1e-10), np.maximum(damping, 1e-4) * 6.0)
        theta[live], best[live] = state.theta, state.objective
        converged[live[reached]] = True
        if done.all():
            break
        if done.any():
            keep = ~done
            live, damping = live[keep], damping[keep]
            state.keep(keep)
    return Solution(theta, best, converged)


class _State:
    """Residuals, gradient and objective of the live members at their present theta."""

    FIELDS = ("theta", "residual", "clipped", "jacobian", "objective")

    def __init__(self, problem: Problem, theta: Array) -> None:
        self.problem, self.theta = problem, theta
        value, self.jacobian = problem.law.evaluate(theta, problem.logs)
        self.residual = problem.y - value
        delta = problem.delta
        self.clipped = self.residual if np.isinf(delta) else np.clip(self.residual, -delta, delta)
        # c (r - c / 2) is r^2 / 2 where c = r, and delta (|r| - delta / 2) where c = +- delta.
        objective = (problem.weights * self.clipped * (self.residual - 0.5 * self.clipped)).sum(axis=1)
        self.objective = np.where(np.isfinite(objective), objective, np.inf)

    def take(self, other: _State, rows: np.ndarray) -> None:
        """Copy the members `rows` from `other`."""
        whole = rows.all()
        for name in self.FIELDS:
            if whole:
                setattr(self, name, getattr(other, name))
            else:
                getattr(self, name)[rows] = getattr(other, name)[rows]

    def keep(self, rows: np.ndarray) -> None:
        """Drop the members that are done."""
        self.problem = self.problem.members(rows)
        for name in self.FIELDS:
            setattr(self, name, getattr(self, name)[rows])


def _step(state: _State, damping: Array, lower: Array, upper: Array) -> tuple[Array, Array]:
    """The damped Newton step and the gain that it promises, free of the damping.

    Where the step would leave the bounds, those parameters go to their bound and the others are solved for again:
    cutting the step instead would turn it away from the descent, and let a floor near 0 stall.
    """
    weights, delta = state.problem.weights, state.problem.delta
    pull = weights * state.clipped
    if np.isinf(delta):
        curvature = weights * (1.0 + damping[:, None])
    else:
        size = np.abs(state.residual)
        shrink = delta / np.maximum(size, delta)
        curvature = weights * ((size <= delta) + damping[:, None] * shrink)
    gradient = (state.jacobian @ pull[..., None])[..., 0]
    hessian = (state.jacobian * curvature[:, None, :]) @ state.jacobian.transpose(0, 2, 1)
    frozen = ((state.theta <= lower) & (gradient < 0)) | ((state.theta >= upper) & (gradient > 0))
    free = ~frozen
    step = _solve(hessian, gradient, free)
    gain = 0.5 * np.einsum("bp,bp->b", gradient * free, step) * (1.0 + damping)
    target = state.theta + step
    out = free & ((target < lower) | (target > upper))
    rows = np.flatnonzero(out.any(axis=1))
    if len(rows):
        moved = np.where(out[rows], np.clip(target[rows], lower, upper) - state.theta[rows], 0.0)
        left = gradient[rows] - (hessian[rows] @ moved[..., None])[..., 0]
        step[rows] = moved + _solve(hessian[rows], left, free[rows] & ~out[rows])
    return step, gain


def _solve(hessian: Array, gradient: Array, free: np.ndarray) -> Array:
    """H^-1 g over the free parameters, 0 for the others, with a diagonal that is scaled to 1 first."""
    hessian = hessian * (free[:, :, None] & free[:, None, :])
    gradient = gradient * free
    diagonal = np.einsum("bii->bi", hessian)
    scale = np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
    hessian = hessian / scale[:, :, None] / scale[:, None, :]
    index = np.arange(hessian.shape[1])
    hessian[:, index, index] = np.where(diagonal > 0, 1.0 + 1e-13, 1.0)
    return np.linalg.solve(hessian, (gradient / scale)[..., None])[..., 0] / scale


BETTER = 1e-9
"""A nested law is better when its objective is lower by more than this share."""

NESTED_STEPS = 60
"""Most steps of a nested law, which starts near its optimum."""

LONG_TABLE = 1000
"""Rows beyond which only members that did not converge are held against nested laws."""

GAIN = 1e-7
"""A nested law needs no more than this share of precision."""


def _with_floor(theta: Array) -> Array:
    """E = 0 before the parameters of a law without a floor."""
    return np.column_stack([np.zeros(len(theta)), theta])


def _kaplan_as_coupled(theta: Array) -> Array:
    """(E, Nc, Dc, alpha_N, alpha_D) as (E, A, B, alpha, beta, gamma)."""
    floor, log_nc, log_dc, a_n, a_d = theta.T
    ratio = a_n / a_d
    return np.column_stack([floor, ratio * log_nc, log_dc, ratio, np.ones(len(theta)), a_d])


EMBEDDINGS: dict[tuple[str, str], Callable[[Array], Array]] = {
    **{(f"power_{v}_floor", f"power_{v}"): _with_floor for v in ("N", "D", "C")},
    ("multiplicative_floor", "multiplicative"): _with_floor,
    ("kaplan_floor", "kaplan"): _with_floor,
    ("coupled", "additive"): lambda theta: np.column_stack([theta, np.ones(len(theta))]),
    ("coupled", "kaplan_floor"): _kaplan_as_coupled,
}
"""(law, nested law) to the map of the nested law's parameters, shape (batch, q), into the law's, shape (batch, p).

Only exact pairs stand here: a limit, such as the product form of `coupled`, lies beyond the bounds. A law that is held
by way of a third one, such as `kaplan` by `coupled`, is left to that.
"""


def nested_in(law: Law) -> list[Law]:
    """The laws that are tried in place of this one."""
    return [ALL[small] for big, small in EMBEDDINGS if big == law.name]


def minimise_nested(problem: Problem, start: Array, nested: Mapping[str, Array]) -> Solution:
    """`minimise`, and again from the optimum of each nested law for the members that it is better for.

    By its name, `nested` says where each such law's members start. No member's objective is above that of a nested law,
    as far as a nested optimum lies inside the law's bounds.
    """
    solution = minimise(problem, start, tolerance=GAIN)
    for name, begin in nested.items():
        # In a long table a member that has converged has no second optimum to be stuck in.
        asked = np.arange(len(start)) if problem.n <= LONG_TABLE else np.flatnonzero(~solution.converged)
        if not len(asked):
            continue
        small = replace(problem.members(asked), law=ALL[name])
        rival = minimise(small, np.repeat(begin[None], len(asked), axis=0), NESTED_STEPS, GAIN)
        ahead = rival.objective < solution.objective[asked] * (1 - BETTER)
        if ahead.any():
            members = asked[ahead]
            other = minimise(problem.members(members), EMBEDDINGS[problem.law.name, name](rival.theta[ahead]))
            better = other.objective < solution.objective[members]
            solution.take(members[better], other, better)
    return solution
