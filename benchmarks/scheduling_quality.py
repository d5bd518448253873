"""What it costs in quality to keep more workers busy: larger batches of trials, and cells that wait for no others.

    python benchmarks/scheduling_quality.py --records FILE                     8 seeds: about 6 minutes of one core
    python benchmarks/scheduling_quality.py --records FILE --write docs/scaling_out.md

The shipped tuner and sampler tune the quickstart's 35 cells with 12 trials each, on a surrogate of its training: a
Gaussian process through the log validation losses of the 377 runs of a real quickstart that ran to their end
(benchmarks/recorded/quickstart.csv), with the noise between runs that it finds. No trial is pruned. A setting's loss
is the surrogate's mean, so that noise decides what is selected and not how it is judged. Losses are geometric means
over the cells, relative to the defaults' with the same seed; intervals are Student's over seeds, at 95 %.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from replay import composed
from replay import replay as replayed
from scheduling import GRIDS, RECORDED, cells_of, write
from scipy import stats
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

from mnist_scaling.study.columns import COMPLETE, INDEPENDENT, NEIGHBOURS, column_of
from mnist_scaling.tuning.cell.composition import Cell
from mnist_scaling.tuning.cell.next_settings import Effort
from mnist_scaling.tuning.cell.trial import best
from mnist_scaling.tuning.workers.job import Job

QUICKSTART = GRIDS[0]
DEFAULT = (NEIGHBOURS, 2)
SETTINGS = tuple((rule, batch) for rule in (NEIGHBOURS, INDEPENDENT) for batch in (1, 2, 4, 8, QUICKSTART.n_trials))
MARK = "benchmarks/scheduling_quality.py"


class Surrogate:
    """The loss of a setting in a cell, from real runs.

    log L = a plane in log width and log fraction + a Gaussian process of all five variables + noise.
    """

    def __init__(self) -> None:
        with RECORDED.open(newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["state"] == COMPLETE]
        x = np.array([_features(row) for row in rows])
        y = np.log([float(row["val_loss"]) for row in rows])
        plane = np.column_stack([np.ones(len(x)), x[:, :2]])
        self.plane, *_ = np.linalg.lstsq(plane, y, rcond=None)
        kernel = ConstantKernel(0.1) * RBF(np.ones(x.shape[1]), (0.05, 100.0)) + WhiteKernel(1e-3)
        self.process = GaussianProcessRegressor(kernel, n_restarts_optimizer=2, random_state=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a length at its bound: a variable that hardly matters
            self.process.fit(x, y - plane @ self.plane)
        self.noise = float(np.sqrt(self.process.kernel_.k2.noise_level))
        """Standard deviation of the log loss between runs of one setting."""
        self.n = len(rows)

    def mean(self, cell: Cell, setting: Mapping[str, Any]) -> float:
        """Log loss of a setting."""
        row = dict(cell.axes) | {column_of(key): value for key, value in setting.items()}
        x = np.array(_features(row))
        return float(self.plane @ [1.0, *x[:2]] + self.process.predict(x[None])[0])


def _features(row: Mapping[str, Any]) -> list[float]:
    width, fraction, lr, batch = (np.log(float(row[k])) for k in ("width", "data_fraction", "lr", "batch_size"))
    # Lengths are learnt, so that units do not matter; learning rates span the most.
    return [width, fraction, lr, batch, 5 * float(row["dropout"])]


@cache
def surrogate() -> Surrogate:
    return Surrogate()


def tune(rule: str, batch: int, seed: int) -> dict[str, float]:
    """Log loss of each cell's selected setting."""
    sampler = composed().hydra.sweeper.sampler
    given = [_with_seed(cell, seed) for cell in cells_of(QUICKSTART)]
    cells = {cell.name: cell for cell in given}

    def loss(job: Job) -> float:
        setting = {key: value for key, value in job.settings.items() if key != "seed"}
        text = f"{seed}/{job.cell}/{sorted(setting.items())}/{job.seed}"
        rng = np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big"))
        return float(np.exp(surrogate().mean(cells[job.cell], setting) + surrogate().noise * rng.standard_normal()))

    effort = Effort(QUICKSTART.n_trials, 0, batch, True)
    _, ledger = replayed(given, 1, lambda job: 1.0, effort, rule, sampler, loss)
    selected = {name: best(ledger.trials(cell)) for name, cell in cells.items()}
    return {name: surrogate().mean(cells[name], trial.params) for name, trial in selected.items() if trial}


def _with_seed(cell: Cell, seed: int) -> Cell:
    return cell.bound({"seed": seed})


def measured(records: Path, seeds: Sequence[int]) -> dict[tuple[str, int], list[float]]:
    """Mean log loss over the cells, per setting and seed; what is in the file is not made again."""
    lines = records.read_text().splitlines() if records.exists() else []
    known = {(line["rule"], line["batch"], line["seed"]): line["loss"] for line in map(json.loads, lines)}
    for seed in seeds:
        for rule, batch in SETTINGS:
            if (rule, batch, seed) not in known:
                loss = float(np.mean(list(tune(rule, batch, seed).values())))
                known[rule, batch, seed] = loss
                with records.open("a") as file:
                    file.write(json.dumps({"rule": rule, "batch": batch, "seed": seed, "loss": loss}) + "\n")
    return {(rule, batch): [known[rule, batch, seed] for seed in seeds] for rule, batch in SETTINGS}


def tables(found: Mapping[tuple[str, int], list[float]]) -> Iterator[str]:
    """The table, line by line."""
    yield (
        f"| transfer ({len(found[DEFAULT])} seeds) | "
        + " | ".join(str(b) if b < QUICKSTART.n_trials else "all" for b in _batches())
        + " |"
    )
    yield "|---|" + "---|" * len(_batches())
    for rule in (NEIGHBOURS, INDEPENDENT):
        entries = [_entry(np.subtract(found[rule, batch], found[DEFAULT])) for batch in _batches()]
        yield f"| `{rule}` | " + " | ".join(entries) + " |"


def _batches() -> list[int]:
    return list(dict.fromkeys(batch for _, batch in SETTINGS))


def _entry(difference: np.ndarray) -> str:
    if not difference.any():
        return "1"
    half = stats.t.ppf(0.975, len(difference) - 1) * difference.std(ddof=1) / np.sqrt(len(difference))
    value, low, high = np.exp([difference.mean(), difference.mean() - half, difference.mean() + half])
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"


def main() -> None:
    """Print the table, and write it into a page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=Path, required=True, metavar="FILE", help="JSON lines, one per tuned grid")
    parser.add_argument("--seeds", type=int, nargs="+", default=range(8), help="0 to 7")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the table into this page")
    given = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    print(
        f"surrogate of {surrogate().n} runs, noise {surrogate().noise:.3f}, {surrogate().process.kernel_}", flush=True
    )
    lines = list(tables(measured(given.records, given.seeds)))
    print("\n".join(lines))
    if given.write is not None:
        write(given.write, "\n".join(["", *lines]), MARK)


if __name__ == "__main__":
    main()
