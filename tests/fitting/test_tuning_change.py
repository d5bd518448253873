"""Known answers of what tuning changed, and how often its intervals hold the truth."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from benchmarks.change_coverage import change_coverage
from benchmarks.comparison_coverage import RunNoise, left_by_tuning
from scipy import stats

from mnist_scaling.fitting.comparing.pairing import PairNoise
from mnist_scaling.fitting.uncertainty.least_squares import exponents
from mnist_scaling.settings.tuning_change import TunedCells, _field, tuning_change

UNTUNED, TUNED = {"k": 240.0, "N": 0.4, "D": 0.5}, {"k": 30.0, "N": 0.3, "D": 0.4}


def loss(plane: dict[str, float], n: np.ndarray, d: np.ndarray) -> np.ndarray:
    return plane["k"] * n ** -plane["N"] * d ** -plane["D"]


def cells(noise: float = 0.0) -> TunedCells:
    """4 sizes x 5 amounts of data."""
    n, d = (a.ravel() for a in np.meshgrid([1e3, 2e3, 5e3, 2e4], [3e3, 6e3, 1.2e4, 2.5e4, 5e4]))
    rng = np.random.default_rng(0)
    seeds = np.exp(noise * rng.standard_normal((3, len(n))))
    tuned = loss(TUNED, n, d) * seeds[1]
    return TunedCells(n, d, loss(UNTUNED, n, d) * seeds[0], tuned * 0.9, tuned, 0.01 * tuned)


def test_exact_planes_are_recovered() -> None:
    found = tuning_change(cells())
    assert [(s.variable, s.fixed) for s in found.slices] == [("D", "N")] * 4 + [("N", "D")] * 5
    for source, at in {"untuned": UNTUNED, "selected": TUNED, "tuned": TUNED}.items():
        assert {k: i.value for k, i in found.plane[source].items()} == pytest.approx({"N": at["N"], "D": at["D"]})
    for part in found.slices:
        assert part.exponents["change"].value == pytest.approx(-0.1)


def test_the_change_is_the_slope_of_the_ratio_with_a_wider_twin() -> None:
    table = cells(0.03)
    part = tuning_change(table, level=0.9).slices[0]
    x, y = np.log(table.D[part.rows]), np.log(table.tuned / table.untuned)[part.rows]
    change, wider = (part.exponents[source] for source in ("change", "simultaneous"))
    assert change.value == wider.value == pytest.approx(-stats.linregress(x, y).slope)
    assert wider.low < change.low < change.value < change.high < wider.high


def test_the_change_holds_the_seeds_of_both_sides() -> None:
    """Ratios that lie on a plane exactly, of which repeats say that each is off by 10 %."""
    table = cells()
    sigma = 0.1
    known = replace(table, noise=PairNoise(np.diag([sigma**2 / 2, sigma**2 / 2]), 1e6))
    x = np.log(table.D) - np.log(table.D).mean()
    change = tuning_change(known).plane["change"]["D"]
    assert 1 < (change.high - change.low) / (2 * 1.96 * sigma / np.sqrt(x @ x)) < 1.3
    none = tuning_change(table).plane["change"]["D"]
    assert none.high - none.low < 1e-6


def test_the_change_holds_luck_that_neighbouring_cells_share() -> None:
    """Of 40 studies whose tuning left correlated luck, against least squares, which take cells for independent."""
    table, rng, held = cells(), np.random.default_rng(3), []
    x = np.log(np.column_stack([table.N, table.D]))
    for _ in range(40):
        luck = left_by_tuning(x, RunNoise(0.0, 0.0, tuning=0.05, reach=(0.7, 0.3)), rng)
        lucky = replace(table, tuned=table.tuned * np.exp(luck + 0.02 * rng.standard_normal(len(x))))
        plain = exponents(lucky.tuned / lucky.untuned, table.N, table.D)
        change = tuning_change(lucky).plane["change"]
        assert [i.value for i in plain] == pytest.approx([change["N"].value, change["D"].value])
        held.append([change["N"].holds(-0.1), change["D"].holds(-0.1), *(i.holds(-0.1) for i in plain)])
    ours, theirs = np.mean(held, axis=0).reshape(2, 2)
    assert ours.min() >= 0.85
    assert theirs.min() < 0.8


def test_a_cell_without_one_of_the_two_is_left_out() -> None:
    table = cells()
    untuned, tuned = table.untuned.copy(), table.tuned.copy()
    untuned[3] = tuned[7] = np.nan
    found = tuning_change(replace(table, untuned=untuned, tuned=tuned))
    assert found.left_out.tolist() == [3, 7]
    assert all({3, 7}.isdisjoint(part.rows) for part in found.slices)
    assert found.plane["change"]["N"].value == pytest.approx(-0.1)


def test_levels_of_the_axes_make_the_slices() -> None:
    """Under early stopping every cell has a D of its own, and still its fraction's line of sizes."""
    table = cells()
    d = table.D * np.linspace(1, 1.3, len(table.D))
    assert not [s for s in tuning_change(replace(table, D=d)).slices if s.variable == "N"]
    found = tuning_change(replace(table, D=d, levels={"N": table.N, "D": table.D}))
    assert [s.at for s in found.slices if s.variable == "N"] == [3e3, 6e3, 1.2e4, 2.5e4, 5e4]


