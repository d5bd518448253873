"""Whether a cell is tuned: the expected gain of ten more trials, the noise between seeds, and importances."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from math import log

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import create_trial

from mnist_scaling.study.columns import DIVERGED_VALUE, NO, YES
from mnist_scaling.study.tables.fitted_rows import expected_least
from mnist_scaling.tuning.cell.trial import Trial

MORE = 10
"""Trials ahead that the expected gain is about."""

LEAST_TRIALS = 6
"""Finished trials below which a tail can't be extrapolated."""


def verdict(gain: float | None, noise: float | None, at_edge: bool) -> str | None:
    """Whether a cell is certified as tuned: YES if no selected value lies on an edge and gain < noise, else NO.

    `gain` is its `expected_gain` and `noise` that between seeds; None where either is unknown.
    """
    if gain is None or noise is None:
        return None
    return YES if not at_edge and gain < noise else NO


def expected_gain(known: Sequence[float], beaten: int = 0, more: int = MORE) -> float | None:
    """E[log min of n - log min of n + more]: what `more` further trials should take off the best loss, a share of it.

    `known` are the losses of trials that ran to their end; `beaten` is the number of further ones, which were worse and
    are given the worst known loss. None with fewer than `LEAST_TRIALS` trials or two losses.

    q_k, the expected least of k of the n log losses (`expected_least`), is exact for k up to n. Its steps d_k = q_k -
    q_(k+1) fall as a power of k for any distribution with a smooth lower end (extreme-value theory: k^(-1 - 1/a) with
    shape a); the power is fitted to the upper half of the steps and summed over k = n ... n + more - 1. The estimate
    assumes that the next trials are drawn as the last ones were: a sampler that still learns does better, and one that
    has converged does worse.
    """
    n = len(known) + beaten
    if n < LEAST_TRIALS or len(known) < 2:
        return None
    y = np.log(np.sort(np.concatenate([known, np.full(beaten, max(known))])))
    q = np.array([expected_least(y, k) for k in range(1, n + 1)])
    steps = q[:-1] - q[1:]
    k = np.arange(1, n)
    upper = (k >= n / 2) & (steps > 0)
    if upper.sum() < 2:
        return 0.0
    slope, start = np.polyfit(np.log(k[upper]), np.log(steps[upper]), 1)
    ahead = np.arange(n, n + more)
    # Steps never grow with k, so a slope above -1 comes from a small sample.
    return float(np.exp(start + min(slope, -1.0) * np.log(ahead) + (slope - min(slope, -1.0)) * log(n)).sum())


def noise(repeats: Sequence[float], pooled: float | None) -> float | None:
    """Standard deviation of the log loss between seeds, from a cell's repeats and the study's `pooled_noise`.

    A few repeats estimate it badly, so the cell's own variance and the study's are averaged with weights n - 1, the
    degrees of freedom, and 2.
    """
    own = float(np.var(np.log(repeats), ddof=1)) if len(repeats) > 1 else None
    if own is None or pooled is None:
        return pooled if own is None else own**0.5
    weight = len(repeats) - 1
    return ((weight * own + 2 * pooled**2) / (weight + 2)) ** 0.5


def pooled_noise(cells: Sequence[Sequence[float]]) -> float | None:
    """Root mean square of the cells' standard deviations of log loss, weighted by their degrees of freedom."""
    several = [np.log(losses) for losses in cells if len(losses) > 1]
    if not several:
        return None
    freedom = np.array([len(x) - 1 for x in several])
    return float(np.sqrt(np.average([np.var(x, ddof=1) for x in several], weights=freedom)))


def importances(space: Mapping[str, BaseDistribution], trials: Sequence[Trial]) -> dict[str, float]:
    """Share of the variance of the loss that each tuned key explains: fANOVA (Hutter et al. 2014), sums to 1.

    Over the better half of the finished trials where they are many: what matters near the optimum is the question.
    `space` has the widest range of each key. Empty with fewer than `LEAST_TRIALS` trials, or where all are alike.
    """
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    done = [t for t in trials if t.loss is not None and t.loss < DIVERGED_VALUE]
    done.sort(key=lambda t: t.value or 0.0)
    done = done[: max(len(done) // 2, 3 * LEAST_TRIALS)]
    if len(done) < LEAST_TRIALS or done[0].value == done[-1].value:
        return {}
    temporary = optuna.create_study(direction="minimize")
    # fANOVA takes a key with one range only, but a range may have been widened on the way.
    temporary.add_trials([create_trial(params=dict(t.params), distributions=dict(space), value=t.value) for t in done])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        shares = get_param_importances(temporary, evaluator=FanovaImportanceEvaluator(seed=0, n_trees=16))
    return {key: float(share) for key, share in shares.items()}
