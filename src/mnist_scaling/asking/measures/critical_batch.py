"""kind: critical_batch. Up to which batch size more examples per step save steps, found in three ways.

    to a loss        E = E_min (1 + B / B_crit), so S = E / B = S_min (1 + B_crit / B)
    by the branches  L(B, D) = f(E), D = E (1 + B / B_crit), B_crit = k E^g: one surface through all cells
    gradient noise   B_simple = tr(S) / |G|^2 of the gradients on the way

E examples and S steps reach a target loss at batch size B, with the learning rate tuned at each. Below B_crit a larger
batch saves steps and costs few examples; at B_crit it costs twice the examples; beyond it examples are wasted. The
first way takes the losses that all batch sizes reach one by one; the second takes all cells, and gives B_crit where
small batches would see E examples; the third compares no batch sizes, but predicts B_crit, to a factor, from the
gradients of single runs.

Source: McCandlish et al. 2018 (arXiv 1812.06162), section 2.3, equation 2.11, and section 2.2, equation 2.9.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from mnist_scaling.asking.measures import DRAWS, SEED, Found, MeasureKind, Number, columns, exponential, mean, quantiles
from mnist_scaling.asking.measures.batch_surface import Array, BatchSurface, fit_surface
from mnist_scaling.asking.study_arms import LOSS, StudyArm
from mnist_scaling.fitting.uncertainty.interval import Interval
from mnist_scaling.fitting.uncertainty.least_squares import LEVEL
from mnist_scaling.study.columns import GRADIENT_NOISE_COLUMNS

GRID = np.linspace(np.log(0.25), np.log(65536), 150)
"""Values of log B_crit that are tried, before a parabola through the best three."""

FLATTEST = 0.05
"""Power of the loss in the data that an outermost slope has at the least."""

ENDS = (("first", 0), ("last", -1))
"""Slots' endings, and places: the highest and the lowest loss, the least and the most data."""


@dataclass(frozen=True)
class CriticalBatchKeys:
    """Keys of this kind."""

    targets: int = 4
    """Target losses, log-spaced over what all batch sizes reach."""
    batch: str = "batch_size"
    """Column of the batch size."""


def measure(keys: CriticalBatchKeys, arms: Mapping[str, StudyArm]) -> Found:
    """By arm, each with _first, _last and _growth: <arm> at the highest and the lowest target loss and its power in
    1 / loss; <arm>_data at the least and the most examples and its power in them; <arm>_noise like <arm>.
    """
    found = Found()
    for name, arm in arms.items():
        batch, data, loss = (np.log(column) for column in columns(arm, keys.batch, "n_seen", LOSS))
        targets = _targets(arm.rows, keys)
        surface = fit_surface(batch, data, loss)
        if not len(targets) or len(np.unique(batch)) < 3 or surface is None:
            note = f"{arm.label}: no loss is reached at three batch sizes or more."
            found = found | _unknown(name, arm) | Found({}, {}, (note,))
            continue
        words = {f"{name}_{end}_loss": f"a loss of {targets[place]:.3g}" for end, place in ENDS}
        found = found | Found(_to_a_loss(name, arm, (batch, data, loss), np.log(targets), surface), words)
        found = found | _by_branches(name, arm, surface) | _gradient_noise(name, arm, keys, targets)
    return found


def _targets(rows: pd.DataFrame, keys: CriticalBatchKeys) -> np.ndarray:
    """Losses that every batch size passes; none where one has a single cell."""
    if (rows[keys.batch].value_counts() < 2).any():
        return np.array([])
    ends = rows.groupby(keys.batch)[LOSS].agg(["min", "max"])
    low, high = ends["min"].max(), ends["max"].min()
    return np.geomspace(high * 0.98, low * 1.02, keys.targets) if high * 0.98 > low * 1.02 else np.array([])


def _to_a_loss(
    name: str, arm: StudyArm, logs: tuple[Array, Array, Array], targets: Array, surface: BatchSurface
) -> dict[str, Number]:
    """B_crit from the examples that each batch size takes to each target, with draws of the cells' noise."""
    batch, data, loss = logs
    noise = surface.sigma * np.random.default_rng(SEED).standard_normal((DRAWS, len(loss)))
    noise *= stdtrit(surface.free, 0.975) / stdtrit(np.inf, 0.975)
    found = _critical(batch, data, loss[None], targets)[0]
    # How far draws about the surface are from its own B_crit: what the surface misses cancels.
    off = _critical(batch, data, surface.fitted + noise, targets) - _critical(
        batch, data, surface.fitted[None], targets
    )
    drawn = found + off
    at = {
        f"{name}_{end}": Number(
            exponential(quantiles(found[place], drawn[:, place])),
            f"{arm.label}: critical batch size for the loss {np.exp(targets[place]):.3g}",
        )
        for end, place in ENDS
    }
    slopes = -np.polyfit(targets, np.vstack([found, drawn]).T, 1)[0]
    meaning = f"{arm.label}: power of the critical batch size in 1 / loss"
    return at | {f"{name}_growth": Number(quantiles(float(slopes[0]), slopes[1:]), meaning)}


