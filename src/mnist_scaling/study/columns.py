"""Every column of the tables: name, unit, meaning, its label for readers; and values that are words.

What a run measures is the contract between training and everything after it (`TrainResult`). Losses are cross-entropies
in nats per example, sizes are counts, and a multiply-add counts as two FLOPs. A missing number is None, never 0 or 1e9.
"""

from __future__ import annotations

import functools
from dataclasses import MISSING, dataclass, field, fields, replace
from typing import Any

COMPLETE, PRUNED, DIVERGED, FAILED = "COMPLETE", "PRUNED", "DIVERGED", "FAILED"
"""States of a run."""

DIVERGED_VALUE = 100.0
"""Told to Optuna for a diverged run: worse than any finished one, yet a value, so that the sampler
learns to stay away. As a failure the trial would be invisible to it. A loss of so much counts as diverged."""

SINGLE, TRIAL, REPEAT = "single", "trial", "repeat"
"""Stages: a run started by hand, a trial of the tuner, a re-training of a cell's selected setting."""

CONTROL, TRANSFER, SAMPLER = "control", "transfer", "sampler"
"""Origins of a trial's setting: the config's own values (untuned, the same in every cell), another cell's selected
setting, or the sampler."""

NOTES, RANGES = "notes", "ranges"
"""Keys of a trial's record: what sampler and pruner noted on the trial, and the ranges it was asked for in."""

YES, NO, NOTHING_TUNED = "yes", "no", "nothing tuned"
"""Whether a cell is tuned; the third where every key was fixed or an axis."""

NEIGHBOURS, INDEPENDENT = "neighbours", "independent"
TRANSFER_RULES = (NEIGHBOURS, INDEPENDENT)
"""Values of `hydra.sweeper.transfer`."""

OFF_DISTRIBUTION = ("rotated", "shifted", "noisy")
"""Members of `data.off_distribution`: the ways in which test images are changed for further scores."""

EXAMPLES, NATS, FLOPS, SHARE = "examples", "nats per example", "FLOPs", "share"
"""Units."""


def measured(meaning: str, unit: str = "", **default: Any) -> Any:
    """A field of `TrainResult` that is a column of the tables, with its meaning and unit."""
    return field(metadata={"meaning": meaning, "unit": unit}, **default)


later = functools.partial(measured, default=None)
"""The same of what not every run measures."""


@dataclass(frozen=True)
class TrainResult:
    """What one training run measured.

    The parameter counts add up: ``n_params = n_params_input + n_params_hidden + n_params_output``. Our own training
    measures all that has no default; of another program (`app`) any of it may be None.
    """

    state: str
    """COMPLETE, PRUNED or DIVERGED."""
    n_params: int | None = measured("all trainable parameters, biases included: N", "parameters")
    n_params_input: int | None = measured("parameters of the layer that touches the image", "parameters")
    n_params_hidden: int | None = measured("parameters between the input and the output layer", "parameters")
    n_params_output: int | None = measured("parameters of the layer that makes the logits", "parameters")
    n_train: int | None = measured("unique training examples: U", EXAMPLES)
    n_seen: int | None = measured("examples processed until the weights that count: D", EXAMPLES)
    epochs: float | None = measured("passes over the unique examples, n_seen / n_train")
    steps: int | None = measured("optimiser steps until the weights that count")
    flops: int | None = measured("training FLOPs, forward and the backward pass as it really runs: C", FLOPS)
    flops_forward: int | None = measured("the forward part of flops", FLOPS)
    flops_output: int | None = measured("the output layer's part of flops", FLOPS)
    val_loss: float | None = later("loss on the validation images, which the tuner sees", NATS)
    val_error: float | None = later("share of validation images put in the wrong class", SHARE)
    test_loss: float | None = later("loss on the test images; empty for trials, which must not see them", NATS)
    test_error: float | None = later("share of test images put in the wrong class; empty for trials", SHARE)
    train_loss: float | None = later(
        "loss on up to 10,000 of the run's own training images, dropout off; empty for trials", NATS
    )
    epochs_spent: float | None = later("passes that were really made; more than epochs where earlier weights count")
    flops_spent: int | None = later("training FLOPs that were really run, patience and branches included", FLOPS)
    off_distribution: dict[str, float] = field(default_factory=dict)
    """Losses and error rates on changed test images, by their columns (`OFF_DISTRIBUTION_TABLE`)."""
    further: dict[str, float | None] = field(default_factory=dict)
    """Further numbers of a program that is not ours, by their columns."""
    flags: str = measured("codes that the regime gives the run, separated by ;", default="")
    reports: tuple[tuple[float, float], ...] = ()
    """Per report to the pruner: the share of the run, and the loss on a slice of the validation images."""
    curve: tuple[tuple[int, float, float, str], ...] = ()
    """Per evaluation during the run: `CURVE_FIELDS`."""
    branches: tuple[dict[str, float], ...] = ()
    """Per finished decay of a run that measures several data sizes: the columns of its row."""
    device: str = ""
    """The device that the run really used: cpu, cuda or mps."""

    def __post_init__(self) -> None:
        if self.epochs_spent is None:
            object.__setattr__(self, "epochs_spent", self.epochs)
        if self.flops_spent is None:
            object.__setattr__(self, "flops_spent", self.flops)
        parts = [n for n in (self.n_params_input, self.n_params_hidden, self.n_params_output) if n is not None]
        added = len(parts) < 3 or sum(parts) == self.n_params
        assert added, f"parameter counts must add up: {sum(parts)} != {self.n_params}"


