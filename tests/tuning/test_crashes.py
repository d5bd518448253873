"""A kill at any write changes no row: a few crashes in each mode; ``make test-crash`` has hundreds."""

from __future__ import annotations

from pathlib import Path

import pytest

from mnist_scaling.study import layout

from . import crash_simulator
from .crash_simulator import MODES, Simulator

pytestmark = pytest.mark.slow


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")  # the quasi-random sampler
@pytest.mark.parametrize("mode", MODES)
def test_no_row_differs_after_crashes(mode: str) -> None:
    outcome = crash_simulator.simulate(mode, crashes=4, seed=1)
    assert outcome.crashes >= 4
    assert (outcome.differing, outcome.broken, outcome.examples) == (0, 0, [])
    assert outcome.repeated == 0, "a finished run was run again"


def test_the_simulated_study_has_all_that_a_crash_could_change() -> None:
    with crash_simulator.fast_folder() as folder:
        expected = [dict(row) for row in Simulator("defaults", folder).expected]
    trials = [row for row in expected if row["table"] == layout.TRIALS]
    cells = [row for row in expected if row["table"] == layout.CELLS]
    assert {row["state"] for row in trials} == {"COMPLETE", "PRUNED", "DIVERGED", "FAILED"}
    assert {row["origin"] for row in trials if row["stage"] == "trial"} == {"control", "transfer", "sampler"}
    assert any(row["widened"] for row in cells)
    assert any("repeat_lost" in row["flags"] for row in cells)


def test_a_seed_gives_the_same_crashes() -> None:
    first, again = (crash_simulator.simulate("defaults", crashes=3, seed=2) for _ in range(2))
    assert (first.crashes, first.workers, first.chains) == (again.crashes, again.workers, again.chains)
    assert crash_simulator.simulate("defaults", crashes=3, seed=3).chains != first.chains


@pytest.mark.parametrize(
    "fault", ["the faster worker decides", "a worker writes the record", "tables hold what this sweep has run"]
)
def test_a_planted_fault_is_seen(fault: str) -> None:
    """The others are planted by ``make test-crash``."""
    assert crash_simulator.sees(fault)


def test_a_lost_row_is_seen(tmp_path: Path) -> None:
    """The comparison itself can fail."""
    simulator = Simulator("defaults", tmp_path)
    lost = simulator.expected.pop()
    simulator.crash(1)
    assert simulator.outcome.differing > 0
    assert dict(lost)["table"] == layout.CELLS
