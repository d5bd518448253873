"""The batched solver against independent ones: lstsq, linear programming, scipy's optimisers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize

from mnist_scaling.fitting import get_law
from mnist_scaling.fitting.estimation.problem import Problem, huber
from mnist_scaling.fitting.estimation.solve import minimise

from .tables import grid


@pytest.fixture
def noisy():
    table = grid(noise=0.05)
    return table.logs(("N", "D")), table.y


def test_least_squares_is_lstsq(noisy):
    logs, y = noisy
    design = np.column_stack([np.ones_like(y), -logs["N"], -logs["D"]])
    found = minimise(Problem(get_law("multiplicative"), logs, y), np.array([[0.0, 0.1, 0.1]]))
    np.testing.assert_allclose(found.theta[0], np.linalg.lstsq(design, y, rcond=None)[0], rtol=1e-9)
    assert found.converged.all()


def test_small_delta_is_least_absolute_deviations(noisy):
    """Linear programming knows the exact optimum of sum |r|."""
    logs, y = noisy
    n, design = len(y), np.column_stack([np.ones_like(y), -logs["N"], -logs["D"]])
    cost = np.concatenate([np.zeros(3), np.ones(2 * n)])
    equal = np.hstack([design, np.eye(n), -np.eye(n)])
    exact = optimize.linprog(cost, A_eq=equal, b_eq=y, bounds=[(None, None)] * 3 + [(0, None)] * (2 * n))
    delta = 1e-7
    found = minimise(
        Problem(get_law("multiplicative"), logs, y, delta=delta), np.array([[0.0, 0.1, 0.1]]), max_iterations=500
    )
    assert found.objective[0] / delta == pytest.approx(exact.fun, rel=1e-5)


@pytest.mark.parametrize("delta", [1e-3, 0.05, np.inf])
@pytest.mark.parametrize("name", ["additive", "coupled", "kaplan", "multiplicative_floor"])
def test_no_other_optimiser_does_better(noisy, name, delta):
    logs, y = noisy
    law = get_law(name)
    starts = law.starts(logs, y)
    found = minimise(Problem(law, logs, y, delta=delta), starts[:: max(1, len(starts) // 16)], max_iterations=500)
    best = found.theta[found.objective.argmin()]

    def objective(theta):
        return huber(y - law.evaluate(theta[None], logs)[0][0], delta).sum()

    rng = np.random.default_rng(0)
    for _ in range(3):
        start = best + 0.02 * rng.standard_normal(law.size)
        other = optimize.minimize(objective, start, method="Nelder-Mead", options={"maxiter": 3000, "xatol": 1e-9})
        inside = np.clip(other.x, *law.bounds)
        assert found.objective.min() <= objective(inside) * (1 + 1e-6)


def test_members_of_a_batch_do_not_disturb_each_other(noisy):
    logs, y = noisy
    law, rng = get_law("additive"), np.random.default_rng(0)
    start = law.starts(logs, y)[:5]
    ys = y + 0.05 * rng.standard_normal((5, len(y)))
    weights = rng.integers(0, 3, (5, len(y))).astype(float)
    together = minimise(Problem(law, logs, ys, weights, 0.03), start)
    for k in range(5):
        alone = minimise(Problem(law, logs, ys[k], weights[k], 0.03), start[k : k + 1])
        assert together.objective[k] == pytest.approx(alone.objective[0], rel=1e-9)


def test_weight_two_is_the_row_twice(noisy):
    logs, y = noisy
    law = get_law("multiplicative")
    twice = np.r_[np.arange(len(y)), 3, 7]
    weights = np.ones(len(y))
    weights[[3, 7]] = 2
    start = law.starts(logs, y)
    a = minimise(Problem(law, logs, y, weights, 0.02), start)
    b = minimise(Problem(law, logs, y, delta=0.02).rows(twice), start)
    np.testing.assert_allclose(a.theta, b.theta, rtol=1e-7)


def test_giving_up_is_said(noisy):
    logs, y = noisy
    law = get_law("additive")
    found = minimise(Problem(law, logs, y, delta=1e-3), law.starts(logs, y)[:3], max_iterations=2)
    assert not found.converged.any()


def test_an_infinite_objective_is_no_optimum(noisy):
    """No step helps where squares overflow; the solver used to call that converged."""
    logs, y = noisy
    with np.errstate(all="ignore"):
        found = minimise(Problem(get_law("multiplicative"), logs, 1e200 * y), np.array([[0.0, 0.1, 0.1]]))
    assert not np.isfinite(found.objective).any()
    assert not found.converged.any()


def test_bounds_hold(noisy):
    """Losses that fall faster and faster want a negative floor and get 0."""
    logs, _ = noisy
    y = -0.05 * (logs["N"] - 5) ** 2 - 0.3 * logs["D"]
    law = get_law("additive")
    found = minimise(Problem(law, logs, y, delta=0.05), law.starts(logs, y)[:20], max_iterations=400)
    assert (found.theta >= law.bounds[0]).all()
    assert found.theta[found.objective.argmin(), 0] == 0