CURVE_FIELDS = ("n_seen", "val_loss", "train_loss", "phase")
"""Fields of a point of a learning curve: examples so far, losses on slices, phase of the learning rate."""


@dataclass(frozen=True)
class Column:
    """One column of a table."""

    name: str
    meaning: str
    unit: str = ""


KEY_COLUMNS = {
    "model.width": "width",
    "model.depth": "depth",
    "data.fraction": "data_fraction",
    "data.name": "data",
    "regime.flops": "budget",
    "regime.epochs": "passes",
    "regime.name": "regime",
    "optim.name": "optimizer",
    "model.name": "family",
    "curve.points": "curve_points",
    "curve.images": "curve_images",
    "reports.points": "report_points",
    "optim": "optimizer",
    "model": "family",
}
"""Config keys and groups whose column is not simply the last part of the key."""

SEED = "seed"
"""The config key and column of a run's seed, the one key that may be an axis although every run has its column."""

BRANCH = "branch"
"""Axis of the rows that one run with several decays gives: the share of the training images."""

RUN_SEED = "run_seed"
"""Column of trials.csv where `seed` is an axis: the seed of the run itself, which differs from it for repeats."""

BRANCHED = ("wsd",)
"""Regimes whose runs have branches; the others don't read `regime.branches`, whatever it holds."""

_LABELS = {"lr": "learning rate", "n_params": "parameters", "n_seen": "examples seen"}
"""What readers see instead of a column's name."""

MEASURED = tuple(Column(f.name, f.metadata["meaning"], f.metadata["unit"]) for f in fields(TrainResult) if f.metadata)
"""Columns that a run measures."""

_BY_NAME = {column.name: column for column in MEASURED}

TRIAL_TABLE = (
    Column("stage", "trial (of the tuner) or repeat (a re-training of the selected setting, or of the untuned one)"),
    Column("number", "place within the cell, from 0: of the trial, or of the repeat"),
    Column("seed", "decides the subset, the initial weights, the order and the dropout masks"),
    Column("origin", "where a trial's setting comes from: control, transfer or sampler"),
    Column("state", "COMPLETE, PRUNED, DIVERGED or FAILED"),
    Column("seconds", "wall time of the run", "s"),
    *_BY_NAME.values(),
    Column("error", "what ended a FAILED run"),
)
"""Columns of trials.csv after the swept and the tuned keys."""

CELL_TABLE = (
    *(_BY_NAME[n] for n in ("n_params", "n_params_input", "n_params_hidden", "n_params_output", "n_train")),
    replace(
        _BY_NAME["n_seen"],
        meaning="examples processed until the weights that count; the repeats' mean where their lengths differ: D",
    ),
    *(_BY_NAME[n] for n in ("epochs", "steps", "flops", "flops_forward", "flops_output")),
    Column("flops_6nd", "6 n_params n_seen, the rule of thumb for transformers, for comparison only", FLOPS),
    *(_BY_NAME[n] for n in ("epochs_spent", "flops_spent")),
    Column("val_loss", "validation loss of the selected trial: biased low, because it is the best of n_trials", NATS),
    Column("repeat_val_loss", "mean validation loss of the repeats, which no selection has touched", NATS),
    Column("repeat_val_loss_se", "standard error of repeat_val_loss", NATS),
    Column("test_loss", "mean test loss of the repeats: what is fitted", NATS),
    Column("test_loss_se", "standard error of test_loss over the repeats, empty with fewer than two", NATS),
    Column("test_error", "mean share of test images put in the wrong class by the repeats", SHARE),
    Column("test_error_se", "standard error of test_error over the repeats, empty with fewer than two", SHARE),
    Column("train_loss", "mean of the repeats' train_loss", NATS),
    Column("n_trials", "trials that count: COMPLETE, PRUNED, DIVERGED or FAILED"),
    Column("n_diverged", "trials that diverged"),
    Column("n_failed", "trials that ended in an error"),
    Column("n_repeats", "repeats of the selected setting that ran to their end"),
    Column("tuning_flops", "training FLOPs that all trials of the cell spent: what its tuning cost", FLOPS),
    Column("seconds", "wall time of all runs of the cell, added up; a run with branches is shared out by FLOPs", "s"),
    Column(
        "expected_gain", "share of the loss that 10 further trials should take off, extrapolated from the trials", SHARE
    ),
    Column("noise", "standard deviation of the log loss between seeds, from the repeats"),
    Column(
        "tuned",
        "yes when no selected value lies on an edge and expected_gain is below noise, else no; empty when unknown; "
        "'nothing tuned' where every key was fixed or an axis",
    ),
    Column("edges", "tuned columns whose selected value lies on the edge of its range, separated by ;"),
    Column(
        "limits",
        "tuned columns whose selected value lies at an end of its range that is a limit, by nature or by choice, "
        "separated by ;: the cell is tuned within them",
    ),
    Column("widened", "tuned columns whose range was widened because the best setting lay on its edge, separated by ;"),
    Column("flags", "codes separated by ;"),
)
"""Columns of cells.csv after the swept and the tuned keys."""


