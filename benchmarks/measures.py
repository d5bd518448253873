"""How often do the intervals of a question's measures hold the truth? Simulated arms, of the sizes of scale=quick.

    python benchmarks/measures.py                 400 tables for each of 16 settings: about 3 minutes
    python benchmarks/measures.py --tables 50
    python benchmarks/measures.py --seed 1 --json FILE

Losses of cells have log-normal noise of 2 or 4 %, each cell's own; in one setting a batch size also shares an error
over its branches, because the branches of a run share its trunk. The table is in LOG.md. `difference`
and `compute_optimal` are those of `compare` and `fit`, for which benchmarks/comparison.py and benchmarks/coverage.py
count.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mnist_scaling.asking import measures
from mnist_scaling.asking.measures import Findings
from mnist_scaling.asking.study_arms import LOSS, StudyArm
from mnist_scaling.fitting.uncertainty.interval import Interval

NOISE = (0.02, 0.04)
"""Standard deviation of a cell's log loss: two repeats of 3 to 5 %, and the tuning's."""

LAW = {"E": 0.03, "A": 6.0, "alpha": 0.5, "B": 60.0, "beta": 0.55}
"""Of an additive law, with a floor: its logarithm is curved in log N and in log D."""

CHANCE = 2.303
"""Loss of a uniform guess among ten classes, from which `batches` falls."""

Truths = Mapping[str, float]
Simulated = tuple[dict[str, Any], dict[str, StudyArm], Truths]
"""A measure's keys, noisy arms, and the true number of each slot."""


def law(n: Any, d: Any) -> Any:
    """The loss."""
    return LAW["E"] + LAW["A"] * n ** -LAW["alpha"] + LAW["B"] * d ** -LAW["beta"]


def arm(name: str, rows: pd.DataFrame, loss: Any, noise: Any) -> StudyArm:
    """An arm of those rows with noisy losses; `noise` is that of each log loss."""
    return StudyArm(name, name, rows.assign(**{LOSS: np.asarray(loss) * np.exp(noise)}))


def grid(widths: tuple[int, ...], data: tuple[int, ...]) -> pd.DataFrame:
    """Cells of a study of widths and amounts of data."""
    rows = pd.DataFrame([(w, 90 * w * w + 200 * w, d) for w in widths for d in data])
    return rows.set_axis(["width", "n_params", "n_train"], axis=1).assign(n_seen=lambda f: f["n_train"])


def label_noise(rng: np.random.Generator, sigma: float) -> Simulated:
    """4 x 4 cells; an image of one arm is worth 0.5 clean ones, of the other 0.2."""
    rows = grid((3, 6, 12, 32), (781, 2000, 5000, 12500))
    true = {"clean": 1.0, "half": 0.5, "fifth": 0.2}
    arms = {
        name: arm(name, rows, law(rows["n_params"], k * rows["n_train"]), sigma * rng.standard_normal(len(rows)))
        for name, k in true.items()
    }
    return {"kind": "worth", "baseline": "clean", "reach": 4}, arms, {"half_worth": 0.5, "fifth_worth": 0.2}


def repetition(rng: np.random.Generator, sigma: float) -> Simulated:
    """2 widths x 2 amounts of data at 2, 4 and 16 passes, beside 2 x 4 fresh cells; reach is the usual one."""
    fresh = grid((4, 8), (195, 781, 3125, 12500))
    arms = {"fresh": arm("fresh", fresh, law(fresh["n_params"], fresh["n_seen"]), sigma * rng.standard_normal(8))}
    rows, true = grid((4, 8), (390, 1562)), {2: 0.85, 4: 0.5, 16: 0.15}
    for passes, k in true.items():
        seen = rows.assign(n_seen=passes * rows["n_train"])
        effective = seen["n_train"] + k * (seen["n_seen"] - seen["n_train"])
        name = f"passes_{passes}"
        arms[name] = arm(name, seen, law(seen["n_params"], effective), sigma * rng.standard_normal(len(seen)))
    spec = {"kind": "worth", "baseline": "fresh", "of": "further"}
    return spec, arms, {f"passes_{passes}_worth": k for passes, k in true.items()}


def shapes(rng: np.random.Generator, sigma: float) -> Simulated:
    """7 widths x 4 depths at equal FLOPs; log L is 0.1 z^2 about 1.8 layers, and each depth has a best N of its own."""
    widths = (2, 3, 4, 6, 8, 11, 16)
    rows = pd.DataFrame([(w, d, 90 * w * w * d + 300 * w) for w in widths for d in (1, 2, 3, 4)])
    rows = rows.set_axis(["width", "depth", "n_params"], axis=1)
    z, n = np.log(rows["depth"] / 1.8), np.log(rows["n_params"])
    n -= n.mean()
    loss = 0.15 * np.exp(0.1 * z**2 + (0.1 * rows["depth"] - 0.3) * n + 0.1 * n**2)
    spec = {"kind": "basin", "over": "depth", "given": "n_params", "tolerance": 0.05}
    true = {"shapes_best": 1.8, "shapes_basin": float(np.exp(2 * np.sqrt(np.log(1.05) / 0.1)))}
    return spec, {"shapes": arm("shapes", rows, loss, sigma * rng.standard_normal(len(rows)))}, true


def steep_shapes(rng: np.random.Generator, sigma: float) -> Simulated:
    """The same with a basin that the noise leaves plain."""
    spec, arms, _ = shapes(rng, 0.0)
    rows = arms["shapes"].rows
    z = np.log(rows["depth"] / 1.8)
    loss = rows[LOSS] * np.exp(0.3 * z**2)
    true = {"shapes_best": 1.8, "shapes_basin": float(np.exp(2 * np.sqrt(np.log(1.05) / 0.4)))}
    return spec, {"shapes": arm("shapes", rows, loss, sigma * rng.standard_normal(len(rows)))}, true


