"""One run from a config to a `TrainResult`."""

from __future__ import annotations

from math import exp, fsum, log
from pathlib import Path
from typing import Any

import torch

from mnist_scaling.config import RunConfig
from mnist_scaling.study.columns import COMPLETE, OFF_DISTRIBUTION_COLUMNS, TrainResult
from mnist_scaling.training import optimizers, regimes, seeding, weights
from mnist_scaling.training.cost import pick_device
from mnist_scaling.training.data import splits
from mnist_scaling.training.data.distortions import Augmenter
from mnist_scaling.training.engine import build_engine
from mnist_scaling.training.model_size import Size, measure
from mnist_scaling.training.run import Ended, Run, RunOutcome, Watch
from mnist_scaling.training.scoring import Report


def train_model(
    config: RunConfig, report: Report | None = None, folder: Path | None = None, watch: Watch | None = None
) -> TrainResult:
    """Train one model as `config` says and score it.

    The same config gives bit-identical losses on the same machine and number of threads: the subset,
    the initial weights, the order, the dropout masks, the wrong labels and the augmentation each have their own
    stream of `config.seed`. Its stage decides what is scored: a trial of the tuner sees the validation images only.

    Parameters
    ----------
    config : RunConfig
    report : callable, optional
        Receives the loss on a slice of the validation images at ``config.reports.points`` points of the run.
    folder : Path, optional
        The run's own, where `save_weights` leaves its final weights.
    watch : callable, optional
        Told now and then how far the run is, for a person to see; neither changes a bit of a run that ends.

    Returns
    -------
    TrainResult
        ``state`` is DIVERGED, and the losses are empty, when the training loss stops being finite or
        a mean of it, or the validation loss, rises above `run.DIVERGED_AT` times chance; PRUNED, and the
        losses are empty, when `report` stopped it. Decays that were finished before keep theirs.
    """
    torch.set_num_threads(config.threads)
    optimizers.check(config.optim)
    here = pick_device(config)
    dataset = splits.load(config.data, here)
    size = measure(config.model, dataset.image_shape, dataset.classes)
    regime = regimes.build(config, size.training)
    n_train = regime.n_train(splits.n_train(config.data))
    part = splits.training_part(dataset, n_train, config.data, config.seed)
    augment = config.data.augment
    augmenter = None if augment == "none" else Augmenter(part, augment, config.seed)
    model = weights.initial_model(config, dataset.image_shape, dataset.classes).to(here)
    optimizer = optimizers.build(model, config.optim)
    engine = build_engine(model, optimizer, part if augmenter is None else augmenter.part)
    with seeding.global_stream(config.seed, "dropout", here):
        run = Run(config, engine, dataset, size, regime.n_seen(n_train), report, watch, augmenter)
        try:
            outcome: RunOutcome | Ended = regime.train(run)
        except Ended as end:
            outcome = end
        result = finish(run, outcome)
    if result.state == COMPLETE:
        weights.save(folder, config, model, dataset.image_shape, dataset.classes)
    return result


def finish(run: Run, outcome: RunOutcome | Ended) -> TrainResult:
    """Score a run that took its last step; a run that ended before that keeps only its counts."""
    if isinstance(outcome, Ended):
        return _result(run, outcome.state, RunOutcome(run.seen, run.steps), {})
    try:
        # With branches the run itself has one number, which the tuner sees: their geometric mean.
        losses = [branch["val_loss"] for branch in run.branches]
        scores: dict[str, Any] = {"val_loss": exp(fsum(map(log, losses)) / len(losses))} if losses else run.score()
    except Ended as end:
        return finish(run, end)
    return _result(run, COMPLETE, outcome, scores)


def _result(run: Run, state: str, outcome: RunOutcome, scores: dict[str, Any]) -> TrainResult:
    n, size = run.n_train, run.size
    return TrainResult(
        state=state,
        **size.parameters,
        n_train=n,
        **_counts(outcome.n_seen, n, size),
        steps=outcome.steps,
        epochs_spent=run.spent / n,
        flops_spent=run.spent * size.training,
        flags=";".join(outcome.flags),
        reports=tuple(run.reports),
        curve=tuple(run.curve.points),
        branches=tuple(_branch(branch, size) for branch in run.branches),
        device=run.device.type,
        off_distribution={name: value for name, value in scores.items() if name in OFF_DISTRIBUTION_COLUMNS},
        **{name: value for name, value in scores.items() if name not in OFF_DISTRIBUTION_COLUMNS},
    )


def _counts(n_seen: int, n_train: int, size: Size) -> dict[str, Any]:
    return {
        "n_seen": n_seen,
        "epochs": n_seen / n_train,
        "flops": n_seen * size.training,
        "flops_forward": n_seen * size.forward,
        "flops_output": n_seen * size.output,
    }


def _branch(branch: dict[str, Any], size: Size) -> dict[str, Any]:
    """A branch's columns: all of its images are unique, and its FLOPs are those of a run of its own."""
    n, spent = branch["n_seen"], branch["spent"]
    rest = {key: value for key, value in branch.items() if key != "spent"}
    spending = {"epochs_spent": spent / n, "flops_spent": spent * size.training}
    return rest | {"n_train": n} | _counts(n, n, size) | spending
