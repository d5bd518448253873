"""kind: basin. Where the loss is lowest along the ratio of two columns, and how far one may stray from there.

    log L = c + b1 z + b2 z^2 + d1 g + d2 g^2 + e z g        z = log(over / per), g = log of the column `given`
    best ratio = exp(-b1 / 2 b2)                             basin = exp(2 sqrt(log(1 + tolerance) / b2))

The basin is a factor: the largest ratio within the tolerance of the best loss, over the smallest such ratio. The
column `given` takes up what merely goes along with the ratio, such as the number of parameters; its logarithm counts
from its mean over the cells, so the best ratio, which may move with it, is the one in the middle of the cells.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mnist_scaling.asking.measures.base import DRAWS, SEED, Found, Kind, Number, columns, quantiles
from mnist_scaling.asking.study_arms import LOSS, Arm


@dataclass(frozen=True)
class Keys:
    """Keys of this kind."""

    over: str
    """Column above the line of the ratio, such as width."""
    per: str
    """Column below it, such as depth."""
    given: str | None = None
    """Column that is held fixed; null for none."""
    tolerance: float = 0.05
    """Share by which the loss may exceed the best one inside the basin."""


def measure(keys: Keys, arms: Mapping[str, Arm]) -> Found:
    """Slots <arm>_best and <arm>_basin, and <arm>_edge: whether there is a best ratio and those tried hold it."""
    numbers: dict[str, Number] = {}
    words: dict[str, str] = {}
    notes: list[str] = []
    rng = np.random.default_rng(SEED)
    for name, arm in arms.items():
        over, per, loss = columns(arm, keys.over, keys.per, LOSS)
        z = np.log(over / per)
        terms = [np.ones_like(z), z, z**2]
        if keys.given is not None:
            g = np.log(columns(arm, keys.given)[0])
            g = g - g.mean()
            terms += [g, g**2, z * g]
        if len(z) <= len(terms) or len(np.unique(np.round(z, 6))) < 3:
            notes.append(f"{arm.label}: {len(z)} cells are too few to tell a basin.")
            continue
        design = np.stack(terms, axis=1)
        fitted = design @ np.linalg.lstsq(design, np.log(loss), rcond=None)[0]
        residual = (np.log(loss) - fitted) * np.sqrt(len(z) / (len(z) - len(terms)))
        draws = fitted + residual * rng.standard_normal((DRAWS, len(z)))
        best, basin = _basin(design, np.log(loss)[None], keys.tolerance)
        bests, basins = _basin(design, draws, keys.tolerance)
        ratio = f"{keys.over} / {keys.per}"
        numbers[f"{name}_best"] = Number(quantiles(best[0], bests), f"{arm.label}: best {ratio}")
        share = f"{100 * keys.tolerance:g} %"
        numbers[f"{name}_basin"] = Number(
            quantiles(basin[0], basins), f"{arm.label}: factor of {ratio} within {share} of the best loss"
        )
        if np.isfinite(best[0]):
            inside = z.min() <= np.log(best[0]) <= z.max()
            words[f"{name}_edge"] = f"{'inside' if inside else 'outside'} the ratios that were tried"
        else:
            words[f"{name}_edge"] = "the loss has no minimum along it"
    return Found(numbers, words, tuple(notes))


def _basin(design: np.ndarray, y: np.ndarray, tolerance: float) -> tuple[np.ndarray, np.ndarray]:
    """Best ratio and width of the basin for each row of log losses; NaN where the curve has no minimum."""
    _, b1, b2 = np.linalg.lstsq(design, y.T, rcond=None)[0][:3]
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        best = np.where(b2 > 0, np.exp(-b1 / (2 * b2)), np.nan)
        return best, np.where(b2 > 0, np.exp(2 * np.sqrt(np.log1p(tolerance) / b2)), np.nan)


KIND = Kind(Keys, measure)
