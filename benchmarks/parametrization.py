"""Does µP keep its promises here? Draws the coordinate check, and the learning-rate sensitivity of a study.

    python benchmarks/parametrization.py
    python benchmarks/parametrization.py optim=sgd lr=0.01 study=multirun/lr_sgd out=multirun/parametrization_sgd
    python benchmarks/parametrization.py model.name=mlp model.depth=3      # another family, with its own keys

Writes coordinate_check.{csv,json,png} into `out`, and lr_sensitivity.{csv,json,png} when `study` holds
the cells.csv of `python -m mnist_scaling.train -m experiment=lr_sensitivity`.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import coordinate_check
import pandas as pd
import parametrization_figures as figures
import torch
from omegaconf import DictConfig, OmegaConf

from mnist_scaling import config
from mnist_scaling.config import DataConfig, OptimConfig, RunConfig
from mnist_scaling.reporting.figure_files import save
from mnist_scaling.reporting.figures import style
from mnist_scaling.reporting.text import Missing
from mnist_scaling.study import files, layout
from mnist_scaling.study.tables.csv_table import read_table
from mnist_scaling.training.data import splits

DEFAULTS = {
    "out": "multirun/parametrization",
    "study": "multirun/lr_sensitivity",
    "widths": [4, 8, 16, 32, 64, 128, 256],
    "seeds": 3,
    "steps": 4,
    "model": {"name": "cnn", "depth": 2, "base_width": 8},
    "optim": "adam",
    "lr": 1e-3,
    "batch_size": 64,
    "data_dir": "data",
}


def main() -> None:
    options = OmegaConf.merge(DEFAULTS, OmegaConf.from_cli())
    unknown = set(options) - set(DEFAULTS)
    if unknown:
        sys.exit(f"An option must be one of {', '.join(DEFAULTS)}, but got {', '.join(map(str, unknown))}.")
    torch.set_num_threads(1)
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    check(options, out)
    cells = Path(options.study) / layout.CELLS
    if cells.is_file():
        sensitivity(cells, options.model.base_width, out)
    else:
        print(f"No {cells}: run python -m mnist_scaling.train -m experiment=lr_sensitivity for the second figure.")


def check(options: DictConfig, out: Path) -> None:
    source = DataConfig(dir=options.data_dir)
    splits.prepare(source)
    optim = OptimConfig(name=options.optim, lr=options.lr, batch_size=options.batch_size)
    family = config.model_config(options.model.name)
    checks = []
    for name in ("standard", "mup"):
        schema = OmegaConf.structured(family(name=options.model.name, parametrization=name))
        model = OmegaConf.to_object(OmegaConf.merge(schema, options.model))
        run = RunConfig(device="cpu", model=model, data=source, optim=optim)
        checks.append(
            coordinate_check.coordinate_check(run, list(options.widths), range(options.seeds), steps=options.steps)
        )
    table = pd.concat(checks, ignore_index=True)
    slopes = coordinate_check.slopes(table)
    table.to_csv(out / "coordinate_check.csv", index=False)
    write(out / "coordinate_check.json", {"options": OmegaConf.to_container(options), "slopes": rows(slopes)})
    with style.theme():
        figure = figures.draw_coordinates(figures.coordinates(table, slopes))
    save(figure, out, "coordinate_check", ["png"], dpi=110)
    print(slopes.pivot_table(index=["parametrization", "layer"], columns="step", values="change", sort=False).round(3))


def sensitivity(cells: Path, base: int, out: Path) -> None:
    found = figures.sensitivity(read_table(cells, ["parametrization", "width", "lr", "test_loss"]), base)
    if isinstance(found, Missing):
        sys.exit(found.reason)
    found.points.to_csv(out / "lr_sensitivity.csv", index=False)
    exponents = {name: asdict(interval) for name, interval in found.exponents.items()}
    record = {"exponents": exponents, "optima": rows(found.optima), "carried": rows(found.carried), "base": base}
    write(out / "lr_sensitivity.json", record)
    with style.theme():
        figure = figures.draw_sensitivity(found)
    save(figure, out, "lr_sensitivity", ["png"], dpi=110)
    print(found.optima.to_string(index=False))
    print(found.carried.to_string(index=False))
    for name, interval in found.exponents.items():
        print(f"lr* ~ width^a, {name}: a = {interval}")


def rows(table: Any) -> list[dict[str, Any]]:
    return json.loads(table.to_json(orient="records"))


def write(path: Path, record: dict[str, Any]) -> None:
    files.write_atomically(path, json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
