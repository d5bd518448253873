"""What a run will cost, predicted before it starts: about its seconds on one core."""

from __future__ import annotations

from mnist_scaling.config import RunConfig
from mnist_scaling.study.vocabulary import TRIAL
from mnist_scaling.training import models, regimes
from mnist_scaling.training.data import splits
from mnist_scaling.training.models.model_size import Size, measure
from mnist_scaling.training.run import gradient_noise
from mnist_scaling.training.step import engine, optimizers

_AUGMENTED = {"none": 0.0, "affine": 8e-6, "elastic": 1.9e-5}
"""Seconds that augmenting an example adds; its FLOPs are no part of C."""


def cost(run: RunConfig) -> float:
    """Relative cost of a run, about its seconds on one core: what packing and the time left go by.

    The pace of a step is that of the engine which the run will have. The numbers behind it were fitted by hand to steps
    timed alone (docs/performance.md, docs/families.md), not to whole runs: a busy machine takes about twice as long.
    For a run that itself decides when to stop the prediction is an upper bound, because its cap counts.

    Raises
    ------
    InputError
        When the run's regime, model or optimiser refuses its configuration, so before anything of a sweep is trained.
    """
    spec = splits.spec(run.data)
    size = measure(run.model, spec.image_shape, spec.classes)
    n_train, seen = _examples(run, size)
    parts = 1 if run.trial.stage == TRIAL else 3 + len(run.data.off_distribution)
    n_evaluated = (run.data.max_eval or spec.n_validation) * parts
    optimizers.check(run.optim)
    pace = engine.pace(run, spec.image_shape, size.training)
    example = pace.example + _AUGMENTED[run.data.augment]
    own = seen * (example + pace.step / run.optim.batch_size) + n_evaluated * pace.forward
    images = gradient_noise.images(run, n_train, seen)
    if not images:
        return own
    # Its gradients are autograd's, whatever takes the steps.
    plain = models.family(run.model.name).pace(run.model, spec.image_shape, size.training)
    return own + images * (plain.example + plain.step / gradient_noise.SMALL_BATCH)


def _examples(run: RunConfig, size: Size) -> tuple[int, int]:
    """Unique examples of a run, and those that it processes."""
    regime = regimes.build(run, size.training)
    n_train = regime.n_train(splits.n_train(run.data))
    return n_train, regime.n_seen(n_train)
