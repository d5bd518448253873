"""One run from a config to a `TrainResult`."""

from __future__ import annotations

from pathlib import Path

import torch

from mnist_scaling.config import RunConfig
from mnist_scaling.study.result import TrainResult
from mnist_scaling.study.vocabulary import COMPLETE
from mnist_scaling.training import regimes, seeding
from mnist_scaling.training.data import augmentation, splits
from mnist_scaling.training.models.model_size import measure
from mnist_scaling.training.run import device, run_end, weights
from mnist_scaling.training.run.run import Ended, Run, RunOutcome, Watch
from mnist_scaling.training.run.scoring import Report
from mnist_scaling.training.step import optimizers
from mnist_scaling.training.step.engine import build_engine


def train_model(
    config: RunConfig, report: Report | None = None, folder: Path | None = None, watch: Watch | None = None
) -> TrainResult:
    """Train one model as `config` says and score it.

    The same config gives bit-identical losses on the same machine and number of threads: the subset,
    the initial weights, the order, the dropout masks, the wrong labels and the augmentation each have their own
    stream of `config.seed`.

    Parameters
    ----------
    config : RunConfig
        One run. Its stage decides what is scored: a trial of the tuner sees the validation images
        only, a repeat or a run by hand also the test and the training images.
    report : callable, optional
        Receives the loss on a slice of the validation images at ``config.reports.points`` points of the
        run. It changes no bit of a run that it lets finish.
    folder : Path, optional
        The run's own folder, where a regime that can resume keeps its checkpoint, and where `save_weights` leaves
        the final weights. The checkpoint is left there: whoever records the result deletes it then.
    watch : callable, optional
        Told now and then how far the run is, for a person to see; it changes no bit either.

    Returns
    -------
    TrainResult
        ``state`` is DIVERGED, and the losses are empty, when the training loss stops being finite or
        a mean of it, or the validation loss, rises above `run.DIVERGED_AT` times chance; PRUNED, and the
        losses are empty, when `report` stopped it. Decays that were finished before keep theirs.
    """
    torch.set_num_threads(config.threads)
    optimizers.check(config.optim)
    here = device.pick(config)
    dataset = splits.load(config.data, here)
    size = measure(config.model, dataset.image_shape, dataset.classes)
    regime = regimes.build(config, size.training)
    n_train = regime.n_train(splits.n_train(config.data))
    part = splits.training_part(dataset, n_train, config.data, config.seed)
    augmenter = augmentation.augmenter(part, config.data, config.seed)
    model = weights.initial_model(config, dataset.image_shape, dataset.classes).to(here)
    optimizer = optimizers.build(model, config.optim)
    engine = build_engine(model, optimizer, part if augmenter is None else augmenter.part)
    with seeding.global_stream(config.seed, "dropout", here):
        run = Run(config, engine, dataset, size, regime.n_seen(n_train), report, folder, watch, augmenter)
        try:
            outcome: RunOutcome | Ended = regime.train(run)
        except Ended as end:
            outcome = end
        result = run_end.finish(run, outcome)
    if result.state == COMPLETE:
        weights.save(folder, config, model, dataset.image_shape, dataset.classes)
    return result
