"""Twenty predictions over five studies, up to 16 times the compute: registered before their runs, run, and scored.

Each study is tuned, then its four predictions are registered, then their cells are tuned in the same study, and trained
once more with the settings that were recommended, which says what those cost (regret). A command that was killed goes
on where it was: every step is one that `train` and `plan` resume or refuse to do twice.

python benchmarks/predictions.py                                all of it; keeps the tables in multirun/reference/
python benchmarks/predictions.py --kept --figure docs/images/predictions.png    no runs: draws what was kept
python benchmarks/predictions.py --studies mnist_cnn                    one study alone
python benchmarks/predictions.py --smoke --studies mnist_cnn            a minute; its numbers mean nothing
python benchmarks/predictions.py --recorded                             no runs: the larger cells of recorded studies,
                                                                        foreseen from those of up to 1/16 of the compute
python benchmarks/predictions.py --again                                no runs: today's code on the rows that the
                                                                        registered predictions rested on
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from reference import REFERENCE, ROOT, keep

from mnist_scaling.config.fit_schema import BootstrapConfig, ColumnsConfig, FitConfig
from mnist_scaling.planning.new_cell import expect, place_of
from mnist_scaling.planning.predictions import LEVELS, SIZES, command, crps
from mnist_scaling.planning.studied import Studied, studied

CNN = ("model.width=2,3,4,6", "data.fraction=0.03125,0.0625,0.125,0.25")
MLP = ("model=mlp", "model.width=8,16,32,64", "data.fraction=0.03125,0.0625,0.125,0.25")
CONVERGED = (
    "regime=early_stopping",
    "regime.max_epochs=40",
    "model.width=2,3,4,6",
    "data.fraction=0.015625,0.03125,0.0625",
)

STUDIES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "mnist_cnn": (CNN, ()),
    "fashion_cnn": ((*CNN, "data=fashion_mnist"), ()),
    "mnist_mlp": (MLP, ()),
    "fashion_mlp": ((*MLP, "data=fashion_mnist"), ()),
    "mnist_converged": (CONVERGED, ("columns.D=n_train",)),
}
"""Overrides of the sweep, and of its fits."""

TARGETS = ((1, 2), (2, 1), (2, 2), (2, 4))
"""Width and data of each predicted cell, in units of the study's largest: up to 16 times its compute."""

KEYS = {"lr": "optim.lr", "batch_size": "optim.batch_size", "dropout": "model.dropout"}
EFFORT = ("hydra.sweeper.n_trials=8", "hydra.sweeper.n_repeats=3")
SMOKE = ("scale=smoke", "hydra.sweeper.max_values_per_axis=3", "hydra.sweeper.n_trials=2", "hydra.sweeper.n_repeats=2")
BINS = ((0.0, 2.5), (2.5, 5.0), (5.0, 10.0), (10.0, np.inf))
"""Of how many times the compute that was measured, for the table."""


def started(module: str, *arguments: str) -> str:
    """Standard output of one of our commands."""
    words = [sys.executable, "-m", f"mnist_scaling.{module}", *arguments]
    return subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout


def rows_of(folder: Path) -> list[dict[str, str]]:
    """The registered predictions of a study."""
    path = folder / "predictions.csv"
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines())) if path.is_file() else []


def targets_of(folder: Path) -> list[tuple[str, str]]:
    """Targets of a study by the largest cell of its grid, which is known before any predicted cell has come."""
    with (folder / "cells.csv").open(encoding="utf-8") as file:
        cells = list(csv.DictReader(file))
    width, share = (max(float(cell[axis]) for cell in cells) for axis in ("width", "data_fraction"))
    return [(f"target.width={w * width:g}", f"target.data_fraction={d * share:g}") for w, d in TARGETS]


