"""Laws of the nuisance parameters: how the best learning rate, batch size or dropout moves with N, D, steps or loss.

    v = a + b_N ln N + b_D ln D         v: the best ln lr, ln batch size, or dropout itself

So lr* ~ N^b_N D^b_D for a key that was searched on a log scale. The best setting of a cell is the vertex of a quadratic
(`vertices`), one beyond the range that was searched only says on which side it lies (`setting_laws`). Intervals redraw
the cells, curvature and vertices included.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import ndtri, stdtrit

from mnist_scaling.fitting.laws.base import Array
from mnist_scaling.fitting.uncertainty.interval import Interval
from mnist_scaling.settings import vertices
from mnist_scaling.settings.setting_laws import KeyLaws, Observed, SettingLaw, TunedKey, line, spread_of
from mnist_scaling.settings.vertex_bias import VertexBias, vertex_bias
from mnist_scaling.settings.vertices import CellTrials, Trials, Vertices

AGAINST = (("N", "D"), ("steps",), ("loss",))
"""What the best settings are set against, each by itself."""

FEWEST_FREE = 2
"""Cells that a line needs beyond its coefficients."""

FEWEST_INSIDE = 0.5
"""Share of the cells whose vertex must lie inside the range that was searched."""

FEWEST_MINIMA = 0.95
"""Share of the redrawn sets of cells whose curvature must have a minimum."""


@dataclass(frozen=True)
class SettingsOptions:
    """How the laws are estimated."""

    within: float = 0.5
    """A trial counts whose loss is at most (1 + within) times the lowest of its cell."""
    draws: int = 400
    """Redrawn sets of cells."""
    level: float = 0.95
    """Level of every interval."""
    seed: int = 0


@dataclass(frozen=True)
class SettingsLaws:
    """The laws of all tuned keys of one set of cells."""

    keys: list[KeyLaws]
    trials: np.ndarray
    """Trials of each cell that count, (cells,)."""
    used: np.ndarray
    """(cells,), bool."""
    noise: float
    """Standard deviation of ln L between runs of one setting, as the quadratic sees it."""
    options: SettingsOptions


def optimal_settings(
    cells: Sequence[CellTrials],
    keys: Sequence[TunedKey],
    against: Sequence[tuple[str, ...]] = AGAINST,
    options: SettingsOptions | None = None,
) -> SettingsLaws:
    """Fit the laws.

    Parameters
    ----------
    cells : sequence of CellTrials
        Finished trials, their ranges and the cells' sizes.
    keys : sequence of TunedKey
        In the order of the columns of `CellTrials.settings`.
    against : sequence of tuple of str
        Names in `CellTrials.sizes`; a size that all cells share is left out.
    options : SettingsOptions, optional

    Returns
    -------
    SettingsLaws
        A key without a law says why in its status.
    """
    options = options or SettingsOptions()
    trials, centre, half = vertices.standardise(cells, [key.log for key in keys], options.within)
    bent = list(range(len(keys)))
    flat: dict[int, tuple[str, Interval]] = {}
    view = _View(cells, keys, bent, centre, half, trials, options)
    while bent and (weakest := view.weakest()) is not None:
        flat[bent[weakest]] = view.why_flat(weakest)
        bent = [column for index, column in enumerate(bent) if index != weakest]
        if bent:
            view = _View(cells, keys, bent, centre, half, trials, options)
    found = {column: view.laws(index, against) for index, column in enumerate(bent)}
    found |= {column: view.without(column, why, curvature) for column, (why, curvature) in flat.items()}
    return SettingsLaws([found[c] for c in range(len(keys))], view.sums.n, view.sums.used, view.at.noise, options)


def _redrawn(used: np.ndarray, options: SettingsOptions) -> np.ndarray:
    """How often each cell is drawn, (draws, cells): those that are used, with replacement."""
    rng, n = np.random.default_rng(options.seed), int(used.sum())
    out = np.zeros((options.draws, len(used)), int)
    if n:
        out[:, used] = rng.multinomial(n, np.full(n, 1 / n), options.draws)
    return out


class _View:
    """Vertices of all bent keys together, and what each key makes of them."""

    def __init__(
        self, cells: Sequence[CellTrials], keys: Sequence[TunedKey], bent: Sequence[int], centre: Array, half: Array,
        trials: Trials, options: SettingsOptions,
    ) -> None:  # fmt: skip
        self.cells, self.keys, self.bent, self.centre, self.half = cells, keys, bent, centre, half
        self.trials, self.sums, self.options = trials, vertices.sums(trials, bent), options
        self.at = vertices.solve(self.sums)
        times = _redrawn(self.sums.used, options) if self.at.minimum else ()
        drawn = [(vertices.solve(self.sums, row), row) for row in times]
        self.drawn = [(one, row) for one, row in drawn if one.minimum]

    @cached_property
    def bias(self) -> VertexBias:
        """What all vertices are moved by, where there are vertices."""
        return vertex_bias(self.trials, list(self.bent), self.at)

    def weakest(self) -> int | None:
        """The key that bends least for its error, where the loss has no sure minimum over all keys; else None."""
        if not np.isfinite(self.at.curvature).all():
            return None
        sure = self.at.minimum and len(self.drawn) >= FEWEST_MINIMA * self.options.draws
        bends = np.diag(self.at.curvature) / vertices.curvature_error(self.sums, self.at)
        if sure and bends.min() > ndtri(0.5 + self.options.level / 2):
            return None
        return int(bends.argmin())

    def why_flat(self, index: int) -> tuple[str, Interval]:
        """A sentence about a key that does not bend, and how much it bends."""
        name, curvature = self.keys[self.bent[index]].name, self._curvature(index)
        if curvature.low > 0:
            kept, all_ = len(self.drawn), self.options.draws
            return f"The loss has a minimum in {name} in only {kept} of {all_} redrawn sets of cells.", curvature
        return f"The loss does not bend in {name} beyond its noise, so it shows no best value.", curvature

    def laws(self, index: int, against: Sequence[tuple[str, ...]]) -> KeyLaws:
        """The laws of one of the bent keys."""
        column = self.bent[index]
        key, ends = self.keys[column], self._range(column)
        if not self.at.minimum:
            least, near = len(self.bent) + 3, f"{100 * self.options.within:g} % of their lowest loss"
            return self.without(column, f"Too few cells have {least} trials within {near}: give the tuner more.")
        curvature, (best, side) = self._curvature(index), self._best(index)
        known = self.sums.used
        inside = float((side[known] == 0).mean())
        if inside < FEWEST_INSIDE:
            why = f"Only {100 * inside:.0f} % of the cells have their best {key.name} inside the range."
            return KeyLaws(key, why, curvature, best, side, *ends)
        fitted = [law for names in against if (law := self._law(index, names)) is not None]
        why = "ok" if fitted else f"{int(known.sum())} cells are too few, or all of one size."
        return KeyLaws(key, why, curvature, best, side, *ends, fitted)

    def without(self, column: int, why: str, curvature: Interval | None = None) -> KeyLaws:
        """A key that has no law, and why."""
        nothing, unknown = [Interval()] * len(self.cells), np.full(len(self.cells), np.nan)
        return KeyLaws(self.keys[column], why, curvature or Interval(), nothing, unknown, *self._range(column))

    def _range(self, column: int) -> tuple[float, float]:
        ends = self.centre[column] + self.half[column] * np.array([-1.0, 1.0])
        low, high = np.exp(ends) if self.keys[column].log else ends
        return float(low), float(high)

    def _curvature(self, index: int) -> Interval:
        error = vertices.curvature_error(self.sums, self.at)[index]
        value = self.at.curvature[index, index]
        reach = float(ndtri(0.5 + self.options.level / 2)) * error
        return Interval(*(float(v) / self.half[self.bent[index]] ** 2 for v in (value, value - reach, value + reach)))

    def _observed(self, index: int, at: Vertices) -> tuple[Array, Array]:
        """Best settings, those beyond a range at its end, and on which side they lie."""
        column = self.bent[index]
        low, high = (
            (vertices.coordinate(ends[:, None], [self.keys[column].log])[:, 0] - self.centre[column])
            / self.half[column]
            for ends in (np.array([getattr(cell, end)[column] for cell in self.cells]) for end in ("low", "high"))
        )
        value = at.value[:, index] + self.bias.value[index]
        side = np.where(np.isnan(value), np.nan, np.where(value <= low, -1.0, np.where(value >= high, 1.0, 0.0)))
        return np.clip(value, low, high), side

    def _best(self, index: int) -> tuple[list[Interval], Array]:
        """Best values in the key's own units, and on which side of the range each vertex lies."""
        value, side = self._observed(index, self.at)
        column = self.bent[index]
        error = np.sqrt(self.at.error[:, index] ** 2 + self.bias.covariance[index, index])
        reach = float(stdtrit(max(self.at.dof, 1), 0.5 + self.options.level / 2)) * error
        ends = [self.centre[column] + self.half[column] * (value + step * reach) for step in (0, -1, 1)]
        ends = [np.exp(u) for u in ends] if self.keys[column].log else ends
        return [Interval(*(float(e) for e in row)) for row in zip(*ends, strict=True)], side

    def _law(self, index: int, names: tuple[str, ...]) -> SettingLaw | None:
        """The line of the key against some sizes; None where the cells don't hold one."""
        column = self.bent[index]
        sizes = np.log([[cell.sizes.get(name, np.nan) for name in names] for cell in self.cells])
        value, side = self._observed(index, self.at)
        error = self.at.error[:, index]
        kept = self.sums.used & np.all(np.isfinite(sizes), axis=1) & np.isfinite(value)
        varying = [i for i in range(len(names)) if np.ptp(sizes[kept, i]) > 1e-6] if kept.any() else []
        names, sizes = tuple(names[i] for i in varying), sizes[:, varying]
        n, p = int(kept.sum()), 1 + len(names)
        if not names or n < p + FEWEST_FREE or np.linalg.matrix_rank(sizes[kept] - sizes[kept].mean(0), 1e-6) < p - 1:
            return None
        middle = sizes[kept].mean(0)
        x = np.concatenate([np.ones((n, 1)), sizes[kept] - middle], 1)
        seen = Observed(x, value[kept], error[kept], side[kept])
        spread = spread_of(seen)
        b = line(seen, spread)
        again = []
        for one, row in self.drawn:
            v, s = self._observed(index, one)
            again.append(line(Observed(x, v[kept], one.error[kept, index], s[kept]), spread, row[kept]))
        draws = np.array([d for d in again if np.isfinite(d).all()])
        # A redrawn set of n cells scatters about its line by sqrt((n - p) / n) of what the cells do.
        correction = np.sqrt(n / (n - p))
        tail = 50 * (1 - self.options.level)
        low, high = b + correction * (np.percentile(draws, [tail, 100 - tail], axis=0) - b)
        scale = float(self.half[column])
        covariance = _covariance(draws) * (correction * scale) ** 2
        covariance[0, 0] += self.bias.covariance[index, index] * scale**2
        ends = [Interval(*(float(v) for v in row)) for row in zip(b * scale, low * scale, high * scale, strict=True)]
        return SettingLaw(
            names, dict(zip(names, ends[1:], strict=True)), middle, float(self.centre[column] + scale * b[0]),
            covariance, spread * scale, scale * float(self.bias.value[index]), n,
        )  # fmt: skip


def _covariance(draws: Array) -> Array:
    """Covariance of draws, (draws, p), by their middle: in some draws the curvature all but vanishes.

    Standard deviations are half of what holds 68 % of the draws; correlations are of draws cut off at 5 and 95 %.
    """
    low, start, end, high = np.percentile(draws, [5, 16, 84, 95], axis=0)
    correlation = np.corrcoef(np.clip(draws, low, high).T)
    return np.asarray(correlation * np.outer(end - start, end - start) / 4)
