"""Is "90 %" right, and do the runs that `compare` asks for settle a comparison? Simulated on equal and different arms.

python benchmarks/settling.py                   minutes on one core
python benchmarks/settling.py --tables 20       fewer

Arms lie on one multiplicative law and differ by a factor on the loss. Each row is of so many pairs of arms, with 4 %
noise of one run, half of it a seed's own to both arms, three repeats, and what tuning leaves (comparison_coverage.py).
In the last rows of a grid the arms share no seed, and half of the noise is a seed's own to all cells of its arm.

    below 90 %   share of pairs whose true difference lies below the 90 % quantile of its draws: what "90 %" should be
    right        of the pairs with 0.85 <= P <= 0.95 for one arm, in how many that arm is better (differences drawn)
    settled      of the pairs that were not settled, the share that is so with the runs asked for (aimed at: 80 %)
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np
from comparison_coverage import RunNoise, Truth, simulate

from mnist_scaling.fitting.comparing import ComparisonOptions, compare
from mnist_scaling.fitting.comparing.multiplier import differences
from mnist_scaling.fitting.comparing.settle import OFTEN, settling
from mnist_scaling.fitting.laws import get_law
from mnist_scaling.fitting.laws.base import Array

LAW = {"A": 60.0, "alpha": 0.3, "beta": 0.5}
TRIALS, REPEATS, TUNED = 12, 3, 3
GRIDS = {"7 x 5": (7, 5), "4 x 4": (4, 4)}
NOISES = {
    "3 %, 0.5/0.2": RunNoise(0.04, 0.5, REPEATS, 0.03, (0.5, 0.2)),
    "3 %, 0.7/0.3": RunNoise(0.04, 0.5, REPEATS, 0.03, (0.7, 0.3)),
    "1 %, 0.5/0.2": RunNoise(0.04, 0.5, REPEATS, 0.01, (0.5, 0.2)),
    "1 %, 0.5/0.2, no seed shared": RunNoise(0.04, 0.0, REPEATS, 0.01, (0.5, 0.2), across=0.5),
}
APART = {"equal": 0.0, "2 % apart": 0.02, "5 % apart": 0.05, "drawn, 10 %": None}


def grid(sizes: int, amounts: int) -> tuple[Array, Array]:
    """N and D of every cell."""
    n, d = np.meshgrid(2000 * 2.0 ** np.arange(sizes), 3125 * 2.0 ** np.arange(amounts), indexing="ij")
    return n.ravel(), d.ravel()


def row(cells: tuple[Array, Array], noise: RunNoise, apart: float | None, tables: int) -> str:
    """One row of the table."""
    below, right, settled = [], [], []
    for seed in range(tables):
        rng = np.random.default_rng(seed)
        true = float(rng.normal(0, 0.1)) if apart is None else apart
        truth = Truth(get_law("multiplicative"), LAW, LAW | {"A": LAW["A"] * np.exp(true)})

        def one(of: RunNoise, truth: Truth = truth, rng: np.random.Generator = rng):  # type: ignore[no-untyped-def]
            found = compare(*simulate(*cells, truth, of, rng), ComparisonOptions(draws=300, exponents=False))
            return found, settling(found, TRIALS, REPEATS, TUNED)

        found, known = one(noise)
        if known is None:
            continue
        _, draws = differences(found.frontiers, float(np.log(known.C)))
        below.append(true < np.quantile(draws, 0.9))
        if 0.85 <= max(known.p_better, 1 - known.p_better) <= 0.95:
            right.append((known.p_better > 0.5) == (true < 0))
        if not known.settled and np.isfinite(known.runs):
            later = replace(
                noise, repeats=round(REPEATS * known.repeats), tuning=noise.tuning * known.trials ** (-2 / TUNED)
            )
            again = one(later)[1]
            settled.append((again is not None and again.settled, known.runs))
    runs = f"{np.median([r for _, r in settled]):.1f}" if settled else "–"
    shares = [f"{100 * np.mean(x):.0f} of {len(x)}" if x else "–" for x in (below, right, [s for s, _ in settled])]
    return " | ".join([shares[0], shares[1] if apart is None else "–", shares[2], runs])


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=int, default=100)
    parser.add_argument("--luck", help="only rows whose luck has this in its name")
    given = parser.parse_args()
    print(f"| grid | luck | arms | below 90 %, in % | right, in % | settled, in % ({100 * OFTEN:g}) | times the runs |")
    print("|" + "---|" * 7)
    for size, shape in GRIDS.items():
        for luck, noise in ((k, v) for k, v in NOISES.items() if (given.luck or "") in k):
            for arms, apart in APART.items():
                print(f"| {size} | {luck} | {arms} | {row(grid(*shape), noise, apart, given.tables)} |", flush=True)


if __name__ == "__main__":
    main()
