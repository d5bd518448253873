"""A law never fits worse than a law that it holds: members that stalled above one start again from its optimum."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from mnist_scaling.fitting.estimation.problem import Problem
from mnist_scaling.fitting.estimation.solve import Solution, minimise
from mnist_scaling.fitting.laws import ALL
from mnist_scaling.fitting.laws.base import Array, Law

BETTER = 1e-9
"""A nested law is better when its objective is lower by more than this share."""

STEPS = 60
"""Most steps of a nested law, which starts near its optimum."""

LONG = 1000
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
    ("coupled", "kaplan"): lambda theta: _kaplan_as_coupled(_with_floor(theta)),
}
"""(law, nested law) to the map of the nested law's parameters, shape (batch, q), into the law's, shape (batch, p).

Only exact pairs stand here: a limit, such as the product form of `coupled`, lies beyond the bounds. A pair that `nests`
by way of a third law, such as `kaplan` in `coupled`, needs no check of its own where the third law is checked.
"""


def nested_in(law: Law) -> list[Law]:
    """The laws that are tried in place of this one; those that another of them holds are left to that."""
    found = [small for big, small in EMBEDDINGS if big == law.name]
    return [ALL[name] for name in found if not any((other, name) in EMBEDDINGS for other in found)]


def minimise_nested(problem: Problem, start: Array, nested: Mapping[str, Array]) -> Solution:
    """`minimise`, and again from the optimum of each nested law for the members that it is better for.

    Parameters
    ----------
    problem, start
        As for `minimise`.
    nested : mapping of str to array, shape (q,)
        Name of each nested law, and where its members start.

    Returns
    -------
    Solution
        No member's objective is above that of a nested law, as far as a nested optimum lies inside the law's bounds.
    """
    found = minimise(problem, start, tolerance=GAIN)
    for name, begin in nested.items():
        # In a long table a member that has converged has no second optimum to be stuck in.
        asked = np.arange(len(start)) if problem.n <= LONG else np.flatnonzero(~found.converged)
        if not len(asked):
            continue
        small = replace(problem.members(asked), law=ALL[name])
        rival = minimise(small, np.repeat(begin[None], len(asked), axis=0), (), STEPS, GAIN)
        ahead = rival.objective < found.objective[asked] * (1 - BETTER)
        if ahead.any():
            starts = EMBEDDINGS[problem.law.name, name](rival.theta[ahead])
            found = _again(problem, found, starts, asked[ahead])
    return found


def _again(problem: Problem, found: Solution, start: Array, members: np.ndarray) -> Solution:
    """The solution with these members from new starts, where they end lower."""
    other = minimise(problem.members(members), start)
    better = other.objective < found.objective[members]
    fields = {}
    for name in Solution.__dataclass_fields__:
        values = getattr(found, name).copy()
        values[members[better]] = getattr(other, name)[better]
        fields[name] = values
    return replace(found, **fields)
