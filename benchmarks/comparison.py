"""How often do the intervals of a comparison hold the truth? Simulated pairs of arms with a known difference.

    python benchmarks/comparison.py                 300 pairs for each of 56 settings: about 5 minutes
    python benchmarks/comparison.py --quick         40 pairs each
    python benchmarks/comparison.py --tuning        instead: equal arms with what tuning leaves in each cell
    python benchmarks/comparison.py --slopes        instead: the slopes at the largest cell, 60 pairs each
    python benchmarks/comparison.py --json FILE     the numbers, too

Grids of 7 x 5 and of 4 x 4 cells; 3 repeats per cell, whose noise of one run is 4 or 10 % of the loss; seeds that are
shared, so that half of a run's variance is common to both arms, or not. The table of --tuning is
that of docs/evidence.md.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from comparison_coverage import RunNoise, Truth, comparison_coverage, slope_coverage

from mnist_scaling.fitting.laws import get_law
from mnist_scaling.fitting.laws.base import Array

ADDITIVE = {"E": 0.02, "A": 6.0, "B": 60.0, "alpha": 0.5, "beta": 0.6}
PRODUCT = {"A": 40.0, "alpha": 0.3, "beta": 0.4}
COUPLED = {"E": 0.013, "A": 60.0, "B": 600.0, "alpha": 0.7, "beta": 0.9, "gamma": 0.6}

TRUTHS = {
    "multiplicative, equal arms": ("multiplicative", PRODUCT, {}),
    "multiplicative, another offset": ("multiplicative", PRODUCT, {"A": 32.0}),
    "multiplicative, other exponents": ("multiplicative", PRODUCT, {"alpha": 0.36, "beta": 0.36}),
    "additive, equal arms": ("additive", ADDITIVE, {}),
    "additive, other exponents": ("additive", ADDITIVE, {"alpha": 0.56, "beta": 0.53, "A": 8.0, "B": 35.0}),
    "coupled, equal arms": ("coupled", COUPLED, {}),
    "coupled, other exponents": ("coupled", COUPLED, {"alpha": 0.8, "beta": 0.8, "B": 300.0}),
}
"""Law, parameters of a, and those in which b differs."""

GRIDS = {"7 x 5": (np.geomspace(1e3, 6.4e4, 7), 5), "4 x 4": (np.geomspace(1e3, 3.2e4, 4), 4)}
SIGMAS, SHARES = (0.04, 0.1), (0.5, 0.0)


def grid(sizes: Array, amounts: int) -> tuple[Array, Array]:
    """N and D of every cell."""
    n, d = np.meshgrid(sizes, np.geomspace(3125, 50_000, amounts), indexing="ij")
    return n.ravel(), d.ravel()


def measure(pairs: int, draws: int) -> Iterator[dict[str, Any]]:
    """One record per grid, truth, size of the noise and share of it."""
    rng = np.random.default_rng(0)
    for name, truth, sigma, shared in product(GRIDS, TRUTHS, SIGMAS, SHARES):
        law, a, change = TRUTHS[truth]
        found, differs = comparison_coverage(
            *grid(*GRIDS[name]), Truth(get_law(law), a, a | change), RunNoise(sigma, shared), pairs, rng, draws
        )
        yield {
            "grid": name, "truth": truth, "noise": sigma, "shared": shared,
            "coverage": {c.quantity: c.share for c in found}, "width": {c.quantity: c.width for c in found},
            "differs": differs,
        }  # fmt: skip


TUNING = tuple(
    RunNoise(0.04, 0.5, tuning=size, reach=reach, fall=fall, skewed=skewed)
    for size, reach, fall, skewed in (
        (0.0, (0.0, 0.0), 0.0, False), (0.03, (0.0, 0.0), 0.0, False), (0.03, (0.5, 0.2), 0.0, False),
        (0.03, (0.7, 0.3), 0.0, False), (0.03, (0.5, 0.2), 0.25, True), (0.03, (0.7, 0.3), 0.25, True),
    )
)  # fmt: skip
"""What tuning leaves in a cell."""


def measure_tuning(pairs: int, draws: int) -> Iterator[dict[str, Any]]:
    """One record per grid and noise of `TUNING`, without a twin and with one: equal arms, and arms 10 % apart."""
    for name, noise, twin in product(GRIDS, TUNING, (False, True)):
        law, a, _ = TRUTHS["multiplicative, equal arms"]
        (found, differs), (_, told) = (
            comparison_coverage(
                *grid(*GRIDS[name]), Truth(get_law(law), a, a | {"A": factor * a["A"]}), noise, pairs,
                np.random.default_rng(seed), draws, twin=twin,
            )
            for seed, factor in ((3, 1.0), (4, 1.1))
        )  # fmt: skip
        yield {
            "grid": name, **asdict(noise), "twin": twin,
            "coverage": {c.quantity: c.share for c in found}, "width": {c.quantity: c.width for c in found},
            "differs": differs, "power": told["offset"],
        }  # fmt: skip


LUCKY = (
    RunNoise(0.05, 0.5, 5),
    RunNoise(0.04, 0.5, 3, tuning=0.03, reach=(0.7, 0.3)),
    RunNoise(0.05, 0.5, 5, tuning=0.05, reach=(0.5, 0.2)),
    RunNoise(0.05, 0.5, 5, tuning=0.05, reach=(0.8, 0.8)),
)
"""No luck, more than the 0.27 to 0.58 times the noise of one run that grids tuned twice have shown, as much shared
between neighbours as these, and far more."""


def measure_slopes(pairs: int) -> Iterator[dict[str, Any]]:
    """One record per grid, noise of `LUCKY` and truth: equal and other arms of the coupled law."""
    for name, noise, truth in product(GRIDS, LUCKY, ("coupled, equal arms", "coupled, other exponents")):
        law, a, change = TRUTHS[truth]
        found = slope_coverage(
            *grid(*GRIDS[name]), Truth(get_law(law), a, a | change), noise, pairs, np.random.default_rng(7)
        )
        shares = {c.quantity: round(c.share, 3) for c in found}
        yield {"grid": name, "truth": truth, "luck": noise.tuning, "neighbours": noise.reach, "coverage": shares}


def tuning_table(records: list[dict[str, Any]]) -> str:
    """As Markdown."""
    names = list(records[0]["coverage"])
    head = ["grid", "luck", "twin", *names, "differs (alpha, beta, offset)", "10 % seen"]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for r in records:
        held = [f"{100 * r['coverage'][k]:.0f} ({r['width'][k]:.3f})" for k in names]
        said = ", ".join(f"{100 * r['differs'][k]:.0f}" for k in ("alpha", "beta", "offset"))
        along = "/".join(f"{x:g}" for x in r["reach"])
        luck = f"{100 * r['tuning']:g} %, {along}{', skewed, falling' if r['skewed'] else ''}"
        twin, power = "yes" if r["twin"] else "no", f"{100 * r['power']:.0f}"
        lines.append(f"| {' | '.join([r['grid'], luck, twin, *held, said, power])} |")
    return "\n".join(lines)


def table(records: list[dict[str, Any]]) -> str:
    """Means over the noise and the seeds, by grid and truth, as Markdown."""
    names = list(records[0]["coverage"])
    head = ["grid", "truth", *names, "differs (alpha, beta, offset)"]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for name, truth in product(GRIDS, TRUTHS):
        rows = [r for r in records if (r["grid"], r["truth"]) == (name, truth)]
        held = [f"{100 * np.mean([r['coverage'][k] for r in rows]):.1f}" for k in names]
        said = ", ".join(f"{100 * np.mean([r['differs'][k] for r in rows]):.1f}" for k in ("alpha", "beta", "offset"))
        lines.append(f"| {name} | {truth} | {' | '.join(held)} | {said} |")
    every = [f"{100 * np.mean([r['coverage'][k] for r in records]):.1f}" for k in names]
    equal = [r for r in records if "equal" in r["truth"]]
    said = ", ".join(f"{100 * np.mean([r['differs'][k] for r in equal]):.1f}" for k in ("alpha", "beta", "offset"))
    lines.append(f"| all | all; equal arms in the last column | {' | '.join(every)} | {said} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print, and write where a file is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="40 pairs for each setting instead of 300")
    parser.add_argument("--tuning", action="store_true", help="equal arms with what tuning leaves")
    parser.add_argument("--slopes", action="store_true", help="the slopes at the largest cell")
    parser.add_argument("--json", type=Path, help="file for the numbers")
    arguments = parser.parse_args()
    pairs, draws = (40, 300) if arguments.quick else (300, 1000)
    if arguments.slopes:
        for record in measure_slopes(10 if arguments.quick else 60):
            print(json.dumps(record), flush=True)
        return
    if arguments.tuning:
        records = list(measure_tuning(pairs, draws))
        print(tuning_table(records))
        if arguments.json:
            arguments.json.write_text(json.dumps({"pairs": pairs, "draws": draws, "tuning": records}, indent=1))
        return
    records = list(measure(pairs, draws))
    print(table(records))
    worst = sorted(
        (s, r["grid"], r["truth"], r["noise"], r["shared"], k) for r in records for k, s in r["coverage"].items()
    )
    print("\nLowest coverages:")
    for share, *where in worst[:5]:
        print(f"  {100 * share:.1f} %  {', '.join(map(str, where))}")
    if arguments.json:
        arguments.json.write_text(json.dumps({"pairs": pairs, "draws": draws, "settings": records}, indent=1))


if __name__ == "__main__":
    main()