def study(key: str, smoke: bool) -> list[dict[str, Any]]:
    """Tune, predict, run and score one study."""
    overrides, fit = STUDIES[key]
    name = f"predict_{key}" + "_smoke" * smoke
    folder, sweep = Path("multirun") / name, (f"name={name}", *overrides, *(SMOKE if smoke else EFFORT))
    if len(rows_of(folder)) < len(TARGETS):  # until all are registered, none of their cells has been run
        started("train", "-m", *sweep)
        for target in targets_of(folder):
            started("plan", f"name={name}", *fit, *target)
    rows = rows_of(folder)
    command(studied(FitConfig(name=name)), rows, folder)  # lists all cells that have not come
    started("train", "-m", *_without_axes(sweep), f"hydra.sweeper.cells={folder / 'predicted_cells.yaml'}")
    advised = [f"{name}_advised_{i}" for i in range(len(rows))]
    for other, row in zip(advised, rows, strict=True):
        fixed = [f"{KEYS[k]}={row[k]}" for k in KEYS if row.get(k)]
        axes = [f"model.width=choice({row['width']})", f"data.fraction=choice({row['data_fraction']})"]
        started("train", "-m", *_without_axes(sweep), f"name={other}", *fixed, *axes)
    started("plan", f"name={name}", *fit, "score=true", f"measured=[{','.join(advised)}]")
    if not smoke:
        keep({name})
    return [{**row, "study": key} for row in rows_of(folder)]


def kept(key: str) -> list[dict[str, Any]]:
    """The scored predictions of one study as the repository keeps them."""
    return [{**row, "study": key} for row in rows_of(REFERENCE / f"predict_{key}")]


def _without_axes(sweep: Sequence[str]) -> list[str]:
    return [word for word in sweep if not word.startswith(("model.width=", "data.fraction=", "hydra.sweeper.max_"))]


RECORDED_IN = ROOT / "tests/asking/kept"
"""Tables of smaller studies, of `ask … scale=quick`."""

FEWEST = 9
"""Cells that a recorded study is fitted to, at least."""

RECORDED = (
    "quickstart", "width_x_data", "mlp", "fashion", "transformer", "resnet", "sgd", "dropout_0", "dropout_02",
    "tuned_on", "wsd",
)  # fmt: skip
"""Recorded studies of widths and amounts of data alone, with enough cells for some to be left out."""


def foreseen(name: str, draws: int = 200) -> list[dict[str, Any]]:
    """The larger cells of a recorded study, predicted from the smaller ones alone, and scored, like rows of `study`."""
    path = RECORDED_IN / f"{name}_quick" / "cells.csv"
    columns = ColumnsConfig("n_params", "n_seen", "flops", loss="test_loss", se="test_loss_se", repeats="n_repeats")
    cells = pd.read_csv(path)
    cells = cells[cells["test_loss"].notna()].sort_values("flops")
    cut = max(cells["flops"].max() / 16, cells["flops"].iloc[FEWEST - 1])
    few = BootstrapConfig(draws=draws)
    of = studied(FitConfig(table=str(path), columns=columns, where=f"flops <= {cut}", bootstrap=few))
    return [predicted(of, name, cell) for cell in cells[cells["flops"] > cut].to_dict("records")]


def again(key: str) -> list[dict[str, Any]]:
    """The registered cells of a study, predicted by today's code from the rows that their predictions rested on."""
    rows, (_, fit) = kept(key), STUDIES[key]
    most = [max(float(row[axis]) for row in rows) / times for axis, times in (("width", 2), ("data_fraction", 4))]
    where, columns = f"width <= {most[0]} and data_fraction <= {most[1]}", ColumnsConfig(D="n_train" if fit else None)
    of = studied(FitConfig(name=str(REFERENCE / f"predict_{key}"), where=where, columns=columns))
    measured = ({"test_loss": row["measured_loss"], "test_error": row["measured_error"], **row} for row in rows)
    return [predicted(of, key, row) for row in measured]


