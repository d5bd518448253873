"""What a run will cost, about its seconds on one core, predicted before it starts; and whether a GPU is the faster."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

import torch

from mnist_scaling.config import RunConfig
from mnist_scaling.errors import InputError
from mnist_scaling.study.columns import TRIAL
from mnist_scaling.training import engine, optimizers, regimes
from mnist_scaling.training.data import splits
from mnist_scaling.training.data.sources import DataSpec
from mnist_scaling.training.model_size import Size, measure

_AUGMENTED = {"none": 0.0, "affine": 8e-6, "elastic": 1.9e-5}
"""Seconds that augmenting an example adds; its FLOPs are no part of C."""


def cost(run: RunConfig) -> float:
    """Relative cost of a run, about its seconds on one core: what packing and the time left go by.

    The pace of a step is that of the engine which the run will have. The numbers behind it were fitted by hand to steps
    timed alone (LOG.md), not to whole runs: a busy machine takes about twice as long. For a run that itself decides
    when to stop the prediction is an upper bound, because its cap counts. It raises InputError when the run's regime,
    model or optimiser refuses its configuration, so before anything of a sweep is trained.
    """
    spec, size, regime, n_train = _shape(run)
    seen = regime.n_seen(n_train)
    parts = 1 if run.trial.stage == TRIAL else 3 + len(run.data.off_distribution)
    n_evaluated = (run.data.max_eval or spec.n_validation) * parts
    optimizers.check(run.optim)
    pace = engine.pace(run, spec.image_shape, size.training)
    example = pace.example + _AUGMENTED[run.data.augment]
    return seen * (example + pace.step / run.optim.batch_size) + n_evaluated * pace.forward


def counts(run: RunConfig) -> dict[str, float]:
    """Columns known before a run: its size, and its data and FLOPs unless it decides on them; raises as `cost`."""
    _, size, regime, n_train = _shape(run)
    known = {name: float(n) for name, n in size.parameters.items()} | {"n_train": float(n_train)}
    if not isinstance(regime, regimes.Passes):
        return known
    seen = float(regime.n_seen(n_train))
    return known | {"n_seen": seen, "flops": seen * size.training, "flops_forward": seen * size.forward}


def _shape(run: RunConfig) -> tuple[DataSpec, Size, regimes.Regime, int]:
    """What is known of a run before it starts: of its data, its model, its length, and its unique examples."""
    spec = splits.spec(run.data)
    size = measure(run.model, spec.image_shape, spec.classes)
    regime = regimes.build(run, size.training)
    return spec, size, regime, regime.n_train(splits.n_train(run.data))


GPU_STEP = 1.5e-3
"""Seconds of a step on a GPU whose kernels are started one by one, whatever the network's size: 1.4e-3 to 1.8e-3 on an
H100 (docs/scaling_out.md)."""


def pick_device(run: RunConfig) -> torch.device:
    """The device that a run names; auto takes cuda where that is faster than a core of the CPU, and mps never.

    That is so where a step is predicted to take a core longer than `GPU_STEP`. A GPU that is picked is made to give the
    same bits again.
    """
    name = run.device
    check_device(name)
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() and _step_on_a_core(run) > GPU_STEP else "cpu"
    if name == "cuda":
        _make_repeatable()
    return torch.device(name)


def check_device(name: str) -> None:
    """Refuse a device that this machine, or its torch, lacks.

    The InputError's cause is an OSError, so that in a worker it is the machine's fault and no run's.
    """
    is_there: dict[str, Callable[[], bool]] = {"cuda": torch.cuda.is_available, "mps": torch.backends.mps.is_available}
    if name in is_there and not is_there[name]():
        raise InputError(
            f"`device` must be there, but torch {torch.__version__} finds no {name} on this machine: take device=auto "
            "or device=cpu, or install a driver and a torch that know it."
        ) from OSError(errno.ENODEV, "there is no such device", name)


def _step_on_a_core(run: RunConfig) -> float:
    """Predicted seconds."""
    spec = splits.spec(run.data)
    pace = engine.pace(run, spec.image_shape, measure(run.model, spec.image_shape, spec.classes).training)
    return pace.step + run.optim.batch_size * pace.example


def _make_repeatable() -> None:
    """Let a seed give the same bits again, where torch has such a version of an operation.

    cuBLAS reads its variable when the process first uses the GPU.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cudnn.benchmark = False  # which would time algorithms, and choose by the clock
    # An operation without a deterministic version warns, rather than ends a run that could have finished.
    torch.use_deterministic_algorithms(True, warn_only=True)
    # It costs time, and nothing here reads such memory.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
