"""Microseconds per step and model: kernels one by one, and lanes of several sizes (docs/performance.md, "GPU").

    python benchmarks/gpu.py [--device cpu] [--json FILE]

Without a GPU it refuses, unless `--device cpu` asks for numbers that mean nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from mnist_scaling.config import DataConfig, ModelConfig, OptimConfig
from mnist_scaling.training import models
from mnist_scaling.training.data import splits
from mnist_scaling.training.run import device
from mnist_scaling.training.run.run_monitor import CHECK_EVERY
from mnist_scaling.training.step.acceleration import ACCELERATOR, build_engine

WIDTHS, BATCHES, PLACES = (8, 16, 32, 64, 128, 512), (16, 64), (1, 4, 16, 48)
LARGEST = 512**2 * 64 * 4
"""Width² · batch · places of the largest lane that is tried."""


def seconds(take: Callable[[], None], steps: int, rounds: int = 4) -> float:
    """Best of a few rounds, per step; the first one, which allocates, does not count."""
    found = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        take()
        found.append((time.perf_counter() - start) / steps)
    return min(found[1:])


def one_by_one(width: int, batch: int, dataset: splits.Dataset, here: torch.device) -> float:
    """Seconds per step of an engine whose kernels are started one by one."""
    model = models.build(ModelConfig(width=width, dropout=0.1), dataset.image_shape, dataset.classes).to(here)
    engine = build_engine(model, dataset.train, OptimConfig())
    rows = torch.randint(len(dataset.train), (CHECK_EVERY, batch), device=here)

    def take() -> None:
        for chosen in rows:
            engine.step(chosen, 1e-3)
        engine.mean_loss()

    return seconds(take, CHECK_EVERY)


def in_a_lane(width: int, batch: int, places: int, dataset: splits.Dataset, here: torch.device) -> float:
    """Seconds per step and model of a lane that is full."""
    assert ACCELERATOR is not None
    config, steps = OptimConfig(), CHECK_EVERY
    model = models.build(ModelConfig(width=width), dataset.image_shape, dataset.classes).to(here)
    lane = ACCELERATOR.lane(model, places, dataset.train, config, batch, steps, True)
    rows, labels = torch.randint(len(dataset.train), (steps, batch)), torch.randint(dataset.classes, (steps, batch))
    sizes, rates = torch.full((steps,), batch), torch.full((steps,), 1e-3)
    plan = ACCELERATOR.plan(rows, labels, sizes, rates, torch.arange(steps), 0.1, config)

    def take() -> None:
        lane.launch([(place, plan, 0, steps) for place in range(places)])
        lane.wait()

    return seconds(take, steps) / places


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    if asked.device == "cuda" and not torch.cuda.is_available():
        sys.exit("A GPU is needed, but torch sees none: run this where there is one.")
    here = torch.device(asked.device)
    if here.type == "cuda":
        device.make_repeatable()
    dataset = splits.load(DataConfig(), here)
    found = []
    print("| width, batch | one by one |", *(f"a lane of {places} |" for places in PLACES))
    print("|---" * (2 + len(PLACES)) + "|")
    for width in WIDTHS:
        for batch in BATCHES:
            row = {"width": width, "batch": batch, "one_by_one": one_by_one(width, batch, dataset, here)}
            for places in PLACES:
                if width**2 * batch * places <= LARGEST:
                    row[f"lane_{places}"] = in_a_lane(width, batch, places, dataset, here)
            found.append(row)
            cells = [row.get(key) for key in ("one_by_one", *(f"lane_{places}" for places in PLACES))]
            print(f"| {width}, {batch} |", *("|" if x is None else f"{1e6 * x:.0f} |" for x in cells), flush=True)
    if asked.json is not None:
        asked.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
