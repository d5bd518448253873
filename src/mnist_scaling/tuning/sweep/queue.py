"""Which cells are to be tuned or repeated next, so that a look at the queue does not pass over every cell of a grid."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator, Mapping, Sequence
from graphlib import TopologicalSorter

from mnist_scaling.tuning.sweep.cell_state import CellState


class Queue:
    """The cells of a study, in the order in which they are to have the next free worker.

    Cells that wait for others are not in it, nor cells that are finished. The cell with the longest chain of cells
    that wait for it comes first; of the cells that are tuned and not repeated, the one with the longest runs.

    Parameters
    ----------
    cells : mapping
        Every cell, by its name.
    parents : mapping
        The cells that each cell waits for, by its name.
    n_trials : int
        Per cell.
    """

    def __init__(
        self, cells: Mapping[str, CellState], parents: Mapping[str, Sequence[CellState]], n_trials: int
    ) -> None:
        place = {name: n for n, name in enumerate(cells)}
        chain = _chains(cells, parents, n_trials)
        # In the order of the grid where two are equal.
        self._by_chain = {name: (-chain[name], place[name]) for name in cells}
        self._by_cost = {name: (-cell.cell.cost, place[name]) for name, cell in cells.items()}
        self._cells = cells
        self._children: dict[str, list[CellState]] = {name: [] for name in cells}
        for name, found in parents.items():
            for parent in found:
                self._children[parent.cell.name].append(cells[name])
        self._waits_for = {name: len(found) for name, found in parents.items()}
        self._tuning: list[CellState] | None = None
        self._repeating: list[CellState] = []

    def tuning(self) -> Iterator[CellState]:
        """Cells with trials left, or under way; those that turn out to be tuned make room for what waited for them."""
        if self._tuning is None:
            ready = [cell for cell in self._cells.values() if not self._waits_for[cell.cell.name]]
            self._tuning = sorted(ready, key=self._chain)
        place = 0
        while place < len(self._tuning):
            cell = self._tuning[place]
            if cell.tuned:
                self._advance(self._tuning.pop(place), place)
                continue
            yield cell
            # What was yielded may be tuned by now: then it makes room before any cell behind it has its turn.
            if not cell.tuned:
                place += 1

    def repeating(self) -> list[CellState]:
        """Cells that are tuned and not yet repeated."""
        return list(self._repeating)

    def repeated(self, cell: CellState) -> None:
        """Take off a cell whose repeats were handed over."""
        self._repeating.remove(cell)

    def _advance(self, cell: CellState, place: int) -> None:
        """A cell is tuned: it may be repeated, and cells that waited for it alone may begin, none before this place."""
        assert self._tuning is not None
        insort(self._repeating, cell, key=lambda other: self._by_cost[other.cell.name])
        for child in self._children[cell.cell.name]:
            self._waits_for[child.cell.name] -= 1
            if not self._waits_for[child.cell.name]:
                insort(self._tuning, child, lo=place, key=self._chain)

    def _chain(self, cell: CellState) -> tuple[float, int]:
        return self._by_chain[cell.cell.name]


def _chains(
    cells: Mapping[str, CellState], parents: Mapping[str, Sequence[CellState]], n_trials: int
) -> dict[str, float]:
    """Cost of the longest chain of cells that wait for each other, from each cell on."""
    chains: dict[str, float] = {}
    waits = {name: [parent.cell.name for parent in found] for name, found in parents.items()}
    for name in reversed([*TopologicalSorter(waits).static_order()]):  # children before their parents
        chains[name] = chains.get(name, 0.0) + cells[name].cell.cost * n_trials
        for parent in waits[name]:
            chains[parent] = max(chains.get(parent, 0.0), chains[name])
    return chains
