"""kind: critical_batch. Up to which batch size more examples per step save steps, found in three ways.

    to a loss        E = E_min (1 + B / B_crit), so S = E / B = S_min (1 + B_crit / B)
    at equal data    L(B, D) = f(D / (1 + B / B_crit)), log f quadratic in log D, B_crit = k D^g
    gradient noise   B_simple = tr(S) / |G|^2 of the gradients on the way

E examples and S steps reach a target loss at batch size B, with the learning rate tuned at each. Below B_crit a larger
batch saves steps and costs few examples; at B_crit it costs twice the examples; beyond it examples are wasted. The
first way looks along the losses that all batch sizes reach, the second at each amount of data; the third compares no
batch sizes, but predicts B_crit, to a factor, from the gradients of single runs.

Source: McCandlish et al. 2018 (arXiv 1812.06162), section 2.3, equation 2.11, and section 2.2, equation 2.9.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.optimize import least_squares
from scipy.special import stdtrit

from mnist_scaling.asking.measures import base
from mnist_scaling.asking.measures.base import Found, Kind, Number, columns, exponential, mean, quantiles
from mnist_scaling.asking.study_arms import LOSS, Arm
from mnist_scaling.fitting.interval import Interval
from mnist_scaling.fitting.least_squares import LEVEL
from mnist_scaling.study.columns import GRADIENT_NOISE_COLUMNS

GRID = np.exp(np.linspace(np.log(0.25), np.log(65536), 2000))
"""Values of B_crit that are tried."""

ENDS = (("first", 0), ("last", -1))
"""Slots' endings, and places: the highest and the lowest loss, the least and the most data."""


@dataclass(frozen=True)
class Keys:
    """Keys of this kind."""

    targets: int = 4
    """Target losses, log-spaced over what all batch sizes reach."""
    batch: str = "batch_size"
    """Column of the batch size."""


def measure(keys: Keys, arms: Mapping[str, Arm]) -> Found:
    """By arm, each with _first, _last and _growth: <arm> at the highest and the lowest target loss and its power in
    1 / loss; <arm>_data at the least and the most data and its power in D; <arm>_noise like <arm>.
    """
    found = Found()
    for name, arm in arms.items():
        columns(arm, keys.batch, "n_seen", LOSS)
        targets = _targets(arm.rows, keys)
        batches = np.unique(arm.rows[keys.batch].to_numpy(float))
        if not len(targets) or len(batches) < 3:
            note = f"{arm.label}: no loss is reached at three batch sizes or more."
            found = found | _unknown(name, arm) | Found({}, {}, (note,))
            continue
        words = {f"{name}_{end}_loss": f"a loss of {targets[place]:.3g}" for end, place in ENDS}
        found = found | Found(_to_a_loss(name, arm, keys, batches, targets), words)
        found = found | _at_equal_data(name, arm, keys) | _gradient_noise(name, arm, keys, targets)
    return found


def _targets(rows: pd.DataFrame, keys: Keys) -> np.ndarray:
    """Losses that every batch size passes."""
    ends = rows.groupby(keys.batch)[LOSS].agg(["min", "max"])
    low, high = ends["min"].max(), ends["max"].min()
    return np.geomspace(high * 0.98, low * 1.02, keys.targets) if high * 0.98 > low * 1.02 else np.array([])


def _examples(rows: pd.DataFrame, keys: Keys, batch: float, target: float) -> float:
    """Examples after which a batch size reaches the target, interpolated in logs."""
    own = rows[rows[keys.batch] == batch].sort_values("n_seen")
    loss = np.minimum.accumulate(np.log(own[LOSS].to_numpy(float)))
    return float(np.exp(np.interp(-np.log(target), -loss, np.log(own["n_seen"].to_numpy(float)))))


