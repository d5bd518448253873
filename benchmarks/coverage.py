"""How often the numbers of a law with a misfit term hold the truth: where a law is true, and where none is.

    python benchmarks/coverage.py --records FILE                laws and written surfaces
    python benchmarks/coverage.py --records FILE --set drawn    surfaces of a random generator: to be run once

Tables are those of coverage_suite.py, with 3 repeats. For every quantity: the share of tables whose 95 % interval
holds the truth, the median width, and the share of tables that give it. Losses are in logs: those at 2, 4, 8 and 30
times the largest compute lie on the truth's own frontier, or where it has none on the line from the largest cell along
which N and D share the cost.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from coverage_suite import TRUTHS, Condition, log_loss, table_of
from smooth_truths import SEALED, WRITTEN

from mnist_scaling.fitting.frontier.parametric import Cost, fit_cost
from mnist_scaling.fitting.laws.base import STEP, Array, largest, middle
from mnist_scaling.fitting.misfit.posterior import Posterior, surface
from mnist_scaling.fitting.misfit.process import Axes
from mnist_scaling.fitting.misfit.valley import valley
from mnist_scaling.fitting.rows import Table

FACTORS = (2, 4, 8, 30)
QUANTITIES = ("slope_N", "slope_D", "middle_N", "middle_D", "N*", "L*", *(f"loss x {k}" for k in FACTORS))


def conditions(kind: str) -> Iterator[Condition]:
    """The tables of one set: "laws", "written" or "drawn"."""
    if kind == "drawn":
        for k in range(SEALED):
            yield Condition(f"drawn {k}", "5x5" if k % 4 == 3 else "7x5", (0.02, 0.04, 0.08)[k % 3])
        return
    for truth, noise in product(WRITTEN if kind == "written" else TRUTHS, (0.02, 0.04, 0.08)):
        yield Condition(truth, "7x5", noise)
    for truth in WRITTEN if kind == "written" else ():
        yield Condition(truth, "5x5", 0.04)


def _far(table: Table, truth: str) -> tuple[dict[str, float], list[dict[str, float]]]:
    """What the truth's frontier holds, and the points at which losses beyond the table are asked for."""
    cost, axes = fit_cost(table), Axes.of(table.logs(("N", "D")))
    assert cost is not None
    c = cost.of(table)
    log_c = np.concatenate([np.linspace(c.min(), c.max(), 9), c.max() + np.log(FACTORS)])
    found = valley(lambda logs: log_loss(truth, logs["N"], logs["D"])[None], axes, cost, log_c)
    inside = valley(lambda logs: log_loss(truth, logs["N"], logs["D"])[None], axes, cost, log_c[:9])
    out = {"N*": float(inside.exponents["N"][0]), "L*": float(inside.log_loss[0, -1])}
    out = {key: value for key, value in out.items() if np.isfinite(value)}
    corner, places = largest(table.logs(("N", "D"))), []
    for k, factor in enumerate(FACTORS):
        n, d = found.log_n[0, 9 + k], found.log_d[0, 9 + k]
        if not np.isfinite(n):
            n, d = (corner[v] + np.log(factor) / 2 / kappa for v, kappa in (("N", cost.kappa_n), ("D", cost.kappa_d)))
        places.append({"N": float(n), "D": float(d)})
    return out, places


@cache
def truth_of(condition: Condition) -> tuple[dict[str, float], list[dict[str, float]]]:
    """The true value of every quantity that exists, and the points of the losses beyond the table."""
    table = table_of(condition, np.random.default_rng(0))
    out, places = _far(table, condition.truth)
    logs = table.logs(("N", "D"))
    for prefix, at in (("slope", largest(logs)), ("middle", middle(logs))):
        for key in "ND":
            steps = [{k: np.array([at[k] + h * (k == key)]) for k in "ND"} for h in (-STEP, STEP)]
            low, high = (log_loss(condition.truth, s["N"], s["D"])[0] for s in steps)
            out[f"{prefix}_{key}"] = float(low - high) / (2 * STEP)
    for factor, place in zip(FACTORS, places, strict=True):
        out[f"loss x {factor}"] = float(log_loss(condition.truth, *(np.array([place[k]]) for k in "ND"))[0])
    return out, places