def batches(rng: np.random.Generator, sigma: float, power: float = 0.0, shared: float = 0.0) -> Simulated:
    """4 batch sizes x 6 branches; E = E_min(L) (1 + B / B_crit), and B_crit is 60 at a loss of 0.5.

    L = 0.03 + chance / (1 + (E_min / 60)^0.6).
    """
    sizes, data = (8, 32, 128, 256), (390, 781, 1562, 3125, 6250, 12500)
    rows = pd.DataFrame([(b, d) for b in sizes for d in data], columns=["batch_size", "n_seen"])
    levels = np.geomspace(0.999 * CHANCE, 0.04, 4000)
    least = 60 * (CHANCE / (levels - 0.03) - 1) ** (1 / 0.6)
    loss = np.empty(len(rows))
    for i, (b, d) in enumerate(zip(rows["batch_size"], rows["n_seen"], strict=True)):
        loss[i] = np.exp(np.interp(np.log(d), np.log(least * (1 + b / critical(levels, power))), np.log(levels)))
    own = np.sqrt(1 - shared) * rng.standard_normal(len(rows))
    common = np.repeat(np.sqrt(shared) * rng.standard_normal(len(sizes)), len(data))
    return {"kind": "critical_batch"}, {"a": arm("a", rows, loss, sigma * (own + common))}, {"power": power}


def critical(loss: Any, power: float) -> Any:
    """B_crit of `batches` at a loss."""
    return 60 * (0.5 / loss) ** power


def growing(rng: np.random.Generator, sigma: float) -> Simulated:
    """The same with a B_crit that grows as one over the loss."""
    return batches(rng, sigma, power=1.0)


def trunks(rng: np.random.Generator, sigma: float) -> Simulated:
    """The same with a quarter of the noise's variance shared by the branches of a batch size."""
    return batches(rng, sigma, power=1.0, shared=0.25)


def errors(rng: np.random.Generator, sigma: float) -> Simulated:
    """4 x 4 cells whose error rate goes as the loss to the power 1.05; a third of the noise is the error's own."""
    rows = grid((3, 6, 12, 32), (781, 2000, 5000, 12500))
    made = arm("a", rows, law(rows["n_params"], rows["n_train"]), sigma * rng.standard_normal(len(rows)))
    error = 0.3 * made.rows[LOSS] ** 1.05 * np.exp(sigma / 3 * rng.standard_normal(len(rows)))
    found = StudyArm("a", "a", made.rows.assign(test_loss=made.rows[LOSS], test_error=error))
    return {"kind": "relation", "x": ["test_loss"], "y": "test_error"}, {"a": found}, {"a_test_loss": 1.05}


SETTINGS: Mapping[str, Callable[[np.random.Generator, float], Simulated]] = {
    "worth of all": label_noise, "worth of further": repetition, "basin, shallow": shapes, "basin, steep": steep_shapes,
    "critical batch, constant": batches, "critical batch, growing": growing, "critical batch, shared trunks": trunks,
    "relation": errors,
}  # fmt: skip


def truths(setting: str, found: Findings, exact: Findings, true: Truths) -> Truths:
    """The truth of each slot: known, or at the table's own target losses, or that of the table without noise."""
    if not setting.startswith("critical"):
        return true
    return {slot: exact.numbers[slot].interval.value for slot in ("a_first", "a_last", "a_growth")}


def count(setting: str, sigma: float, tables: int, seed: int) -> Iterator[dict[str, Any]]:
    """One record per slot: how many intervals there were, and how many held the truth."""
    rng = np.random.default_rng([seed, *setting.encode(), round(1000 * sigma)])
    simulate = SETTINGS[setting]
    spec, arms, _ = simulate(rng, 0.0)
    exact = measures.measure(spec, arms)
    seen: dict[str, list[tuple[Interval, float]]] = {}
    for _ in range(tables):
        spec, arms, true = simulate(rng, sigma)
        found = measures.measure(spec, arms)
        for slot, value in truths(setting, found, exact, true).items():
            seen.setdefault(slot, []).append((found.numbers[slot].interval, value))
    for slot, pairs in seen.items():
        given = [(interval, value) for interval, value in pairs if held(interval, value) is not None]
        yield {
            "setting": setting, "noise": sigma, "slot": slot, "tables": tables, "given": len(given),
            "held": sum(bool(held(*pair)) for pair in given),
            "width": float(np.median([i.high - i.low for i, _ in given])) if given else None,
        }  # fmt: skip


def held(interval: Interval, value: float) -> bool | None:
    """Whether an interval, which may be open to one side, holds a value; None where there is no interval."""
    return None if np.isnan([interval.low, interval.high]).any() else bool(interval.low <= value <= interval.high)


def table(records: list[dict[str, Any]]) -> str:
    """As Markdown."""
    lines = ["| setting | number | noise | intervals given | that hold the truth |", "|---|---|---|---|---|"]
    for r in records:
        share = f"{100 * r['held'] / r['given']:.1f} %" if r["given"] else "—"
        given = f"{100 * r['given'] / r['tables']:.0f} %"
        lines.append(f"| {r['setting']} | `{r['slot']}` | {100 * r['noise']:g} % | {given} | {share} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print, and write where a file is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--settings", nargs="*", default=list(SETTINGS), choices=list(SETTINGS))
    parser.add_argument("--json", type=Path, help="file for the numbers")
    given = parser.parse_args()
    records = [
        record for name in given.settings for sigma in NOISE for record in count(name, sigma, given.tables, given.seed)
    ]
    print(table(records))
    if given.json:
        given.json.write_text(json.dumps(records, indent=1))


if __name__ == "__main__":
    main()
