"""How sure it is which of two arms has the lower loss at a compute, and the least further runs that would settle it.

    d = ln L_b*(C) - ln L_a*(C)        var d = noise / repeats + luck / trials^(2 p), multiples of what there is
    d' ~ N(d, var d - var d')          what d should come to be with these runs, if nothing else is known of it

It is settled where P(b better) or P(a better) is `SURE`, or the interval of d lies within the margin. A twin shows how
large luck is, and lets no interval shrink below that.

Variances are those of a normal whose 5 and 95 % quantiles lie as far apart. Where arms share no seed, d is Student's t
with seeds - 1 degrees of freedom, and three seeds have no variance; there more repeats make its tails lighter, too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from scipy.special import ndtr, ndtri, stdtrit

from mnist_scaling.fitting.comparing.comparison import Comparison
from mnist_scaling.fitting.comparing.multiplier import differences, frontiers
from mnist_scaling.fitting.laws.base import Array

USUALLY_TUNED = 3
"""Tuned keys of a table that does not say which."""

SURE, OFTEN = 0.95, 0.8
"""The probability that settles a comparison, and the chance that further runs should bring it there."""

TIMES = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0)
"""Multiples of the trials and of the repeats that are looked at."""


def luck_power(tuned: int) -> float:
    """Of trials, by which luck falls: about a minimum in k dimensions the best of T random ones is T^(-2 / k) off."""
    return 2 / max(tuned, 1)


@dataclass(frozen=True)
class Settling:
    """What is known of a difference of two arms, and what would settle it; multiples are of what there is."""

    C: float
    """FLOPs of a run at which the arms are compared: the most at which both reach a's loss."""
    p_better: float
    """Probability that b's loss is the lower one there."""
    noise_share: float
    """Of the variance of d, which more repeats lower; the rest is tuning luck, which more trials lower."""
    runs: float = float("nan")
    """Multiple of the runs of both arms; 1 where it is settled, NaN where nothing that was looked at settles it."""
    trials: float = 1.0
    repeats: float = 1.0
    apart: bool = False
    """Whether the arms share no seed, so that nothing of what a seed gives cancels."""

    @property
    def settled(self) -> bool:
        """Whether no further run is needed."""
        return self.runs == 1


def settling(found: Comparison, trials: float, repeats: float, tuned: int) -> Settling | None:
    """What would settle a comparison of arms whose cells usually have so many trials and repeats, and `tuned` keys.

    None where no loss is reached by both arms, or no noise can be measured.
    """
    if not found.multipliers or found.frontiers is None or not np.isfinite(found.frontiers.draws).all():
        return None
    at, surfaces = found.multipliers[-1], found.surfaces
    # The same cells as if tuning left nothing to luck, by the random numbers of `compare`: what they differ by is luck.
    noise = replace(surfaces.noise, luck=replace(surfaces.noise.luck, q=np.zeros_like(surfaces.noise.luck.q)))
    without = frontiers(surfaces, noise.draw(found.options.draws, np.random.default_rng(found.options.seed))[0])
    assert without is not None
    (d, all_of_it), (_, of_noise) = (differences(fronts, np.log(at.C)) for fronts in (found.frontiers, without))
    variance, seeds = _variance(all_of_it), None if surfaces.noise.shared else surfaces.noise.by_seed
    share = _variance(of_noise) / (_variance(of_noise) + _variance(all_of_it - of_noise)) if variance else 1.0
    known = Settling(at.C, float((all_of_it < 0).mean()), share, apart=seeds is not None)
    ends = np.quantile(all_of_it, 0.5 + found.options.level / 2 * np.array([-1, 1]))
    if max(known.p_better, 1 - known.p_better) >= SURE or np.abs(ends).max() <= found.options.margin:
        return replace(known, runs=1.0)
    few = min(map(len, seeds)) if seeds else np.inf
    tails = {r: float((stdtrit(few * r - 1, SURE) / stdtrit(few - 1, SURE)) ** 2) for r in TIMES}
    power, offers = luck_power(tuned), list[Settling]()
    for t, r in product(TIMES if tuned else (1.0,), TIMES):
        then = variance * (share * tails[r] / r + (1 - share) * t ** (-2 * power))
        again = repeats * r * (1 if t == 1 else 2)  # another setting may come out best, and is repeated
        if _chance(d, variance, then, found.options.level, found.options.margin) >= OFTEN:
            offers.append(replace(known, runs=(t * trials + again) / (trials + repeats), trials=t, repeats=r))
    return min(offers, key=lambda offer: offer.runs, default=known)


def _variance(draws: Array) -> float:
    """Of a normal whose quantiles that settle a comparison lie as far apart as those of the draws."""
    return float((np.diff(np.quantile(draws, [1 - SURE, SURE]))[0] / (2 * ndtri(SURE))) ** 2)


def _chance(d: float, now: float, then: float, level: float, margin: float) -> float:
    """That a difference d of variance `now` is settled once its variance is `then`."""
    spread, sd = np.sqrt(max(now - then, 0.0)), np.sqrt(then)
    apart, within = float(ndtri(SURE)) * sd, margin - float(ndtri(0.5 + level / 2)) * sd
    if then >= now:
        return 0.0
    if within >= apart:
        return 1.0
    inside = ndtr((within - d) / spread) - ndtr((-within - d) / spread) if within > 0 else 0.0
    return float(ndtr((-apart - d) / spread) + ndtr((d - apart) / spread) + inside)
