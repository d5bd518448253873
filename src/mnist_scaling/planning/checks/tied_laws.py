"""Laws that tie: several describe the table about as well, and may say different things beyond it."""

from __future__ import annotations

import numpy as np

from mnist_scaling.fitting.fitted import ALIKE
from mnist_scaling.fitting.slices import is_joint
from mnist_scaling.planning.checks import INFO, NOT_APPLICABLE, PASS, Card, of_flag
from mnist_scaling.planning.studied import Studied
from mnist_scaling.study.flags import FORMS_DISAGREE


def check(studied: Studied) -> Card:
    """AICc of the joint laws, and the flag for slopes that the headline rules out."""
    scores = {k: f.aicc for k, f in studied.result.fitted.items() if is_joint(f.law) and np.isfinite(f.aicc)}
    if len(scores) < 2:
        return Card(NOT_APPLICABLE, "Fewer than two laws of N and D were fitted.")
    alike = sorted((k for k, v in scores.items() if v <= min(scores.values()) + ALIKE), key=scores.__getitem__)
    if len(alike) == 1:
        return Card(PASS, f"{alike[0]} describes the table best, by more than {ALIKE:g} of AICc.")
    slopes = of_flag(studied, FORMS_DISAGREE, "Their slopes at the largest cell agree with the headline's.")
    tie = f"{' and '.join(alike)} tie (AICc within {ALIKE:g}). {slopes.cause}"
    idle = "There is nothing to do for a number inside the grid; far beyond it, quote the headline."
    return Card(INFO, tie, remedy=slopes.remedy or idle)
