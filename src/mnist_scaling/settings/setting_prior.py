"""The best settings that the laws predict for a cell that was not run, with the interval that they should lie in.

    v = a + b . (ln x - centre) +- t sqrt(x' Cov x + spread^2)        t: Student's, of the cells beyond the coefficients

It is an interval for a new cell, not for the line: it holds the covariance of the line, with the bias of the vertices
in it (`vertex_bias`), and the scatter of single cells about the line. `python benchmarks/optimal_settings.py` says how
often it holds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.special import stdtrit

from mnist_scaling.fitting.uncertainty.interval import Interval
from mnist_scaling.settings.optimal_settings import KeyLaws, SettingLaw


def prior(laws: Sequence[KeyLaws], level: float = 0.95, **sizes: float) -> dict[str, Interval]:
    """The best value of each key for a new cell: ``prior(laws, N=1e5, D=5e4)["lr"].value``, ``.low`` and ``.high``.

    Parameters
    ----------
    laws : sequence of KeyLaws
        Of `SettingsLaws.keys`, or of `tuning_records.known_settings_laws`.
    level : float
    **sizes : float
        N and D of the new cell; for a key without a law against these, steps or loss are used where they are given.

    Returns
    -------
    dict
        Key to value, low and high, in the key's own units. A key without a law against what is given is left out.
        A key on a linear scale, such as dropout, stays within the range that was searched; a learning rate may not.
        A start for a tuner belongs into its own range, and an interval as wide as the range says nothing
        (`share_of_range`).
    """
    found = {}
    for one in laws:
        law = next((law for law in one.laws if set(law.against) <= set(sizes)), None)
        if law is not None:
            found[one.key.name] = predict(law, one, sizes, level)
    return found


def predict(law: SettingLaw, of: KeyLaws, sizes: Mapping[str, float], level: float = 0.95) -> Interval:
    """The best value of a new cell by one of a key's laws, with the interval that it should lie in.

    Parameters
    ----------
    law : SettingLaw
        One of ``of.laws``.
    of : KeyLaws
    sizes : mapping
        Of the new cell, with the names of `law.against`.
    level : float
    """
    x = np.array([1.0, *(np.log(sizes[name]) - middle for name, middle in zip(law.against, law.centre, strict=True))])
    slopes = np.array([law.constant, *(law.coefficients[name].value for name in law.against)])
    deviation = float(np.sqrt(x @ law.covariance @ x + law.spread**2))
    reach = float(stdtrit(law.n - len(x), 0.5 + level / 2)) * deviation
    ends = [float(x @ slopes) + step * reach for step in (0, -1, 1)]
    if of.key.log:
        return Interval(*(float(np.exp(end)) for end in ends))
    return Interval(*(float(np.clip(end, of.low, of.high)) for end in ends))


def share_of_range(found: Interval, of: KeyLaws) -> float:
    """Width of an interval over that of the range that was searched, in logs for a key on a log scale."""
    ends = np.array([found.low, found.high, of.low, of.high])
    low, high, least, most = np.log(ends) if of.key.log else ends
    return float((high - low) / (most - least))
