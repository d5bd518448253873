"""The order in which cells get the next free worker."""

from __future__ import annotations

import importlib
from math import ceil
from pathlib import Path

import pytest

from mnist_scaling.study.columns import NEIGHBOURS, TRANSFER_RULES
from mnist_scaling.tuning.cell.next_settings import Effort
from mnist_scaling.tuning.sweep import forecast

from .helpers import InProcess, Study, make_cells

pytestmark = pytest.mark.slow

GRID = ("model.width=4,8,16,32", "data.fraction=1,0.5,0.25")


def test_the_longest_chain_of_waiting_cells_comes_first(tmp_path: Path) -> None:
    driver = Study(tmp_path, InProcess(), *GRID, rule=NEIGHBOURS).driver
    waits = {name: [parent.cell.name for parent in parents] for name, parents in driver.parents.items()}

    def longest(name: str) -> float:
        """The cost of a cell, and of the costliest of those that wait for it."""
        children = [other for other, parents in waits.items() if name in parents]
        return driver.cells[name].cell.cost + max(map(longest, children), default=0.0)

    names = [state.cell.name for state in driver._by_chain]
    assert names == sorted(driver.cells, key=lambda name: -longest(name))
    ready = [state.cell.name for state in driver.cells.values() if driver._is_ready(state)]
    assert ready == [name for name, parents in waits.items() if not parents]
    costs = [state.cell.cost for state in driver._by_cost]
    assert costs == sorted(costs, reverse=True)


def test_the_longest_chain_goes_through_the_costly_neighbours() -> None:
    cells = make_cells("model.width=4,8", "data.fraction=1,0.5")
    trials = {"width=4 data_fraction=0.5": 1.0, "width=4 data_fraction=1": 10.0}
    trials |= {"width=8 data_fraction=0.5": 2.0, "width=8 data_fraction=1": 20.0}
    repeats = dict.fromkeys(trials, 5.0)
    assert forecast.longest_chain(cells, NEIGHBOURS, trials, repeats) == 1 + 10 + 20 + 5
    assert forecast.longest_chain(cells, "independent", trials, repeats) == 20 + 5


@pytest.mark.parametrize("rule", TRANSFER_RULES)
@pytest.mark.parametrize("batch", [1, 2, 5])
def test_a_replayed_study_takes_its_work_with_one_worker_and_its_longest_chain_with_many(rule: str, batch: int) -> None:
    """The shipped tuner on a simulated clock: it never lets a worker wait where there is something to do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
        replay = importlib.import_module("replay").replay
    cells, effort = make_cells(*GRID), Effort(5, 2, batch)
    run = {cell.name: cell.cost * cell.values["model.width"] for cell in cells}
    work = sum(7 * seconds for seconds in run.values())
    chain = forecast.longest_chain(cells, rule, {k: ceil(5 / batch) * s for k, s in run.items()}, run)
    for workers, expected in ((1, work), (1000, chain)):
        outcome, _ = replay(cells, workers, lambda job: run[job.cell], effort, rule)
        assert outcome.makespan == pytest.approx(expected)
        assert outcome.work == pytest.approx(work)
