"""Laws of the best settings on simulated studies of known truth: how often intervals hold it, and how wide they are.

    python benchmarks/setting_laws.py                      200 studies per scene: half a minute on one core
    python benchmarks/setting_laws.py --studies 20
    python benchmarks/setting_laws.py --json FILE

A study is a grid of cells whose best settings follow lr* ~ N^-0.3 D^0.1, batch* ~ D^0.4 and
dropout* = 0.03 ln N - 0.02 ln D + constant, with a scatter about it. Every cell is sampled as a tuner does: six
settings at random, then near its best ones, one in five at random still. Each run has noise. The loss is no quadratic:
from its minimum on it rises more steeply towards large rates, in some scenes smoothly so, or from a cliff on.

    held       share of studies whose 95 % interval of the exponent holds the truth
    width      median width of that interval
    new cells  share of new cells, a factor of 2 beyond the grid in N and D, whose true best value lies in the interval
               that is predicted for it
    of range   median of that interval's width over that of the range that is searched
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from mnist_scaling.settings.setting_laws import CellTrials, KeyLaws, prior, setting_laws

KEYS = {"lr": True, "batch_size": True, "dropout": False}
NAMES = [*KEYS]
TRUTH = np.array([[-0.3, 0.1], [0.0, 0.4], [0.03, -0.02]])
MIDDLE = np.array([np.log(4e-3), np.log(32), 0.15])
LOW, HIGH = np.array([1e-4, 4.0, 0.0]), np.array([1e-1, 256.0, 0.5])
CURVATURE = np.array([[0.10, -0.03, 0.0], [-0.03, 0.05, 0.0], [0.0, 0.0, 3.0]])
SCATTER = np.array([1.0, 1.0, 0.1])
NEW_CELLS = 20
"""New cells of one size that each study's prediction is held against."""


@dataclass(frozen=True)
class Scene:
    """What is simulated."""

    name: str
    trials: int = 16
    noise: float = 0.04
    """Standard deviation of ln L between runs of one setting."""
    scatter: float = 0.15
    """Of a cell's true best ln lr and ln batch size about the law; a tenth of it for dropout."""
    varying: float = 0.0
    """How much the curvature varies between cells, in ln."""
    shape: tuple[int, int] = (6, 5)
    """Model sizes and data sizes."""
    side: str = "from the minimum"
    """How the loss is steeper towards large rates: a key of `SIDES`."""
    least_batch: float = 4.0
    """Lower end of the range of the batch size: some best ones lie below a large one."""


SCENES = (
    Scene("quiet, on the law", scatter=0.0),
    Scene("quiet"),
    Scene("noisy", noise=0.08),
    Scene("40 trials", trials=40),
    Scene("16 cells, varying curvature", varying=0.1, shape=(4, 4)),
    Scene("batch at its limit", least_batch=24.0),
    Scene("the same on both sides", side="not"),
    Scene("smoothly steeper", side="smoothly"),
    Scene("a cliff", side="cliff"),
)

SIDES: dict[str, Callable[[float], float]] = {
    "from the minimum": lambda a: 1 + 0.3 * float(np.tanh(a)),
    "not": lambda a: 1.0,
    "smoothly": lambda a: float(np.exp(0.15 * a)),
    "cliff": lambda a: 1 + max(a - 1.5, 0) ** 2,
}
"""What the quadratic is multiplied by at a distance `a` in ln lr from the minimum."""


def best_setting(n: float, d: float) -> np.ndarray:
    """The true best ln lr, ln batch size and dropout, (3,)."""
    return np.asarray(MIDDLE + TRUTH @ np.log([n / 8e3, d / 6e3]))


def study(scene: Scene, rng: np.random.Generator) -> list[CellTrials]:
    """The finished trials of every cell of a simulated study."""
    ends = np.array([[np.log(LOW[0]), np.log(scene.least_batch), LOW[2]], [*np.log(HIGH[:2]), HIGH[2]]])
    cells = []
    for i in range(scene.shape[0]):
        for j in range(scene.shape[1]):
            n, d = 1e3 * 2.0**i, 1.5e3 * 2.0**j
            best = best_setting(n, d) + scene.scatter * SCATTER * rng.normal(size=3)
            bend = CURVATURE * np.exp(scene.varying * rng.normal())
            tried = _tried(scene, best, bend, ends, rng)
            losses = 6 * n**-0.3 * np.exp([y for _, y in tried])
            settings = np.array([u for u, _ in tried])
            settings[:, :2] = np.exp(settings[:, :2])
            settings[:, 1] = settings[:, 1].round()
            low = np.array([LOW[0], scene.least_batch, LOW[2]])
            cells.append(CellTrials(losses, settings, low, HIGH, {"N": n, "D": d}))
    return cells