def predicted(of: Studied, name: str, cell: Mapping[str, Any]) -> dict[str, Any]:
    """A cell that has come, predicted without it, and scored, like rows of `study`."""
    at = {role: float(cell[column]) for role, column in SIZES.items()}
    found = expect(of, place_of(of, at), np.random.default_rng(0))
    loss, quantiles = float(cell["test_loss"]), np.quantile(found.log_loss, LEVELS)
    row = {"study": name, "reach": at["C"] / float(of.costs["flops"].max()), "measured_loss": loss}
    row |= {"predicted_loss": found.loss.value, "low": found.loss.low, "high": found.loss.high}
    row |= {"inside": str(found.loss.holds(loss)).lower(), "crps": crps(float(np.log(loss)), quantiles)}
    row |= {"log_error": float(np.log(loss / found.loss.value))}
    return row | {"error_inside": found.error.holds(float(cell["test_error"]))}


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: every prediction."""

    def number(row: Mapping[str, Any], key: str, form: str = ".4f") -> str:
        return f"{float(row[key]):{form}}" if row.get(key) else "–"

    lines = [
        "| study | width | data | times the compute | predicted | measured | inside | ln error | regret |",
        "|" + "---|" * 9,
    ]
    for row in rows:
        predicted = f"{number(row, 'predicted_loss')} [{number(row, 'low')}, {number(row, 'high')}]"
        cells = (row["study"], row["width"], row["data_fraction"], number(row, "reach", ".1f"), predicted)
        cells += (number(row, "measured_loss"), row.get("inside", "") or row.get("why_not", ""))
        cells += (number(row, "log_error", "+.3f"), number(row, "regret", "+.3f"))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def by_distance(rows: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: how predictions did, by how far they reached."""
    lines = [
        "| times the compute | predictions | inside | rms ln error | width of ln interval | CRPS |",
        "|" + "---|" * 6,
    ]
    scored = [row for row in rows if row.get("measured_loss")]
    for low, high in (*BINS, (0.0, np.inf)):
        kept = [row for row in scored if low <= float(row["reach"]) < high]
        if kept:
            off, crps = (np.array([float(row[k]) for row in kept]) for k in ("log_error", "crps"))
            width = np.mean([np.log(float(row["high"]) / float(row["low"])) for row in kept])
            inside = sum(row["inside"] == "true" for row in kept)
            where = "all" if (low, high) == (0.0, np.inf) else f"{low:g} to {high:g}"
            numbers = f"{np.sqrt((off**2).mean()):.3f} | {width:.3f} | {crps.mean():.3f}"
            lines.append(f"| {where} | {len(kept)} | {inside} | {numbers} |")
    return "\n".join(lines)


def draw(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Predicted loss with its interval against the loss that came; misses are hollow."""
    from matplotlib.figure import Figure

    from mnist_scaling.reporting.figures import style

    with style.theme():
        figure = Figure(figsize=(5, 4.4), layout="constrained")
        axes = figure.add_subplot()
        for key in dict.fromkeys(row["study"] for row in rows):
            mine = [row for row in rows if row["study"] == key and row.get("measured_loss")]
            x, y, low, high = (
                np.array([float(row[k]) for row in mine]) for k in ("measured_loss", "predicted_loss", "low", "high")
            )
            lines = axes.errorbar(x, y, [y - low, high - y], fmt="o", ms=5, lw=1, label=key.replace("_", " "))
            missed = (x < low) | (x > high)
            axes.plot(x[missed], y[missed], "o", ms=5, mfc="white", mec=lines[0].get_color(), zorder=3)
        ends = axes.get_xlim()
        axes.plot(ends, ends, lw=0.8, color="0.5", zorder=0)
        axes.set(xlabel="measured test loss", ylabel="predicted before the run")
        for axis, keys in ((axes.xaxis, ("measured_loss",)), (axes.yaxis, ("low", "high"))):
            ends = [float(row[k]) for row in rows if row.get("measured_loss") for k in keys]
            style.log_axis(axis, min(ends), max(ends))
        axes.legend(title="hollow: outside its interval")
        figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", default=",".join(STUDIES))
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--recorded", action="store_true")
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--kept", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--figure", type=Path)
    given = parser.parse_args()
    if given.again:
        rows = [row for key in STUDIES for row in again(key)]
    elif given.recorded:
        rows = [row for name in RECORDED for row in foreseen(name)]
    else:
        keys = given.studies.split(",")
        rows = [row for key in keys for row in (kept(key) if given.kept else study(key, given.smoke))]
        print(table(rows) + "\n")
    print(by_distance(rows))
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    if given.figure:
        draw(rows, given.figure)


if __name__ == "__main__":
    main()
