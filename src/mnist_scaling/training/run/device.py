"""Which device a run trains on, and how a GPU is made to give the same bits again."""

from __future__ import annotations

import os

import torch

from mnist_scaling.config import RunConfig
from mnist_scaling.training.data import splits
from mnist_scaling.training.models.model_size import measure
from mnist_scaling.training.step import fastest

GPU_STEP = 1.5e-3
"""Seconds of a step on a GPU whose kernels are started one by one, whatever the network's size: 1.4e-3 to 1.8e-3 on an
H100 (docs/performance.md)."""


def pick(run: RunConfig) -> torch.device:
    """The device that a run names; auto takes cuda where that is faster than a core of the CPU, and mps never.

    That is so for runs whose step is predicted to take a core longer than `GPU_STEP`.
    """
    if run.device != "auto":
        return torch.device(run.device)
    cuda, cpu = torch.device("cuda"), torch.device("cpu")
    if not torch.cuda.is_available():
        return cpu
    return cuda if _step_on_a_core(run) > GPU_STEP else cpu


def _step_on_a_core(run: RunConfig) -> float:
    """Predicted seconds."""
    about = splits.spec(run.data)
    flops = measure(run.model, about.image_shape, about.classes).training
    pace = fastest.pace(run, about.image_shape, flops)
    return pace.step + run.optim.batch_size * pace.example


def make_repeatable() -> None:
    """Let a seed give the same bits again, where torch has such a version of an operation.

    cuBLAS reads its variable when the process first uses the GPU.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cudnn.benchmark = False  # which would time algorithms, and choose by the clock
    # An operation without a deterministic version warns, rather than ends a run that could have finished.
    torch.use_deterministic_algorithms(True, warn_only=True)
    # It costs time, and nothing here reads such memory.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
