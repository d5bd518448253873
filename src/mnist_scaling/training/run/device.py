"""Which device a run trains on, and how a GPU is made to give the same bits again."""

from __future__ import annotations

import os

import torch

from mnist_scaling.config import RunConfig
from mnist_scaling.training.data import splits
from mnist_scaling.training.models.model_size import measure
from mnist_scaling.training.step import engine

GPU_STEP = 1.5e-3
"""Seconds of a step on a GPU whose kernels are started one by one, whatever the network's size: 1.4e-3 to 1.8e-3 on an
H100 (docs/performance.md)."""


def pick(run: RunConfig) -> torch.device:
    """The device that a run names; auto takes cuda where that is faster than a core of the CPU, and mps never.

    That is so where a step is predicted to take a core longer than `GPU_STEP`. A GPU that is picked is made to give the
    same bits again.
    """
    name = run.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() and _step_on_a_core(run) > GPU_STEP else "cpu"
    if name == "cuda":
        _make_repeatable()
    return torch.device(name)


def _step_on_a_core(run: RunConfig) -> float:
    """Predicted seconds."""
    about = splits.spec(run.data)
    pace = engine.pace(run, about.image_shape, measure(run.model, about.image_shape, about.classes).training)
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