def test_amounts_in_whole_batches_are_one_level() -> None:
    table = cells()
    d = table.D * np.linspace(0.995, 1.005, len(table.D))
    assert len([s for s in tuning_change(replace(table, D=d)).slices if s.variable == "N"]) == 5


def test_luck_goes_by_the_axes_where_every_cell_stopped_at_its_own_amount() -> None:
    table = replace(cells(0.03), levels={"N": cells().N, "D": cells().D})
    table = replace(table, D=table.D * np.random.default_rng(0).uniform(1, 1.3, 20))
    seen = _field(table, np.arange(20), ["N", "D"])
    assert seen.steps[1].max() == 4


def test_an_axis_that_stands_still_has_no_slices_of_its_own() -> None:
    """A grid of sizes alone: D follows N, but no axis sets it."""
    table = cells()
    few = TunedCells(*(getattr(table, k)[:4] for k in ("N", "D", "untuned", "selected", "tuned", "tuned_se")))
    few = replace(few, D=few.N * 3, levels={"N": few.N, "D": np.zeros(4)})
    assert [(s.variable, s.fixed, len(s.rows)) for s in tuning_change(few).slices] == [("N", None, 4)]


def test_no_plane_through_sizes_that_move_together() -> None:
    """D = 20 N up to whole batches."""
    n, rng = np.geomspace(1e3, 1e5, 10), np.random.default_rng(0)
    d = 20 * n * np.exp(rng.uniform(-0.004, 0.004, 10))
    before = loss(UNTUNED, n, d) * np.exp(0.01 * rng.standard_normal(10))
    table = TunedCells(n, d, before, loss(TUNED, n, d), loss(TUNED, n, d), np.full(10, np.nan))
    assert not any(i.known for source in tuning_change(table).plane.values() for i in source.values())


def test_two_by_two_has_no_slice() -> None:
    table = cells()
    keep = np.isin(table.N, [1e3, 2e3]) & np.isin(table.D, [3e3, 6e3])
    small = TunedCells(*(getattr(table, k)[keep] for k in ("N", "D", "untuned", "selected", "tuned", "tuned_se")))
    assert tuning_change(small).slices == []


@pytest.mark.slow
def test_each_interval_holds_and_only_the_simultaneous_ones_hold_together() -> None:
    table = cells()
    rng, x = np.random.default_rng(1), np.log(np.column_stack([table.N, table.D]))
    luck = partial(left_by_tuning, x, RunNoise(0.0, 0.0, tuning=0.05, reach=(0.5, 0.2)))
    counted = change_coverage(table.N, table.D, UNTUNED, TUNED, 0.05, 3, 120, rng, luck=luck)
    found = {c.quantity: c for c in counted}
    for quantity in ("change slice N", "change slice D", "change plane N", "change plane D"):
        assert found[quantity].truth == pytest.approx(-0.1)
        assert 0.91 < found[quantity].share < 0.995, quantity
    assert found["change slice N"].tables == 5 * 120
    assert found["change slice, all at once"].share < 0.9
    for quantity in ("simultaneous slice, all at once", "simultaneous plane, all at once"):
        assert found[quantity].share > 0.91, quantity