def _critical(batch: Array, data: Array, losses: Array, targets: Array) -> Array:
    """log B_crit for each row of log losses and each target: least squares of the log examples that a batch size takes.

    Examples are interpolated between a batch size's cells in logs; more data at a higher loss is noise. Beyond its ends
    the outermost slope goes on for one more interval: a draw may lie there, though the table does not.
    """
    sizes = np.unique(batch)
    examples = np.empty((len(losses), len(targets), len(sizes)))
    for k, size in enumerate(sizes):
        rows = np.flatnonzero(batch == size)
        rows = rows[np.argsort(data[rows])]
        falling = np.minimum.accumulate(losses[:, rows], axis=1)
        ends = [falling[:, :1] - falling[:, 1:2], falling[:, -2:-1] - falling[:, -1:]]
        gaps = [float(np.diff(data[rows])[place]) for _, place in ENDS]
        first, last = (np.maximum(fall, FLATTEST * gap) for fall, gap in zip(ends, gaps, strict=True))
        x = np.concatenate([[data[rows[0]] - gaps[0]], data[rows], [data[rows[-1]] + gaps[1]]])
        for i, row in enumerate(np.hstack([falling[:, :1] + first, falling, falling[:, -1:] - last])):
            examples[i, :, k] = np.interp(-targets, -row, x)
    shape = np.logaddexp(0, sizes - GRID[:, None])
    shape -= shape.mean(axis=1, keepdims=True)
    y = examples - examples.mean(axis=2, keepdims=True)
    # The sum of squares of y - shape, less what no B_crit changes.
    wrong = (shape**2).sum(axis=1) - 2 * y @ shape.T
    at = wrong.argmin(axis=2).clip(1, len(GRID) - 2)
    before, here, after = (np.take_along_axis(wrong, at[..., None] + k, axis=2)[..., 0] for k in (-1, 0, 1))
    bend = np.maximum(before - 2 * here + after, 1e-12)
    return GRID[at] + np.clip((before - after) / (2 * bend), -1, 1) * (GRID[1] - GRID[0])


def _by_branches(name: str, arm: StudyArm, surface: BatchSurface) -> Found:
    """B_crit at both ends of the data, and its power in E."""
    numbers = {
        f"{name}_data_{end}": Number(
            exponential(surface.critical(place)),
            f"{arm.label}: critical batch size by the branches at {np.exp(surface.ends[place]):,.0f} examples",
        )
        for end, place in ENDS
    }
    meaning = f"{arm.label}: power of the critical batch size in the examples"
    return Found(numbers | {f"{name}_data_growth": Number(surface.growth, meaning)})


def _gradient_noise(name: str, arm: StudyArm, keys: CriticalBatchKeys, targets: np.ndarray) -> Found:
    """B_simple at the targets: for each batch size a power of its loss, then the mean over batch sizes in logs."""
    scale, squared, variance = GRADIENT_NOISE_COLUMNS
    if not {squared, variance} <= set(arm.rows):
        note = f"{arm.label}: {scale} was not measured (gradient_noise=256 would)."
        return Found({k: v for k, v in _unknown(name, arm).numbers.items() if "_noise_" in k}, {}, (note,))
    # A ratio of means over repeats, because each mean is unbiased and a mean of ratios is not.
    rows = arm.rows.assign(noise=arm.rows[variance] / arm.rows[squared])
    kept = [own for _, own in rows[rows["noise"] > 0].groupby(keys.batch) if len(own) > 1]
    lines = [_Line.of(np.log(own[LOSS].to_numpy(float)), np.log(own["noise"].to_numpy(float))) for own in kept]
    at = {
        f"{name}_noise_{end}": Number(
            exponential(_mean_of_lines(lines, np.array([1.0, np.log(targets[place])]))),
            f"{arm.label}: gradient noise scale at the loss {targets[place]:.3g}",
        )
        for end, place in ENDS
    }
    meaning = f"{arm.label}: power of the gradient noise scale in 1 / loss"
    return Found(at | {f"{name}_noise_growth": Number(_mean_of_lines(lines, np.array([0.0, -1.0])), meaning)})


@dataclass(frozen=True)
class _Line:
    """y = a + b x through the cells of one batch size."""

    found: Array
    """a and b."""
    inverse: Array
    """Of the normal matrix, (2, 2)."""
    squares: float
    """Sum of the squared residuals."""
    free: int

    @classmethod
    def of(cls, x: Array, y: Array) -> _Line:
        design = np.stack([np.ones_like(x), x], axis=1)
        inverse = np.linalg.pinv(design.T @ design)
        found = inverse @ design.T @ y
        return cls(found, inverse, float(((y - design @ found) ** 2).sum()), len(y) - 2)


def _mean_of_lines(lines: list[_Line], weights: Array) -> Interval:
    """The mean over lines of weights . (a, b), with the wider of two intervals: by their scatter, or their residuals.

    Few lines may agree by chance more closely than each of them is known.
    """
    by_scatter = mean([weights @ line.found for line in lines])
    free = sum(line.free for line in lines)
    if not by_scatter.bounded or not free:
        return by_scatter
    variance = sum(line.squares for line in lines) / free * sum(weights @ line.inverse @ weights for line in lines)
    half = float(stdtrit(free, 0.5 + LEVEL / 2) * np.sqrt(variance)) / len(lines)
    centre, half = by_scatter.value, max(half, by_scatter.high - by_scatter.value)
    return Interval(centre, centre - half, centre + half)


def _unknown(name: str, arm: StudyArm) -> Found:
    """All slots of an arm that does not tell them."""
    ways = {"": "critical batch size", "data_": "critical batch size by the branches", "noise_": "gradient noise scale"}
    places = {"first": "at its least", "last": "at its most", "growth": "its growth"}
    numbers = {
        f"{name}_{way}{end}": Number(Interval(), f"{arm.label}: {what}, {place}")
        for way, what in ways.items()
        for end, place in places.items()
    }
    return Found(numbers, {f"{name}_{end}_loss": "no common loss" for end, _ in ENDS})


KIND = MeasureKind(CriticalBatchKeys, measure)