def _tried(
    scene: Scene, best: np.ndarray, bend: np.ndarray, ends: np.ndarray, rng: np.random.Generator
) -> list[tuple[np.ndarray, float]]:
    """Settings that a tuner tries in one cell, and their ln L above the lowest."""
    low, high = ends
    tried: list[tuple[np.ndarray, float]] = []
    for number in range(scene.trials):
        u = low + (high - low) * rng.random(3)
        if number >= 6 and rng.random() >= 0.2:
            good = sorted(tried, key=lambda one: one[1])[: max(1, number // 5)]
            u = good[rng.integers(len(good))][0] + 0.18 * (high - low) * rng.normal(size=3)
        u = np.clip(u, low, high)
        away = u - best
        loss = 0.5 * away @ bend @ away * SIDES[scene.side](away[0]) + scene.noise * rng.normal()
        tried.append((u, float(loss)))
    return tried


def measure(scene: Scene, studies: int, seed: int = 0) -> list[dict[str, Any]]:
    """One row per key of a scene."""
    seen: dict[int, list[tuple[bool, bool, float, float]]] = {}
    new: dict[int, list[tuple[float, float]]] = {}
    for number in range(studies):
        rng = np.random.default_rng((seed, number))
        laws = setting_laws(study(scene, rng), KEYS)
        for column, known in enumerate(laws.values()):
            for law in (law for law in known.laws if law.against == ("N", "D")):
                n, d = (law.exponents[size] for size in "ND")
                held = n.holds(TRUTH[column, 0]), d.holds(TRUTH[column, 1])
                seen.setdefault(column, []).append((*held, n.high - n.low, d.high - d.low))
            new.setdefault(column, []).extend(_new_cells(scene, laws, column, rng))
    return [
        {
            "scene": scene.name, "key": NAMES[column], "studies": len(rows), "asked": studies,
            "held": np.mean(rows, axis=0)[:2].tolist(), "width": np.median(rows, axis=0)[2:].tolist(),
            "new": np.mean(new[column], 0)[0], "of_range": np.median(new[column], 0)[1],
        }
        for column, rows in sorted(seen.items())
    ]  # fmt: skip


def _new_cells(
    scene: Scene, laws: dict[str, KeyLaws], column: int, rng: np.random.Generator
) -> list[tuple[float, float]]:
    """Share of new cells whose best value a prediction holds, and its width over that of the range, if there is one."""
    n, d = 1e3 * 2.0 ** scene.shape[0], 1.5e3 * 2.0 ** scene.shape[1]
    found = prior(laws, N=n, D=d).get(NAMES[column])
    if found is None:
        return []
    true = best_setting(n, d)[column] + scene.scatter * SCATTER[column] * rng.normal(size=NEW_CELLS)
    ends = np.array([found.low, found.high, [LOW[0], scene.least_batch, LOW[2]][column], HIGH[column]])
    low, high, least, most = np.log(ends) if KEYS[NAMES[column]] else ends
    return [(float(np.mean((low <= true) & (true <= high))), (high - low) / (most - least))]


def main() -> None:
    """Measure every scene and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=200, help="simulated studies per scene")
    parser.add_argument("--scenes", nargs="*", default=[s.name for s in SCENES], help="names of scenes, all by default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="where to write the numbers")
    arguments = parser.parse_args()
    rows = [row for s in SCENES if s.name in arguments.scenes for row in measure(s, arguments.studies, arguments.seed)]
    table = Table("scene", "key", "laws", "held, N and D", "width, N and D", "new cells held", "of the range")
    for r in rows:
        held, width = (", ".join(format(x, form) for x in r[k]) for k, form in (("held", ".2f"), ("width", ".3f")))
        shown = f"{r['new']:.2f}", f"{r['of_range']:.2f}"
        table.add_row(r["scene"], r["key"], f"{r['studies']}/{r['asked']}", held, width, *shown)
    Console(width=120).print(table)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1, default=float) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
