"""A study in Python, without a Hydra application: a function, its axes, and what is tuned in every cell.

    study = Study("mine", axes={"width": [8, 16]}, tuned={"lr": "tag(log,interval(1e-4,1e-1))"}, task=f, n_trials=8)
    study.run(workers=2)

It is the same sweeper underneath, on a configuration that is made of the arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import sqrt
from typing import Any

import pandas as pd
from hydra.core.config_store import ConfigStore

from mnist_scaling.app.application import AppTask, offer_configs
from mnist_scaling.config import literal, unflatten
from mnist_scaling.study import layout
from mnist_scaling.study.tables.csv_table import read_study_table
from mnist_scaling.tuning.task import Task

_CONFIG = "python_study"
"""Name of the configuration that is made."""


class _Function(AppTask):
    """A function whose errors reach who called it."""

    errors = Task.errors  # type: ignore[assignment]


class PythonStudy:
    """A study of a function.

    Parameters
    ----------
    name : str
        The study's folder, multirun/<name>.
    axes : mapping of str to sequence
        Key to the values of an axis: each combination is a cell.
    tuned : mapping of str to str
        Key to what the tuner tries, in Hydra's syntax: ``tag(log,interval(1e-4,1e-1))`` or ``choice(16,32)``.
    task : callable
        ``task(cfg, report)``, which returns a loss, or a dict of numbers with ``val_loss`` (`mnist_scaling.cell_task`);
        `cfg` has all keys and ``seed``.
    n_trials, n_repeats : int
        Of each cell.
    fixed : mapping, optional
        Further keys and their values; of a tuned key its untuned value, which is the middle of its range otherwise.
    sweeper : mapping, optional
        Further keys of hydra.sweeper, such as ``{"trials_per_batch": 4}``.
    **options
        loss, seed, cost and columns, as `cell_task` takes them.
    """

    def __init__(
        self,
        name: str,
        *,
        axes: Mapping[str, Sequence[Any]],
        tuned: Mapping[str, str],
        task: Callable[..., Any],
        n_trials: int = 16,
        n_repeats: int = 3,
        fixed: Mapping[str, Any] = {},
        sweeper: Mapping[str, Any] = {},
        **options: Any,
    ) -> None:
        self.name, self.axes, self.tuned, self.task = name, axes, tuned, _Function(task, **options)
        self.effort = {"n_trials": n_trials, "n_repeats": n_repeats, **sweeper}
        middles = {key: _middle(key, spec) for key, spec in tuned.items() if key not in fixed}
        self.config = {self.task.seed: 0, **{key: values[0] for key, values in axes.items()}, **middles, **fixed}

    def run(self, workers: int | None = None) -> pd.DataFrame:
        """Tune every cell, or what is left of it; cells.csv.

        Parameters
        ----------
        workers : int, optional
            Processes; one per core otherwise.

        Raises
        ------
        InputError
            When an argument is at fault, or the study's folder holds another study.
        """
        from mnist_scaling.tuning.sweep.forecast import sweeper_of  # it imports optuna

        folder = layout.study_folder(self.name)
        offer_configs()
        defaults = ["_self_", {"override hydra/sweeper": "cells"}]
        ConfigStore.instance().store(_CONFIG, {"defaults": defaults, **unflatten(self.config)}, replace=True)
        arguments = [f"{key}={','.join(map(literal, values))}" for key, values in self.axes.items()]
        arguments += [f"{key}={_tagged(spec)}" for key, spec in self.tuned.items()]
        given = [f"hydra.sweeper.{key}={literal(value)}" for key, value in self.effort.items()]
        given += [f"hydra.launcher.n_workers={literal(workers)}", f"name={literal(self.name)}"]

        with sweeper_of(_CONFIG, [*given, *arguments], self.task) as (sweeper, own):
            sweeper.sweep(own)
        return read_study_table(folder / layout.CELLS)


def _middle(key: str, spec: str) -> Any:
    """The middle of a range, in logs where that is how it is searched; the first of several choices."""
    from mnist_scaling.tuning.cell import search_space

    values: Any = search_space.distributions({key: spec}, {key: 1.0})[key]
    if hasattr(values, "choices"):
        return values.choices[0]
    middle = sqrt(values.low * values.high) if values.log else (values.low + values.high) / 2
    return round(middle) if isinstance(values.low, int) else middle


def _tagged(spec: str) -> str:
    """A sweep with the tag that makes its key a tuned one."""
    return f"tag(nuisance,{spec[4:]}" if spec.startswith("tag(") else f"tag(nuisance,{spec})"
