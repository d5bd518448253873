"""Many robust non-linear fits at once: a damped Newton method for sums of Huber losses.

All members of a batch (starts, bootstrap draws, held-out folds, profile points) share the law and the
inputs and differ in weights, in y, in start or in what is held fixed, so that one array operation
serves all of them. With J the gradient of log f, r = y - log f and w the weights, each step solves

    (J diag(w [|r| <= delta] + lam w min(1, delta / |r|)) J') s = J (w clip(r, -delta, delta))

The first part is the exact second derivative of Huber's loss (Gauss-Newton in f), the second is the
majorising weight of iteratively reweighted least squares: lam = 0 is Newton, lam = 1 adds a reweighting
step, larger lam shortens it. Nothing depends on how parameters are scaled.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mnist_scaling.fitting.laws.base import Array, Law, Logs

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
    """Minima of a batch: theta (batch, p), objective (batch,), converged (batch,), iterations (batch,)."""

    theta: Array
    objective: Array
    converged: np.ndarray
    iterations: np.ndarray


def minimise(
    law: Law,
    logs: Logs,
    y: Array,
    start: Array,
    delta: float,
    weights: Array | None = None,
    fixed: tuple[int, ...] = (),
    max_iterations: int = 200,
    tolerance: float = TOLERANCE,
) -> Solution:
    """Minimise sum_i w_i huber_delta(y_i - log f_i(theta)) inside the law's bounds, for every start.

    Parameters
    ----------
    law : Law
    logs : mapping of str to array, shape (n,)
        Logarithms of the law's inputs.
    y : array, shape (n,) or (batch, n)
        Logarithms of the losses.
    start : array, shape (batch, p)
        Where each member begins.
    delta : float
        Huber's threshold in log loss; inf for least squares.
    weights : array, shape (n,) or (batch, n), optional
        Non-negative weights of the rows; a resampled row's count.
    fixed : tuple of int
        Parameters that stay at their start: profile likelihood.
    max_iterations : int
        After so many steps a member is given back as not converged.
    tolerance : float
        Share of the objective that one more step, which is still taken, may promise at the optimum.
    """
    batch, n = len(start), y.shape[-1]
    size = max(1, CHUNK // max(n, 1))
    parts = [
        _minimise_chunk(
            law,
            logs,
            y if y.ndim == 1 else y[low : low + size],
            start[low : low + size],
            delta,
            weights if weights is None or weights.ndim == 1 else weights[low : low + size],
            fixed,
            max_iterations,
            tolerance,
        )
        for low in range(0, max(batch, 1), size)
    ]
    return Solution(*(np.concatenate([getattr(p, f) for p in parts]) for f in Solution.__dataclass_fields__))


def _minimise_chunk(
    law: Law,
    logs: Logs,
    y: Array,
    start: Array,
    delta: float,
    weights: Array | None,
    fixed: tuple[int, ...],
    max_iterations: int,
    tolerance: float,
) -> Solution:
    lower, upper = law.bounds
    batch = len(start)
    theta = np.clip(start, lower, upper)
    y = np.broadcast_to(y, (batch, y.shape[-1]))
    w = np.broadcast_to(1.0 if weights is None else np.asarray(weights, float), y.shape)
    total = np.maximum(w.sum(axis=1), 1.0)
    tiny, exact = 1e-30 * total, EXACT * total
    best = np.full(batch, np.inf)
    converged = np.zeros(batch, bool)
    iterations = np.zeros(batch, int)
    live = np.arange(batch)
    state = _State(law, logs, y, w, theta, delta)
    best[:] = state.objective
    damping = np.ones(batch)
    for _ in range(max_iterations):
        step, gain = _step(state, damping, lower, upper, fixed)
        iterations[live] += 1
        reached = np.isfinite(state.objective) & (gain <= tolerance * state.objective + tiny[live])
        if tolerance > TOLERANCE and reached.all():
            # So little is left to gain that the last step needs no second look.
            theta[live], best[live] = np.clip(state.theta + step, lower, upper), state.objective - gain
            converged[live] = True
            break
        trial = _State(law, logs, state.y, state.w, np.clip(state.theta + step, lower, upper), delta)
        better = trial.objective < state.objective
        # Where no step lowers the objective any more, this is the optimum if hardly anything was left to gain.
        stuck = ~better & (damping > 1e12)
        left = STALLED * np.where(np.isfinite(state.objective), state.objective, 0.0) + exact[live]
        reached |= stuck & np.isfinite(state.objective) & (gain <= left)
        done = reached | stuck
        state.take(trial, better)
        damping = np.where(better, np.maximum(damping * 0.15, 1e-10), np.maximum(damping, 1e-4) * 6.0)
        theta[live], best[live] = state.theta, state.objective
        converged[live[reached]] = True
        if done.all():
            break
        if done.any():
            keep = ~done
            live, damping = live[keep], damping[keep]
            state = state.keep(keep)
    return Solution(theta, best, converged, iterations)


class _State:
    """Residuals, gradient and objective of the live members at their present theta."""

    FIELDS = ("theta", "residual", "clipped", "jacobian", "objective")

    def __init__(self, law: Law, logs: Logs, y: Array, w: Array, theta: Array, delta: float) -> None:
        self.y, self.w, self.theta, self.delta = y, w, theta, delta
        value, self.jacobian = law.evaluate(theta, logs)
        self.residual = y - value
        self.clipped = self.residual if np.isinf(delta) else np.clip(self.residual, -delta, delta)
        # c (r - c / 2) is r^2 / 2 where c = r, and delta (|r| - delta / 2) where c = +- delta.
        objective = (w * self.clipped * (self.residual - 0.5 * self.clipped)).sum(axis=1)
        self.objective = np.where(np.isfinite(objective), objective, np.inf)

    def take(self, other: _State, rows: np.ndarray) -> None:
        """Copy the members `rows` from `other`."""
        whole = rows.all()
        for name in self.FIELDS:
            if whole:
                setattr(self, name, getattr(other, name))
            else:
                getattr(self, name)[rows] = getattr(other, name)[rows]

    def keep(self, rows: np.ndarray) -> _State:
        """Drop the members that are done."""
        for name in ("y", "w", *self.FIELDS):
            setattr(self, name, getattr(self, name)[rows])
        return self


def _step(state: _State, damping: Array, lower: Array, upper: Array, fixed: tuple[int, ...]) -> tuple[Array, Array]:
    """The damped Newton step and the gain that it promises, free of the damping.

    Where the step would leave the bounds, those parameters go to their bound and the others are solved for again:
    cutting the step instead would turn it away from the descent, and let a floor near 0 stall.
    """
    pull = state.w * state.clipped
    if np.isinf(state.delta):
        curvature = state.w * (1.0 + damping[:, None])
    else:
        size = np.abs(state.residual)
        shrink = state.delta / np.maximum(size, state.delta)
        curvature = state.w * ((size <= state.delta) + damping[:, None] * shrink)
    gradient = (state.jacobian @ pull[..., None])[..., 0]
    hessian = (state.jacobian * curvature[:, None, :]) @ state.jacobian.transpose(0, 2, 1)
    frozen = ((state.theta <= lower) & (gradient < 0)) | ((state.theta >= upper) & (gradient > 0))
    frozen[:, list(fixed)] = True
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
