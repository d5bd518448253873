"""Tables that nobody would draw on purpose: a full result or one sentence, never a warning or a traceback."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mnist_scaling.fitting import Options, Settings, analyse, make_table
from mnist_scaling.reporting.documents.fit_record import fit_record
from mnist_scaling.reporting.documents.json_form import plain

pytestmark = pytest.mark.slow

LOSSES = {
    "constant": lambda n, rng: np.full(len(n), 2.0),
    "over sixteen decades": lambda n, rng: 10 ** rng.uniform(-8, 8, len(n)),
    "pure noise": lambda n, rng: np.exp(rng.standard_normal(len(n))),
    "two values": lambda n, rng: np.where(n > np.median(n), 1.8, 2.3),
}

DESIGNS = {
    "3 rows": lambda rng: (np.array([1e3, 2e3, 4e3]), np.array([1e4, 1e4, 1e4])),
    "2 x 2": lambda rng: (np.tile([1e3, 2e3], 2), np.repeat([1e4, 2e4], 2)),
    "one size": lambda rng: (np.full(8, 1e3), np.geomspace(1e2, 1e6, 8)),
    "N and D in step": lambda rng: (np.geomspace(1e3, 1e6, 9), np.geomspace(1e4, 1e7, 9)),
    "scattered": lambda rng: (np.exp(rng.uniform(7, 25, 18)), np.exp(rng.uniform(7, 25, 18))),
    "all the same": lambda rng: (np.full(6, 1e3), np.full(6, 1e4)),
    "63 rows": lambda rng: (np.tile(np.geomspace(1e3, 1e5, 7), 9), np.repeat(np.geomspace(1e2, 1e5, 9), 7)),
}


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("loss", LOSSES)
def test_a_result_or_a_sentence(design, loss):
    rng = np.random.default_rng(0)
    n, d = DESIGNS[design](rng)
    table = make_table(LOSSES[loss](n, rng), {"N": n, "D": d, "C": 6 * n * d, "U": d / 2})
    options = Options(draws=20, classes=10, predict={"N": 1e9, "D": 1e9, "U": 1e9}, seed=1)
    result = analyse(table, options)
    text = json.dumps(plain(fit_record(result)), allow_nan=False)
    assert json.loads(text)["schema"] == 1
    for name, law in json.loads(text)["laws"].items():
        fitted = law["objective"] is not None
        assert fitted == (name in result.fitted)
        assert all((p["value"] is not None) == fitted for p in law["params"].values())


@pytest.mark.parametrize("variables", ["N", "D", "C", "NC", "DC", "ND"])
@pytest.mark.parametrize("loss", ["huber", "squared", "absolute"])
def test_any_subset_of_columns(variables, loss):
    rng = np.random.default_rng(0)
    n, d = DESIGNS["63 rows"](rng)
    every = {"N": n, "D": d, "C": 6 * n * d}
    table = make_table(3 / n**0.2 + 20 / d**0.5, {k: every[k] for k in variables}).take(np.arange(0, 63, 3))
    result = analyse(table, Options(draws=20, settings=Settings(loss=loss)))
    assert set(result.fitted) | set(result.refused) >= {f"power_{v}" for v in variables}
    json.dumps(plain(fit_record(result)), allow_nan=False)


def test_runs_of_one_size_and_data_but_another_cost_are_other_cells():
    """A gap in C parts them, however C is laid out; smaller differences don't."""
    n, d = np.array([1e3, 1e3, 1e3, 1e3, 2e3]), np.array([1e4, 1e4, 1e4, 1e4, 1e4])
    c = np.array([1.0e9, 1.04e9, 1.09e9, 3e9, 1e9])
    table = make_table(np.array([1.0, 1.1, 1.2, 0.9, 0.8]), {"N": n, "D": d, "C": c}).folded()
    assert table.loss.tolist() == pytest.approx([1.1, 0.9, 0.8])
