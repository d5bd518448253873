"""Learning-rate factors over a run."""

from __future__ import annotations

from math import cos, pi, sqrt

ENDLESS = ("constant", "plateau", "wsd")
"""Schedules that don't need to know the run's end beforehand."""


def factor(schedule: str, progress: float, warmup: float, decay: float = 0.2, shape: str = "sqrt") -> float:
    """Factor on the peak learning rate at a share of the run.

    With p the progress and w the warm-up's share: p / w while p < w; then, with q = (p - w) / (1 - w),
    (1 + cos(pi q)) / 2 for cosine, 1 - q for linear, 1 for constant. Cosine and linear reach zero at
    the run's own end, so that every run is a finished one (Hoffmann et al. 2022, section 3.1). wsd (warm-up,
    stable, decay) is 1 until p = 1 - decay, then `fall` (Hägele et al. 2024, section 3).

    Parameters
    ----------
    schedule : {"cosine", "linear", "constant", "wsd"}
    progress : float
        Share of the run in [0, 1]; the middle of a step, (i + 1/2) / steps, wastes neither end.
    warmup : float
        Share of the run over which the rate rises.
    decay : float
        Share of the run over which wsd falls.
    shape : {"sqrt", "linear"}
        How wsd falls.
    """
    if progress < warmup:
        return progress / warmup
    rest = (progress - warmup) / (1 - warmup)
    if schedule == "cosine":
        return (1 + cos(pi * rest)) / 2
    if schedule == "linear":
        return 1 - rest
    if schedule == "wsd" and progress > 1 - decay:
        return fall((progress - (1 - decay)) / decay, shape)
    return 1.0


def progress(number: int, steps: int) -> float:
    """Share of the run at the middle of a step, numbered from 1."""
    return (number - 0.5) / steps


def fall(share: float, shape: str) -> float:
    """Factor at a share q of a decay: 1 - sqrt(q), which lingers at small rates, or 1 - q."""
    return 1 - (sqrt(share) if shape == "sqrt" else share)


def phase(schedule: str, progress: float, warmup: float, decay: float = 0.2) -> str:
    """What the learning rate is doing: warmup, constant, decay, or the name of a schedule that falls throughout."""
    if progress < warmup:
        return "warmup"
    if schedule == "wsd":
        return "decay" if progress > 1 - decay else "constant"
    return schedule