def quantities(found: Posterior, table: Table, cost: Cost, places: Sequence[dict[str, float]]) -> dict[str, Array]:
    """Draws of every quantity."""
    logs, c = table.logs(("N", "D")), cost.of(table)
    out = {}
    for prefix, at in (("slope", largest(logs)), ("middle", middle(logs))):
        out |= {f"{prefix}_{k}": found.slope(at, k) for k in "ND"}
    front = found.frontier(cost, np.linspace(c.min(), c.max(), 9))
    out |= {"N*": front.exponents["N"], "L*": front.log_loss[:, -1]}
    losses = found.log_loss({k: np.array([p[k] for p in places]) for k in "ND"})
    return out | {f"loss x {factor}": y for factor, y in zip(FACTORS, losses.T, strict=True)}


def one(condition: Condition, number: int, draws: int) -> dict[str, Any]:
    """One table: the interval of every quantity."""
    # Python's own hash() of a string changes from process to process.
    seed = [number, *condition.truth.encode(), *condition.grid.encode(), int(1000 * condition.noise)]
    table = table_of(condition, np.random.default_rng(seed))
    cost = fit_cost(table)
    assert cost is not None
    start = time.process_time()
    found = surface(table, draws, np.random.default_rng(seed))
    drawn = quantities(found, table, cost, truth_of(condition)[1])
    ends = {k: np.nanquantile(v, [0.025, 0.5, 0.975]).tolist() for k, v in drawn.items() if np.isfinite(v).mean() > 0.5}
    return {
        "truth": condition.truth,
        "grid": condition.grid,
        "noise": condition.noise,
        "what": condition.what,
        "table": number,
        "seconds": time.process_time() - start,
        "misfit": np.quantile(found.misfit(), [0.025, 0.5, 0.975]).tolist(),
        "intervals": ends,
    }


def condition_of(record: dict[str, Any]) -> Condition:
    """The condition that a record is of."""
    return Condition(record["truth"], record["grid"], record["noise"], record["what"])


def summary(records: Sequence[dict[str, Any]]) -> dict[str, tuple[float, float, float]]:
    """Share held and median width where the truth has the quantity, and share of tables that give it."""
    out = {}
    for key in QUANTITIES:
        having = [r for r in records if key in truth_of(condition_of(r))[0]]
        given = [(r["intervals"][key], truth_of(condition_of(r))[0][key]) for r in having if key in r["intervals"]]
        held = [e[0] - 1e-9 <= t <= e[2] + 1e-9 for e, t in given]
        width = [e[2] - e[0] for e, _ in given]
        if given:
            out[key] = (float(np.mean(held)), float(np.median(width)), len(given) / len(having))
    return out


def page(records: Sequence[dict[str, Any]]) -> str:
    """Markdown: a row for all tables, for each noise and for each truth."""
    groups = {"all": list(records)}
    for name in ("noise", "grid", "what", "truth"):
        for value in dict.fromkeys(r[name] for r in records):
            groups.setdefault(f"{name} {value}", [r for r in records if r[name] == value])
    lines = [f"| tables | number | {' | '.join(QUANTITIES)} |", "|---" * (len(QUANTITIES) + 2) + "|"]
    for name, group in groups.items():
        found = summary(group)
        cells = [
            f"{100 * found[k][0]:.0f} ({found[k][1]:.2g}{f', in {100 * found[k][2]:.0f} %' if found[k][2] < 1 else ''})"
            if k in found
            else "—"
            for k in QUANTITIES
        ]
        lines.append(f"| {name} | {len(group)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", default="laws,written", help="of laws, written and drawn, by commas")
    parser.add_argument("--tables", type=int, default=3, help="of each condition")
    parser.add_argument("--draws", type=int, default=400)
    parser.add_argument("--records", type=Path, help="one line per table; those that are there are not run again")
    given = parser.parse_args()
    records = []
    if given.records and given.records.exists():
        records = [json.loads(line) for line in given.records.read_text().splitlines()]
    done = {(condition_of(r), r["table"]) for r in records}
    for kind in given.set.split(","):
        every = list(conditions(kind))
        for k, condition in product(range(given.tables), every):
            if (condition, k) in done:
                continue
            records.append(one(condition, k, given.draws))
            if given.records:
                with given.records.open("a") as file:
                    file.write(json.dumps(records[-1]) + "\n")
        print(f"**{kind}**\n\n{page([r for r in records if condition_of(r) in every])}\n")
    print(f"median {np.median([r['seconds'] for r in records]):.2f} s of CPU a table")


if __name__ == "__main__":
    main()
