"""Learning-rate factors over a run."""

from __future__ import annotations

from math import cos, pi


def factor(schedule: str, progress: float, warmup: float) -> float:
    """Factor on the peak learning rate at a share of the run.

    With p the progress and w the warm-up's share: p / w while p < w; then, with q = (p - w) / (1 - w),
    (1 + cos(pi q)) / 2 for cosine, 1 - q for linear, 1 for constant. Cosine and linear reach zero at
    the run's own end, so that every run is a finished one (Hoffmann et al. 2022, section 3.1).

    Parameters
    ----------
    schedule : {"cosine", "linear", "constant"}
    progress : float
        Share of the run in [0, 1]; the middle of a step, (i + 1/2) / steps, wastes neither end.
    warmup : float
        Share of the run over which the rate rises.
    """
    if progress < warmup:
        return progress / warmup
    rest = (progress - warmup) / (1 - warmup)
    if schedule == "cosine":
        return (1 + cos(pi * rest)) / 2
    if schedule == "linear":
        return 1 - rest
    return 1.0
