"""How many workers a study can keep busy, and what it costs in quality to keep more of them busy.

The rows of a study must not depend on the number of workers, so nothing here changes a setting: the sweep says which
overrides would, and what they cost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from graphlib import TopologicalSorter

from mnist_scaling.study.vocabulary import INDEPENDENT, NEIGHBOURS
from mnist_scaling.tuning.cell import transfer
from mnist_scaling.tuning.grid.partitioning import Cell

LARGE_BATCH = 8
"""The `trials_per_batch` that is proposed where workers would be idle."""

MANY = 1.4
"""Workers per worker that can be busy, from which on something is said: about half of them were idle in replays."""

RISE = {(NEIGHBOURS, LARGE_BATCH): 0.1, (INDEPENDENT, 2): 2.2, (INDEPENDENT, LARGE_BATCH): 2.6}
"""By how much the tuned loss rises against the defaults (neighbours, 2), in per cent, on a surrogate of the quickstart:
docs/scaling_out.md, `python benchmarks/scheduling_quality.py`."""


def longest_chain(cells: Sequence[Cell], rule: str, trials: Mapping[str, float], repeats: Mapping[str, float]) -> float:
    """Seconds of the longest chain of runs that wait for each other; no number of workers makes a study shorter.

    Parameters
    ----------
    cells : sequence of Cell
    rule : {"neighbours", "independent"}
    trials, repeats : mapping
        A cell's name to the seconds of its batches of trials one after another, and of its repeats.
    """
    waits = {name: [parent.name for parent in found] for name, found in transfer.parents(cells, rule).items()}
    tuned: dict[str, float] = {}
    for name in TopologicalSorter(waits).static_order():
        tuned[name] = trials[name] + max((tuned[parent] for parent in waits[name]), default=0.0)
    return max((tuned[name] + repeats[name] for name in tuned), default=0.0)


def advice(workers: int, busy: Callable[[str, int], float], rule: str, batch: int, n_trials: int) -> str | None:
    """What would keep more workers busy; None where all of them are, or nothing would.

    Work / longest chain is the most workers that can be busy on average (Brent 1974). It is predicted as if runs of
    one cell took equally long; in replays of recorded studies 0.4 to 1 of it were busy.

    Parameters
    ----------
    workers : int
    busy : callable
        From a rule of transfer and `trials_per_batch` to work / longest chain.
    rule, batch : str, int
        The study's own.
    n_trials : int
        Per cell.
    """
    now = busy(rule, batch)
    if workers < MANY * now:
        return None
    found = []
    for (other, size), rise in RISE.items():
        size = batch if size < LARGE_BATCH else max(min(size, n_trials), batch)
        given = [f"hydra.sweeper.trials_per_batch={size}"] if size != batch else []
        given += [f"hydra.sweeper.transfer={other}"] if other != rule else []
        then = busy(other, size)
        if given and then > 1.1 * now and not (rule == INDEPENDENT and other == NEIGHBOURS):
            found.append(
                f"`{' '.join(given)}` keeps about {then:.0f} busy, for a tuned loss that is {rise:.1f} % higher"
            )
    if not found:
        return None
    return (
        f"This study keeps no more than about {max(now, 1):.0f} of {workers} workers busy, because trials wait for "
        f"others. {'; '.join(found)} (against the defaults, on the quickstart's grid: docs/scaling_out.md). They "
        "change the rows, so choose before the study begins."
    )
