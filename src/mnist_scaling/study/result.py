"""What one training run measured: the contract between training and everything after it.

Losses are cross-entropies in nats per example, sizes are counts, and a multiply-add counts as two FLOPs. A missing
number is None, never 0 or 1e9. Each field states its meaning and its unit here, and tables, labels and docs read
them from here (`study.columns`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

EXAMPLES, NATS, FLOPS, SHARE = "examples", "nats per example", "FLOPs", "share"
"""Units."""


def measured(meaning: str, unit: str = "", **default: Any) -> Any:
    """A field of `TrainResult` that is a column of the tables, with its meaning and unit."""
    return field(metadata={"meaning": meaning, "unit": unit}, **default)


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
    val_loss: float | None = measured("loss on the validation images, which the tuner sees", NATS, default=None)
    val_error: float | None = measured("share of validation images put in the wrong class", SHARE, default=None)
    test_loss: float | None = measured(
        "loss on the test images; empty for trials, which must not see them", NATS, default=None
    )
    test_error: float | None = measured(
        "share of test images put in the wrong class; empty for trials", SHARE, default=None
    )
    train_loss: float | None = measured(
        "loss on up to 10,000 of the run's own training images, dropout off; empty for trials", NATS, default=None
    )
    epochs_spent: float | None = measured(
        "passes that were really made; more than epochs where earlier weights count", default=None
    )
    flops_spent: int | None = measured(
        "training FLOPs that were really run, patience and branches included", FLOPS, default=None
    )
    off_distribution: dict[str, float] = field(default_factory=dict)
    """Losses and error rates on changed test images, by their columns (`columns.OFF_DISTRIBUTION_TABLE`)."""
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
