"""How long a fit takes, beside the procedure it replaces and beside the peers.

    python benchmarks/fitting.py --json fitting.json
    python benchmarks/fitting.py --quick                        the baseline on 60 of its 4,500 starts, scaled up
    python benchmarks/fitting.py --coverage 200                 only the table of coverage in docs/evidence.md
    python benchmarks/fitting.py --peers PYTHON [--peers-path DIR]     an interpreter that has the peers

The table is Besiroglu's 240 rows where ../shared/data has them, else 240 rows drawn from their fitted law.
Everything is one process and one thread; ours and the baseline alternate, because a machine's speed drifts.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import csv
import functools
import itertools
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from change_coverage import change_coverage
from comparison_coverage import RunNoise, left_by_tuning
from law_coverage import Coverage, coverage
from rich.console import Console
from rich.table import Table as Grid
from scipy.optimize import minimize
from scipy.special import logsumexp

from mnist_scaling.fitting import Options, Settings, analyse, fit_law, get_law, make_table
from mnist_scaling.fitting.estimation.solve import minimise

DELTA = 1e-3
SHARED = Path(os.environ.get("MNIST_SCALING_SHARED_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
PUBLISHED = {"E": 1.81722, "A": 477.84, "B": 2143.9, "alpha": 0.34731, "beta": 0.36718}
STARTS = list(
    itertools.product(np.arange(0, 30, 5), np.arange(0, 30, 5), np.arange(-1, 1.5, 0.5), *2 * [np.arange(0, 2.5, 0.5)])
)
"""log A, log B, log E, alpha, beta: Hoffmann et al. 2022, section 3.3; 4,500 of them."""


def load() -> tuple[np.ndarray, np.ndarray, np.ndarray, str]:
    """N, D, loss of 240 rows and where they come from."""
    path = SHARED / "chinchilla_epoch.csv"
    if path.is_file():
        with path.open() as file:
            rows = [r for r in csv.DictReader(file) if r["kept_besiroglu"] == "1"]
        return *(np.array([float(r[k]) for r in rows]) for k in ("N", "D", "loss")), str(path)
    rng = np.random.default_rng(0)
    n, c = np.exp(rng.uniform(17.5, 23.5, 240)), np.exp(rng.uniform(43, 50, 240))
    d = c / (6 * n)
    return n, d, get_law("additive").predict(PUBLISHED, N=n, D=d) * np.exp(0.005 * rng.standard_t(3, 240)), "synthetic"


def notebook(
    n: np.ndarray, d: np.ndarray, loss: np.ndarray, starts: list[tuple[float, ...]]
) -> tuple[float, np.ndarray]:
    """The procedure that is replaced: L-BFGS-B with numeric gradients from every start, log-sum-exp of the terms.

    Besiroglu et al. 2024 (arXiv 2404.10102), section 3: the sum of Huber losses, scipy's L-BFGS-B at its
    own settings, the best of all starts.
    """
    log_n, log_d, y = np.log(n), np.log(d), np.log(loss)

    def objective(p: np.ndarray) -> float:
        a, b, e, alpha, beta = p
        r = np.abs(y - logsumexp(np.stack([a - alpha * log_n, b - beta * log_d, np.full_like(y, e)]), axis=0))
        return float(np.where(r <= DELTA, 0.5 * r * r, DELTA * (r - 0.5 * DELTA)).sum())

    found = [minimize(objective, start, method="L-BFGS-B") for start in starts]
    best = min(found, key=lambda f: f.fun)
    return float(best.fun), best.x


def timed(work, repeats: int = 1):
    """Shortest of some runs, and the last result."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - start)
    return min(seconds), result


