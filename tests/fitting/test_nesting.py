"""A law fits no worse than a law that it holds: the table, every draw of it, and every unit of its columns."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mnist_scaling.fitting import fit_law, get_law
from mnist_scaling.fitting.estimation.solve import EMBEDDINGS, minimise, minimise_nested, nested_in

from .tables import ADDITIVE, grid

TRUTHS = {
    "power": {"A": 3.0, "alpha": 0.3, "B": 20.0, "beta": 0.5, "gamma": 0.2},
    "multiplicative": {"A": 40.0, "alpha": 0.2, "beta": 0.4},
    "additive": {**ADDITIVE, "E": 0.0},
    "kaplan": {"E": 0.0, "Nc": 50.0, "Dc": 700.0, "alpha_N": 0.3, "alpha_D": 0.6},
}


def table_of(small: str, seed: int, noise: float = 0.05):
    """A table whose truth is the nested law, so that the larger one sits at its bound or near it."""
    law = get_law(small)
    values = TRUTHS[small.split("_")[0]]
    return grid(small, {name: values[name] for name in law.names}, noise=noise, seed=seed)


@pytest.mark.parametrize(("big", "small"), EMBEDDINGS)
def test_an_embedded_law_is_the_law(big, small):
    law, nested = get_law(big), get_law(small)
    table = table_of(small, 0)
    logs = table.logs(law.inputs)
    theta = np.repeat(fit_law(nested, logs, table.y).theta[None], 3, axis=0) * np.array([[1.0], [1.01], [0.99]])
    inside = EMBEDDINGS[big, small](theta)
    np.testing.assert_allclose(law.evaluate(inside, logs)[0], nested.evaluate(theta, logs)[0], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("big", "small"), EMBEDDINGS)
def test_no_draw_ends_above_a_nested_law(big, small):
    """500 draws near E = 0 or another edge of the larger law; 8 of 500 were worse, and called converged, before."""
    law, nested = get_law(big), get_law(small)
    for seed in range(2):
        table = table_of(small, seed, noise=(0.03, 0.1)[seed])
        logs, rng = table.logs(law.inputs), np.random.default_rng(seed)
        fit = fit_law(law, logs, table.y)
        alone = fit_law(nested, logs, table.y)
        rival = minimise(replace(fit.problem, law=nested), alone.theta[None]).objective[0]
        assert fit.objective <= rival * (1 + 1e-6)
        ys = table.y - fit.residual + fit.rmse * rng.standard_normal((250, len(table)))
        start = np.repeat(fit.theta[None], 250, axis=0)
        found = minimise_nested(replace(fit.problem, y=ys), start, fit.nested)
        below = minimise(replace(fit.problem, law=nested, y=ys), np.repeat(alone.theta[None], 250, axis=0))
        inside = EMBEDDINGS[big, small](below.theta)
        allowed = ((inside >= law.bounds[0]) & (inside <= law.bounds[1])).all(axis=1)
        assert allowed.mean() > 0.9
        assert (found.objective <= below.objective * (1 + 1e-6))[allowed].all()
        assert np.isfinite(found.objective[found.converged]).all()


def test_a_stalled_member_starts_again_from_the_nested_law():
    """From a start without any slope the law alone stays where it is."""
    table = table_of("multiplicative", 3)
    law, logs = get_law("multiplicative_floor"), table.logs(("N", "D"))
    fit = fit_law(law, logs, table.y)
    dead = law.internal({"E": 0.1, "A": 1e-80, "alpha": 0.1, "beta": 0.1})[None]
    stuck = minimise(fit.problem, dead)
    freed = minimise_nested(fit.problem, dead, fit.nested)
    assert stuck.objective[0] > 2 * fit.objective
    assert freed.objective[0] == pytest.approx(fit.objective, rel=1e-6)


def test_pairs_by_way_of_a_third_law_are_left_to_it():
    assert [law.name for law in nested_in(get_law("coupled"))] == ["additive", "kaplan_floor"]
    assert nested_in(get_law("additive")) == []


@pytest.mark.parametrize("name", ["power_D_floor", "multiplicative_floor", "additive", "coupled", "kaplan"])
def test_no_unit_and_no_order_moves_an_exponent(name):
    table = grid(noise=0.05, seed=2)
    law = get_law(name)
    logs, y = table.logs(law.inputs), table.y
    if len(law.inputs) == 1:
        kept = table.inputs["N"] == table.inputs["N"].max()
        logs, y = {"D": logs["D"][kept]}, y[kept]
    exponents = [k for k, p in enumerate(law.parameters) if not p.log and p.name != "E"]
    base = fit_law(law, logs, y).theta[exponents]
    order = np.random.default_rng(0).permutation(len(y))
    for loss, n, d, rows in ((1e-12, 1, 1, order), (1e12, 1, 1, ...), (1, 1e9, 1e-9, ...), (1e-6, 1e-3, 1e6, order)):
        moved = {k: (v + np.log(n if k == "N" else d))[rows] for k, v in logs.items()}
        found = fit_law(law, moved, (y + np.log(loss))[rows]).theta[exponents]
        np.testing.assert_allclose(found, base, rtol=1e-6, atol=1e-6)