def off_distribution(kind: str) -> tuple[str, str]:
    """Columns of the loss and of the error rate on test images that are changed in one way."""
    return f"test_loss_{kind}", f"test_error_{kind}"


def _off_distribution(kind: str) -> tuple[Column, Column]:
    loss, error = off_distribution(kind)
    return (
        Column(loss, f"loss on {kind} test images, the same ones for all runs; empty for trials", NATS),
        Column(error, f"share of {kind} test images put in the wrong class; empty for trials", SHARE),
    )


OFF_DISTRIBUTION_TABLE = tuple(column for kind in OFF_DISTRIBUTION for column in _off_distribution(kind))
"""Further columns of the tables of studies that ask for them by `data.off_distribution`: of a run in trials.csv; in
cells.csv the mean over the repeats, each followed by its standard error, `<column>_se`."""

OFF_DISTRIBUTION_COLUMNS = tuple(column.name for column in OFF_DISTRIBUTION_TABLE)

CURVE_TABLE = (
    Column("cell", "row of cells.csv, from 0"),
    Column("seed", "seed of the repeat"),
    *(_BY_NAME[n] for n in ("n_params", "n_train")),
    Column("n_seen", "examples processed so far", EXAMPLES),
    Column("flops", "training FLOPs so far", FLOPS),
    Column("val_loss", "loss on a fixed slice of the validation images", NATS),
    Column("train_loss", "loss on a slice of the run's own training images", NATS),
    Column("phase", "what the learning rate was doing: warmup, constant, decay, or a schedule's name"),
)
"""Columns of curves.csv."""

ALWAYS = tuple(f.name for f in fields(TrainResult) if f.metadata and f.default is MISSING)
"""Columns that every finished run of our own training measures; of another program any may be missing."""

RESULT_COLUMNS = tuple(column.name for column in MEASURED)
TRIAL_COLUMNS = tuple(column.name for column in TRIAL_TABLE)
CELL_COLUMNS = tuple(column.name for column in CELL_TABLE)
CURVE_COLUMNS = tuple(column.name for column in CURVE_TABLE)

WORDS = ("stage", "origin", "state", "error", "tuned", "edges", "limits", "widened", "flags", "phase")
"""Columns that hold words."""

NUMBERS = {c.name for c in (*TRIAL_TABLE, *CELL_TABLE, *CURVE_TABLE)} - {*WORDS}
"""Columns that a study's tables fill with numbers."""

IMPORTANCE = "importance_"
"""Prefix of the columns of cells.csv that say which share of the loss's variance a tuned key explains."""

LENGTHS = ("n_seen", "epochs", "steps", "flops", "flops_forward", "flops_output", "epochs_spent", "flops_spent")
"""Columns that differ between seeds where a regime decides on the way when to stop; a cell has their mean."""

PER_MODEL = ("n_params", "n_params_input", "n_params_hidden", "n_params_output")
"""Measured columns that are the same for all data sizes of a run."""

CONVENTIONS = {"N": {"hidden layers only": "n_params_hidden", "without the output layer": "n_params_without_output"}}
"""Columns that count the same thing otherwise; `fit` leaves out what a table lacks."""

FITTED = {
    "N": "n_params", "D": "n_seen", "C": "flops", "U": "n_train", "loss": "test_loss", "se": "test_loss_se",
    "repeats": "n_repeats", "flags": "flags",
}  # fmt: skip
"""The column of cells.csv that plays each role in a fit."""


def column_of(key: str) -> str:
    """The tables' column of a config key: model.width -> width, optim -> optimizer; steps are measured, so train.steps
    -> train_steps, and steps -> config_steps."""
    above, _, last = key.rpartition(".")
    return KEY_COLUMNS.get(key) or (f"{above.replace('.', '_') or 'config'}_{last}" if last in RESULT_COLUMNS else last)


def label(column: str) -> str:
    """A column for human eyes: data_fraction -> data fraction, lr -> learning rate."""
    return _LABELS.get(column) or column.replace("_", " ")
