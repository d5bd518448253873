"""Learning curves for the Pareto method: smoothing that bends nothing, refusal where a mid-run loss means nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mnist_scaling.fitting import Options, analyse, make_table
from mnist_scaling.fitting.frontier.fronts import attach, grid, observed, smooth

N = np.array([1e3, 2e3, 4e3, 8e3, 1.6e4, 3.2e4, 6.4e4])
D = 1e6


def loss_of(n: Any, d: Any) -> Any:
    """An additive law with N* ~ C^(beta / (alpha + beta)) = C^0.4."""
    return 2e2 / n**0.6 + 2e2 / d**0.4


def study(noise: float = 0.0, phase: str = "constant", runs: int = 3) -> tuple[Any, dict[str, Any]]:
    """Seven sizes, each trained on D examples, with curves of some runs."""
    rng = np.random.default_rng(0)
    table = make_table(loss_of(N, D), {"N": N, "D": np.full(7, D), "C": 6 * N * D})
    d = np.geomspace(D / 1024, D, 41)
    columns: dict[str, list[Any]] = {key: [] for key in ("row", "N", "D", "C", "loss", "phase")}
    for row, n in enumerate(N):
        for _ in range(runs):
            y = loss_of(n, d) * np.exp(noise * rng.standard_normal(len(d)))
            for key, values in (("row", [row] * 41), ("N", [n] * 41), ("D", d), ("C", 6 * n * d), ("loss", y),
                                ("phase", [phase] * 41)):  # fmt: skip
                columns[key] += list(values)
    return table, {key: np.array(values) for key, values in columns.items()}


def test_a_straight_line_stays_one() -> None:
    x = np.sort(np.random.default_rng(1).uniform(0, 5, 40))
    at = grid(x)
    assert smooth(x, 3 - 0.4 * x, at) == pytest.approx(3 - 0.4 * at)
    assert (at[0], at[-1]) == (x[0], x[-1])
    assert np.diff(at) == pytest.approx(np.log(2) / 4, rel=0.1)


def test_smoothing_takes_noise_away() -> None:
    rng = np.random.default_rng(2)
    x = np.linspace(0, 5, 200)
    y = 1 - 0.4 * x + 0.1 * rng.standard_normal(200)
    at = grid(x)
    assert np.std(smooth(x, y, at) - (1 - 0.4 * at)) < 0.04


@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_the_pareto_method_finds_the_exponent_in_curves(noise: float) -> None:
    table, points = study(noise)
    # Ends alone say nothing: all runs have the same D.
    assert np.isnan(observed(table, "pareto").intervals["N_exponent"].value)
    found, why = attach(table, points)
    assert why == ""
    shown = observed(found, "pareto")
    # The envelope of sizes in steps of two, over the compute at which the optimum lies among them.
    assert shown.intervals["N_exponent"].value == pytest.approx(0.4, abs=0.06)
    assert shown.intervals["loss_exponent"].value == pytest.approx(-0.24, abs=0.02)
    assert {int(point["row"]) for point in shown.points} <= set(range(7))


def test_curves_are_used_by_the_whole_analysis() -> None:
    table, points = study(0.01)
    found, _ = attach(table, points)
    frontier = analyse(found, Options(draws=50)).frontier["pareto"]
    assert len(frontier.points) > 20


@pytest.mark.parametrize("phase", ["cosine", "decay", "warmup"])
def test_points_whose_rate_was_moving_are_refused_with_the_reason(phase: str) -> None:
    table, points = study(phase=phase)
    found, why = attach(table, points)
    assert found is table
    assert "the learning rate was not constant at any of their points" in why
    assert (phase if phase != "warmup" else "warming up") in why


def test_only_constant_points_of_a_curve_count() -> None:
    table, points = study()
    late = points["D"] > D / 4
    points["phase"] = np.where(late, "decay", "constant")
    found, why = attach(table, points)
    assert why == ""
    assert found.curves is not None
    assert found.curves.inputs["D"].max() <= D / 4 * 1.0001


def test_a_cell_without_a_curve_keeps_all_curves_out() -> None:
    table, points = study()
    kept = points["row"] != 3
    found, why = attach(table, {key: values[kept] for key, values in points.items()})
    assert found is table
    assert "1 of 7 cells have fewer than 3 points" in why


def test_rows_that_were_filtered_out_take_their_curves_with_them() -> None:
    table, points = study()
    found, why = attach(table.take(np.array([1, 3, 5])), points)
    assert why == ""
    assert found.curves is not None
    assert sorted(set(found.curves.inputs["N"])) == pytest.approx([2e3, 8e3, 3.2e4])
    assert sorted(set(found.curves.rows)) == [1, 3, 5]
