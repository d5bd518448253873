"""kind: critical_batch. How many examples and steps a target loss takes at each batch size.

    E = E_min (1 + B / B_crit)      S = E / B = S_min (1 + B_crit / B)

E examples and S steps reach the target at batch size B; the learning rate is tuned at each. Below B_crit a larger batch
saves steps and costs few examples; beyond it examples are wasted.

Source: McCandlish et al. 2018 (arXiv 1812.06162), section 2.3, equation 2.11.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mnist_scaling.asking.measures.base import DRAWS, SEED, Found, Kind, Number, columns, quantiles
from mnist_scaling.asking.study_arms import LOSS, Arm

GRID = np.exp(np.linspace(np.log(0.25), np.log(65536), 2000))
"""Values of B_crit that are tried."""


@dataclass(frozen=True)
class Keys:
    """Keys of this kind."""

    targets: int = 4
    """Target losses, log-spaced over what all batch sizes reach."""
    batch: str = "batch_size"
    """Column of the batch size."""


def measure(keys: Keys, arms: Mapping[str, Arm]) -> Found:
    """<arm>_first and <arm>_last: B_crit at the highest and lowest target; <arm>_growth: its power in the loss."""
    numbers: dict[str, Number] = {}
    words: dict[str, str] = {}
    notes: list[str] = []
    rng = np.random.default_rng(SEED)
    for name, arm in arms.items():
        columns(arm, keys.batch, "n_seen", LOSS)
        targets = _targets(arm.rows, keys)
        batches = np.unique(arm.rows[keys.batch].to_numpy(float))
        if not len(targets) or len(batches) < 3:
            notes.append(f"{arm.label}: no loss is reached at three batch sizes or more.")
            continue
        examples = np.array([[_examples(arm.rows, keys, b, t) for b in batches] for t in targets])
        found, drawn = _critical(batches, examples, rng)
        for slot, k in (("first", 0), ("last", -1)):
            meaning = f"{arm.label}: critical batch size for the loss {targets[k]:.3g}"
            numbers[f"{name}_{slot}"] = Number(quantiles(found[k], drawn[:, k]), meaning)
            words[f"{name}_{slot}_loss"] = f"{targets[k]:.3g}"
        slope = np.polyfit(np.log(targets), np.log(found), 1)[0]
        slopes = np.polyfit(np.log(targets), np.log(drawn).T, 1)[0]
        growth = Number(quantiles(float(-slope), -slopes), f"{arm.label}: power of the critical batch in 1 / loss")
        numbers[f"{name}_growth"] = growth
    return Found(numbers, words, tuple(notes))


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
    drawn = [fit(np.log(examples) - residual + scatter * rng.standard_normal(examples.shape))[0] for _ in range(DRAWS)]
    return found, np.array(drawn)


KIND = Kind(Keys, measure)