def _critical(batches: np.ndarray, examples: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """B_crit of each target, by least squares of log E, and its draws under the residuals' own scatter."""
    shape = np.log1p(batches[None, :] / GRID[:, None])
    shape = shape - shape.mean(axis=1, keepdims=True)

    def fit(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        y = y - y.mean(axis=-1, keepdims=True)
        wrong = ((y[..., None, :] - shape) ** 2).sum(axis=-1)
        at = wrong.argmin(axis=-1)
        return GRID[at], y - shape[at]

    found, residual = fit(np.log(examples))
    scatter = np.sqrt((residual**2).sum() / max(residual.size - 2 * len(examples), 1))
    drawn = [
        fit(np.log(examples) - residual + scatter * rng.standard_normal(examples.shape))[0] for _ in range(base.DRAWS)
    ]
    return found, np.array(drawn)


def _to_a_loss(name: str, arm: Arm, keys: Keys, batches: np.ndarray, targets: np.ndarray) -> dict[str, Number]:
    """B_crit from the examples that each batch size takes to each target."""
    examples = np.array([[_examples(arm.rows, keys, b, t) for b in batches] for t in targets])
    found, drawn = _critical(batches, examples, np.random.default_rng(base.SEED))
    at = {
        f"{name}_{end}": Number(
            quantiles(found[place], drawn[:, place]),
            f"{arm.label}: critical batch size for the loss {targets[place]:.3g}",
        )
        for end, place in ENDS
    }
    slope = np.polyfit(np.log(targets), np.log(found), 1)[0]
    slopes = np.polyfit(np.log(targets), np.log(drawn).T, 1)[0]
    meaning = f"{arm.label}: power of the critical batch size in 1 / loss"
    return at | {f"{name}_growth": Number(quantiles(float(-slope), -slopes), meaning)}


def _at_equal_data(name: str, arm: Arm, keys: Keys) -> Found:
    """B_crit and its power in D from one surface of the loss over batch size and data, by least squares."""
    batch, data, loss = (np.log(column) for column in columns(arm, keys.batch, "n_seen", LOSS))
    middle = (data.min() + data.max()) / 2
    x, ends = data - middle, np.array([data.min(), data.max()]) - middle

    def residual(p: np.ndarray) -> np.ndarray:
        effective = x - np.logaddexp(0, batch - p[0] - p[1] * x)
        return np.polyval(p[2:], effective) - loss

    start = [batch.mean(), 0.0, *np.polyfit(x, loss, 2)]
    limits = [np.log(GRID[0]), -3.0, -np.inf, -np.inf, -np.inf], [np.log(GRID[-1]), 3.0, np.inf, np.inf, np.inf]
    fitted = least_squares(residual, start, bounds=limits, x_scale="jac")
    free = len(x) - len(start)
    known = free > 0 and not fitted.active_mask.any()
    cov = np.linalg.pinv(fitted.jac.T @ fitted.jac) * 2 * fitted.cost / max(free, 1)

    def estimate(weights: list[float]) -> Interval:
        if not known:
            return Interval()
        w = np.array(weights)
        value, half = w @ fitted.x[:2], stdtrit(free, 0.5 + LEVEL / 2) * np.sqrt(w @ cov[:2, :2] @ w)
        return Interval(float(value), float(value - half), float(value + half))

    numbers = {
        f"{name}_data_{end}": Number(
            exponential(estimate([1.0, ends[place]])),
            f"{arm.label}: critical batch size at equal data, {np.exp(ends[place] + middle):.3g} examples",
        )
        for end, place in ENDS
    }
    meaning = f"{arm.label}: power of the critical batch size in the data"
    return Found(numbers | {f"{name}_data_growth": Number(estimate([0.0, 1.0]), meaning)})


def _gradient_noise(name: str, arm: Arm, keys: Keys, targets: np.ndarray) -> Found:
    """B_simple at the targets: for each batch size a power of its loss, then the mean over batch sizes in logs."""
    scale, squared, variance = GRADIENT_NOISE_COLUMNS
    if not {squared, variance} <= set(arm.rows):
        note = f"{arm.label}: {scale} was not measured (gradient_noise=256 would)."
        return Found({k: v for k, v in _unknown(name, arm).numbers.items() if "_noise_" in k}, {}, (note,))
    # A ratio of means over repeats, because each mean is unbiased and a mean of ratios is not.
    rows = arm.rows.assign(noise=arm.rows[variance] / arm.rows[squared])
    lines = [
        np.polyfit(np.log(own[LOSS]), np.log(own["noise"]), 1)
        for _, own in rows[rows["noise"] > 0].groupby(keys.batch)
        if len(own) > 1
    ]
    at = {
        f"{name}_noise_{end}": Number(
            exponential(mean([np.polyval(line, np.log(targets[place])) for line in lines])),
            f"{arm.label}: gradient noise scale at the loss {targets[place]:.3g}",
        )
        for end, place in ENDS
    }
    meaning = f"{arm.label}: power of the gradient noise scale in 1 / loss"
    return Found(at | {f"{name}_noise_growth": Number(mean([-line[0] for line in lines]), meaning)})


def _unknown(name: str, arm: Arm) -> Found:
    """All slots of an arm that does not tell them."""
    ways = {"": "critical batch size", "data_": "critical batch size at equal data", "noise_": "gradient noise scale"}
    places = {"first": "at its least", "last": "at its most", "growth": "its growth"}
    numbers = {
        f"{name}_{way}{end}": Number(Interval(), f"{arm.label}: {what}, {place}")
        for way, what in ways.items()
        for end, place in places.items()
    }
    return Found(numbers, {f"{name}_{end}_loss": "no common loss" for end, _ in ENDS})


KIND = Kind(Keys, measure)