def ours(n: np.ndarray, d: np.ndarray, loss: np.ndarray) -> dict[str, float]:
    """One exact fit, 1,000 bootstrap refits of it, and the whole analysis with all laws and frontiers."""
    law, settings = get_law("additive"), Settings(delta=DELTA)
    logs, y = {"N": np.log(n), "D": np.log(d)}, np.log(loss)
    seconds, fit = timed(lambda: fit_law(law, logs, y, settings), 5)
    counts = np.random.default_rng(0).multinomial(len(y), np.full(len(y), 1 / len(y)), size=1000).astype(float)
    start = np.repeat(fit.theta[None], 1000, axis=0)
    boot, draws = timed(lambda: minimise(replace(fit.problem, weights=counts), start), 3)
    table = make_table(loss, {"N": n, "D": d, "C": 6 * n * d})
    whole, _ = timed(lambda: analyse(table, Options(settings=settings)))
    spread = draws.theta.std(axis=0)
    return {
        "ours_seconds": seconds,
        "ours_objective": fit.objective,
        "ours_alpha": fit.values["alpha"],
        "ours_beta": fit.values["beta"],
        "ours_E": fit.values["E"],
        "bootstrap_1000_seconds": boot,
        "bootstrap_converged": float(draws.converged.mean()),
        "bootstrap_se_E": float(spread[0]),
        "bootstrap_se_alpha": float(spread[3]),
        "bootstrap_se_beta": float(spread[4]),
        "analysis_seconds": whole,
    }


