"""differs, equivalent or not settled: what an interval of a difference says, given a margin of equivalence.

An interval that misses 0 shows a difference. One that holds 0 shows nothing by itself: arms are equivalent only where
the whole interval lies within the margin (two one-sided tests; Schuirmann 1987).
"""

from __future__ import annotations

from mnist_scaling.fitting.uncertainty.interval import Interval

DIFFERS, EQUIVALENT, NOT_SETTLED = "differs", "equivalent", "not settled"


def verdict(difference: Interval, margin: float) -> str:
    """What the interval of a difference says.

    Parameters
    ----------
    difference : Interval
    margin : float
        Differences up to this size don't matter: an interval that lies within them is equivalent, even if it misses 0.
    """
    if difference.bounded and -margin <= difference.low and difference.high <= margin:
        return EQUIVALENT
    return DIFFERS if difference.excludes(0) else NOT_SETTLED
