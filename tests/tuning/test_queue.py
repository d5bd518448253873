"""The order in which cells get the next free worker, beside a look at every cell of the grid."""

from __future__ import annotations

import importlib
import random
from math import ceil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mnist_scaling.study.vocabulary import NEIGHBOURS, TRANSFER_RULES
from mnist_scaling.tuning.cell import transfer
from mnist_scaling.tuning.cell.next_settings import Effort
from mnist_scaling.tuning.sweep import forecast
from mnist_scaling.tuning.sweep.next_jobs import Queue

from .helpers import make_cells

pytestmark = pytest.mark.slow

GRID = ("model.width=4,8,16,32", "data.fraction=1,0.5,0.25")


def some_cells() -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """Cells of a grid as the queue sees them, and their parents."""
    given = make_cells(*GRID)
    cells: dict[str, Any] = {cell.name: SimpleNamespace(cell=cell, tuned=False) for cell in given}
    found = transfer.parents(given, NEIGHBOURS)
    return cells, {name: [cells[parent.name] for parent in found[name]] for name in cells}


def longest(name: str, cells: dict[str, Any], parents: dict[str, list[Any]]) -> float:
    """The cost of a cell, and of the costliest of those that wait for it."""
    children = [other for other, waits in parents.items() if cells[name] in waits]
    return cells[name].cell.cost + max((longest(other, cells, parents) for other in children), default=0.0)


@pytest.mark.parametrize("seed", range(5))
def test_cells_come_when_their_parents_are_tuned_and_the_longest_chain_comes_first(seed: int) -> None:
    rng = random.Random(seed)
    cells, parents = some_cells()
    queue, place = Queue(cells, parents, 3), {name: n for n, name in enumerate(cells)}
    repeated: set[str] = set()
    while not all(cell.tuned for cell in cells.values()):
        names = [cell.cell.name for cell in queue.tuning()]
        free = [n for n in cells if not cells[n].tuned and all(parent.tuned for parent in parents[n])]
        assert names == sorted(free, key=lambda n: (-longest(n, cells, parents), place[n]))
        tuned = [name for name in cells if cells[name].tuned and name not in repeated]
        listed = [cell.cell.name for cell in queue.repeating()]
        assert listed == sorted(tuned, key=lambda n: (-cells[n].cell.cost, place[n]))
        for name in rng.sample(listed, len(listed) // 2):
            queue.repeated(cells[name])
            repeated.add(name)
        for name in rng.sample(names, rng.randint(1, len(names))):
            cells[name].tuned = True


def test_a_cell_that_becomes_tuned_at_its_turn_makes_room_at_once() -> None:
    cells, parents = some_cells()
    queue, seen = Queue(cells, parents, 3), []
    for cell in queue.tuning():  # as when a job that is handed over turns out to be done
        cell.tuned = True
        seen.append(cell.cell.name)
    assert sorted(seen) == sorted(cells)


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