def baseline(n: np.ndarray, d: np.ndarray, loss: np.ndarray, quick: bool) -> dict[str, float]:
    """The notebook's procedure; quick takes an even sample of its starts and scales the time up."""
    starts = STARTS[:: len(STARTS) // 60] if quick else STARTS
    seconds, (objective, x) = timed(lambda: notebook(n, d, loss, starts))
    return {
        "notebook_starts_run": len(starts),
        "notebook_seconds": seconds * len(STARTS) / len(starts),
        "notebook_objective": objective,
        "notebook_alpha": float(x[3]),
        "notebook_beta": float(x[4]),
    }


PEERS = {
    "chinchilla": """
import chinchilla, numpy as np, pandas as pd, os
folder = os.environ["FOLDER"]
data = pd.read_csv(folder + "/rows.csv")
data.assign(C=6 * data.N * data.D).to_csv(folder + "/df.csv", index=False)
grid = int(os.environ["GRID"])
cc = chinchilla.Chinchilla(folder, log_level=50, param_grid=dict(
    E=np.linspace(1, 2, grid), a=np.linspace(1, 10, grid), b=np.linspace(1, 10, grid),
    alpha=np.linspace(0.1, 0.7, grid), beta=np.linspace(0.1, 0.7, grid)))
start = time.perf_counter()
cc.fit(parallel=False)
out = {"alpha": float(cc.alpha), "beta": float(cc.beta), "E": float(cc.E)}
out["note"] = f"{grid**5} of its README's 3,125 starts"
""",
    "simple_scaling_laws": """
import simple_scaling_laws as s, polars as pl, os
data = pl.read_csv(os.environ["FOLDER"] + "/rows.csv")
data = data.select(pl.int_range(pl.len()).cast(pl.Utf8).alias("training_run_id"), pl.col("N").alias("model_size__N"),
    pl.col("D").alias("dataset_size__D"), pl.col("loss").alias("test_loss__cross_entropy"))
start = time.perf_counter()
p = s.fit(data, n_draws=200).params("test_loss__cross_entropy")
out = {"alpha": p["alpha"], "beta": p["beta"], "E": p["E"], "note": "least squares, 200 draws"}
""",
}
"""What each peer runs: sets `start` before the fit and `out` after it."""


def peers(n: np.ndarray, d: np.ndarray, loss: np.ndarray, python: str, path: str, grid: int) -> dict[str, dict]:
    """Each peer in a process of its own; what is not installed there says so."""
    results: dict[str, dict] = {}
    for name, code in PEERS.items():
        with tempfile.TemporaryDirectory() as folder:
            np.savetxt(
                f"{folder}/rows.csv", np.column_stack([n, d, loss]), delimiter=",", header="N,D,loss", comments=""
            )
            script = f"import time, json\n{code}\nout['seconds'] = time.perf_counter() - start\n"
            script += "print('RESULT' + json.dumps(out))"
            environment = os.environ | {"FOLDER": folder, "GRID": str(grid), "PYTHONPATH": path, "MPLBACKEND": "Agg"}
            try:
                done = subprocess.run(
                    [python, "-c", script], env=environment, capture_output=True, text=True, timeout=1200
                )
            except subprocess.TimeoutExpired:
                results[name] = {"note": "not finished in 20 minutes"}
                continue
        lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT")]
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        missing = "No module named" in last
        results[name] = json.loads(lines[0][6:]) if lines else {"note": "not installed" if missing else last}
    return results


TRUTHS = {
    "additive": {"E": 0.03, "A": 3.0, "B": 60.0, "alpha": 0.35, "beta": 0.6},
    "multiplicative": {"A": 30.0, "alpha": 0.2, "beta": 0.45},
    "power_N": {"A": 3.0, "alpha": 0.3},
    "power_D": {"B": 60.0, "beta": 0.6},
    "power_D_floor": {"E": 0.05, "B": 60.0, "beta": 0.6},
}
"""What the tables of the coverage simulation obey: exponents like those of small CNNs on MNIST."""


def coverage_table(tables: int) -> None:
    """Share of simulated tables whose 95 % interval holds the truth, on the project's grids with 3 repeats."""
    grid = Grid(title=f"Coverage of 95 % intervals, {tables} tables each, 3 repeats", title_justify="left")
    for name in ("grid", "noise", "law", "quantity: share held (median width)"):
        grid.add_column(name)
    for widths, fractions in ((4, 5), (7, 7)):
        w = 8 * 2 ** (np.arange(widths) / 2)
        n, d = (a.ravel() for a in np.meshgrid(10 * w**2 + 100 * w, 50_000 / 2.0 ** np.arange(fractions)))
        table = make_table(np.ones(len(n)), {"N": n, "D": d, "C": 6 * (n + 500 * np.sqrt(n)) * d})
        for noise, (name, values) in itertools.product((0.03, 0.1), TRUTHS.items()):
            law = get_law(name)
            found = coverage(table, law, law.internal(values), noise, 3, tables, 200)
            text = ", ".join(_coverage_text(c) for c in found)
            grid.add_row(f"{widths} x {fractions}", f"{100 * noise:.0f} %", name, text)
    Console(width=160).print(grid)


TUNED_TRUTHS = {"untuned": {"k": 240.0, "N": 0.39, "D": 0.52}, "tuned": {"k": 30.0, "N": 0.29, "D": 0.39}}
"""Planes like those of the quickstart, whose exponents tuning lowers by 0.10 and 0.13."""


def tuning_change_table(tables: int) -> None:
    """Coverage of what tuning changed: three repeats on both sides, with and without luck that cells share."""
    grid = Grid(title=f"What tuning changed: coverage of 95 % intervals, {tables} tables each", title_justify="left")
    for name in ("grid", "luck", "intervals", "change N", "change D", "all at once", "all at once, simultaneous"):
        grid.add_column(name)
    for (widths, fractions), reach in itertools.product(((4, 5), (7, 5), (7, 7)), (None, (0.5, 0.2), (0.7, 0.3))):
        w = 8 * 2 ** (np.arange(widths) / 2)
        n, d = (a.ravel() for a in np.meshgrid(10 * w**2 + 100 * w, 50_000 / 2.0 ** np.arange(fractions)))
        x, luck = np.log(np.column_stack([n, d])), RunNoise(0.0, 0.0, tuning=0.03, reach=reach or (0.0, 0.0))
        left = None if reach is None else functools.partial(left_by_tuning, x, luck)
        rng = np.random.default_rng(0)
        counted = change_coverage(n, d, **TUNED_TRUTHS, sigma=0.03, repeats=3, tables=tables, rng=rng, luck=left)
        found = {c.quantity: c for c in counted}
        for where in ("slice", "plane"):
            both = f"{where}, all at once"
            names = (f"change {where} N", f"change {where} D", f"change {both}", f"simultaneous {both}")
            shares = (f"{100 * found[k].share:.1f} %" for k in names)
            name = f"3 %, {reach[0]:g}/{reach[1]:g}" if reach else "none"
            grid.add_row(f"{widths} x {fractions}", name, where, *shares)
    Console(width=160).print(grid)


def _coverage_text(c: Coverage) -> str:
    return f"{c.quantity} {100 * c.share:.0f} % ({c.width:.2g})"


def show(found: dict, others: dict[str, dict], source: str) -> None:
    """One table: seconds and exponents of each tool."""
    grid = Grid(title=f"Additive law, 240 rows ({Path(source).name}), one thread", title_justify="left")
    for name in ("tool", "seconds", "alpha", "beta", "note"):
        grid.add_column(name, justify="right" if name in ("seconds", "alpha", "beta") else "left")
    quick = found["notebook_starts_run"] < len(STARTS)
    note = f"objective {found['notebook_objective']:.9f}" + (", scaled up from 60 starts" if quick else "")
    grid.add_row(
        "notebook, 4,500 starts", f"{found['notebook_seconds']:.1f}", f"{found['notebook_alpha']:.5f}",
        f"{found['notebook_beta']:.5f}", note,
    )  # fmt: skip
    grid.add_row(
        "ours, one fit", f"{found['ours_seconds']:.3f}", f"{found['ours_alpha']:.5f}", f"{found['ours_beta']:.5f}",
        f"objective {found['ours_objective']:.9f}",
    )  # fmt: skip
    se = f"± {found['bootstrap_se_alpha']:.4f}", f"± {found['bootstrap_se_beta']:.4f}"
    grid.add_row("ours, 1,000 refits", f"{found['bootstrap_1000_seconds']:.2f}", *se, "row bootstrap")
    grid.add_row(
        "ours, everything", f"{found['analysis_seconds']:.2f}", "", "", "laws, hold-outs, frontiers, 1,000 draws"
    )
    for name, r in others.items():
        numbers = [f"{r[k]:.5f}" if k in r else "" for k in ("alpha", "beta")]
        grid.add_row(name, f"{r['seconds']:.1f}" if "alpha" in r else "", *numbers, r.get("note", ""))
    console = Console(width=100)
    console.print(grid)
    console.print(f"notebook / ours = {found['notebook_over_ours']:,.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the numbers here")
    parser.add_argument("--quick", action="store_true", help="under a minute")
    parser.add_argument("--peers", default=sys.executable, help="Python that has the peers")
    parser.add_argument("--peers-path", default="", help="PYTHONPATH of that Python")
    parser.add_argument("--peers-grid", type=int, default=2, help="starts per axis for chinchilla; its README has 5")
    parser.add_argument("--coverage", type=int, default=0, help="simulated tables a row; does nothing else")
    arguments = parser.parse_args()
    if arguments.coverage:
        tuning_change_table(arguments.coverage)
        coverage_table(arguments.coverage)
        return
    n, d, loss, source = load()
    before = ours(n, d, loss)
    slow = baseline(n, d, loss, arguments.quick)
    found = ours(n, d, loss)
    found = {k: min(v, before[k]) if k.endswith("seconds") else v for k, v in found.items()} | slow
    found["notebook_over_ours"] = found["notebook_seconds"] / found["ours_seconds"]
    others = peers(n, d, loss, arguments.peers, arguments.peers_path, arguments.peers_grid)
    show(found, others, source)
    if arguments.json:
        arguments.json.write_text(json.dumps(found | {"data": source, "peers": others}, indent=1) + "\n")


if __name__ == "__main__":
    main()
