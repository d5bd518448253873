"""Transfer between cells: a cell starts from what its cheaper neighbours selected, the rate carried by a rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import exp, log, sqrt
from typing import Any

import numpy as np
from omegaconf import DictConfig
from optuna.trial import FrozenTrial, TrialState

from mnist_scaling import config
from mnist_scaling.config import RunConfig, one_of
from mnist_scaling.tuning.grid import Cell
from mnist_scaling.tuning.storage import DIVERGED_VALUE
from mnist_scaling.tuning.trials import in_ranges

INDEPENDENT, NONE, WIDTH, FITTED = "independent", "none", "width", "fitted"
RULES = (INDEPENDENT, NONE, WIDTH, FITTED)
"""Values of `hydra.sweeper.transfer.rule`."""

LEAST_CELLS = 5
"""Finished cells from which the fitted rule has more points than coefficients to spare; fewer use `width`."""


@dataclass(frozen=True)
class Tuned:
    """A finished cell and its selected setting."""

    cell: Cell
    setting: Mapping[str, Any]


@dataclass(frozen=True)
class Transfer:
    """How cells start from other cells.

    With w the fan-in that grows with the model and s the optimiser steps of a run,

        none     lr = lr_neighbour
        width    lr = lr_neighbour * (w_neighbour / w)^1/2
        fitted   log lr = a + b log w + c log s, least squares over all cheaper cells

    ``width`` is the rule of an initialisation with variance 1 / fan-in under Adam, where a step of fixed
    size in every weight moves a layer's output by fan-in^1/2 more than its initial weights do.

    Parameters
    ----------
    rule : {"independent", "none", "width", "fitted"}
    rate : str
        Config key of the learning rate; every other tuned key is carried as it is.
    fan_in, steps : callable
        From a run's config to w and to s.
    """

    rule: str
    rate: str
    fan_in: Callable[[RunConfig], float]
    steps: Callable[[RunConfig], float]

    def __post_init__(self) -> None:
        one_of("hydra.sweeper.transfer.rule", self.rule, RULES)

    @property
    def looks_back(self) -> bool:
        """Whether the rule needs all cheaper cells, not the neighbours alone."""
        return self.rule == FITTED

    def parents(self, cells: Sequence[Cell]) -> dict[str, list[Cell]]:
        """The cells that each cell waits for, by its name: along every axis of numbers the next cheaper one."""
        found: dict[str, list[Cell]] = {cell.name: [] for cell in cells}
        if self.rule == INDEPENDENT:
            return found
        for key in cells[0].keys if cells else ():
            lines: dict[tuple[Any, ...], list[Cell]] = {}
            for cell in cells:
                if _is_number(cell.keys[key]):
                    lines.setdefault(tuple(v for k, v in cell.keys.items() if k != key), []).append(cell)
            for line in lines.values():
                line.sort(key=lambda cell: (cell.cost, cell.keys[key]))
                for cheaper, cell in pairwise(line):
                    found[cell.name].append(cheaper)
        return found

    def settings(self, cell: Cell, parents: Sequence[Tuned], cheaper: Sequence[Tuned]) -> list[dict[str, Any]]:
        """What a cell tries first: its neighbours' settings with the rate carried over, duplicates left out.

        Parameters
        ----------
        cell : Cell
        parents : sequence of Tuned
            Its cheaper neighbours.
        cheaper : sequence of Tuned
            All finished cells that are no larger along any axis: what the fitted rule is fitted to.
        """
        found: list[dict[str, Any]] = []
        for parent in parents:
            if parent.setting.keys() != cell.space.keys():
                continue  # another optimiser's keys, say: nothing to carry
            setting = dict(parent.setting)
            if self.rate in setting:
                setting[self.rate] *= self.factor(cell, parent, cheaper)
            if setting not in found:
                found.append(setting)
        return found

    def lent(
        self,
        cell: Cell,
        own: Sequence[FrozenTrial],
        parent: Tuned,
        trials: Sequence[FrozenTrial],
        cheaper: Sequence[Tuned],
    ) -> list[FrozenTrial]:
        """A neighbour's trials as if they were this cell's, for a sampler to learn from.

        The rate is carried as in `settings`. Losses are shifted, in logs, so that the neighbour's best is
        where this cell's run of the same setting is: the two landscapes are taken to differ in height only.

        Parameters
        ----------
        cell : Cell
            With the ranges that the trials are to lie in; a value outside is moved to the end.
        own, trials : sequence of FrozenTrial
            The cell's trials, and the neighbour's.
        parent : Tuned
            The neighbour.
        cheaper : sequence of Tuned
            As in `settings`.
        """
        best = min((t.value for t in trials if t.state == TrialState.COMPLETE and t.value), default=None)
        here = [t.value for t in own if t.state == TrialState.COMPLETE and t.value]
        if best is None or not here or parent.setting.keys() != cell.space.keys():
            return []
        # The carried settings come first of all, so that the best so far is one of them, or better.
        shift, factor = min(here) / best, self.factor(cell, parent, cheaper)
        found = []
        for trial in trials:
            if trial.state not in (TrialState.COMPLETE, TrialState.PRUNED) or trial.params.keys() != cell.space.keys():
                continue
            value = None if trial.value is None else min(trial.value * shift, DIVERGED_VALUE)
            found.append(in_ranges(trial, cell.space, value, {self.rate: factor}))
        return found

    def factor(self, cell: Cell, parent: Tuned, cheaper: Sequence[Tuned]) -> float:
        """What a neighbour's learning rate is multiplied by."""
        if self.rule == FITTED:
            fitted = self._fitted(cell, parent, cheaper)
            if fitted is not None:
                return fitted / float(parent.setting[self.rate])
        if self.rule in (WIDTH, FITTED):
            return sqrt(self.fan_in(parent.cell.run) / self.fan_in(cell.run))
        return 1.0

    def _fitted(self, cell: Cell, parent: Tuned, cheaper: Sequence[Tuned]) -> float | None:
        """The regression's rate at the cell's width and steps; None with too few or too similar cells."""
        points = [t for t in cheaper if self.rate in t.setting]
        if len(points) < LEAST_CELLS:
            return None
        x = np.array([self._features(t.cell, t.setting) for t in points])
        y = np.log([float(t.setting[self.rate]) for t in points])
        if np.linalg.matrix_rank(x) < x.shape[1]:
            return None
        coefficients = np.linalg.lstsq(x, y, rcond=None)[0]
        return exp(float(self._features(cell, parent.setting) @ coefficients))

    def _features(self, cell: Cell, setting: Mapping[str, Any]) -> np.ndarray:
        run = config.with_values(cell.run, setting)
        return np.array([1.0, log(self.fan_in(run)), log(self.steps(run))])


def build(node: DictConfig, resolve: Callable[[str], Callable[[RunConfig], float]]) -> Transfer:
    """A `Transfer` from its config node; `resolve` turns a dotted path into the function it names."""
    return Transfer(node.rule, node.rate, resolve(node.fan_in), resolve(node.steps))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
