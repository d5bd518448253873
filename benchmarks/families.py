"""What a step of each family takes beside the CNN's, and what a grid of each is predicted to take.

    python benchmarks/families.py --json FILE

Contenders take turns, one thread; numbers are medians of 7 turns of CPU time. The predicted minutes are those of
conf/experiment/<family>.yaml on 2 cores, with batch sizes spread over their range and repeats at the smallest.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch

from mnist_scaling import config
from mnist_scaling.config import DataConfig, OptimConfig, RunConfig, TrialConfig
from mnist_scaling.training import cost, engine, model_size, models, optimizers
from mnist_scaling.training.data import splits

SHAPES: list[tuple[str, dict[str, Any]]] = [
    ("cnn", {"width": 8}),
    ("cnn", {"width": 16}),
    ("mlp", {"width": 32}),
    ("mlp", {"width": 128}),
    ("mlp", {"width": 512}),
    ("resnet", {"width": 2}),
    ("resnet", {"width": 8}),
    ("resnet", {"width": 16, "depth": 4}),
    ("transformer", {"width": 8, "depth": 1}),
    ("transformer", {"width": 32}),
    ("transformer", {"width": 32, "heads": 4}),
    ("transformer", {"width": 32, "attention_dropout": 0.1, "residual_dropout": 0.1}),
    ("transformer", {"width": 64, "depth": 4}),
]
GRIDS = {"cnn": (4, 8, 16, 32), "mlp": (8, 16, 32, 64), "resnet": (2, 4, 8, 16), "transformer": (8, 16, 32, 64)}
FRACTIONS, BATCHES = (1, 0.5, 0.25, 0.125), (8, 11, 16, 23, 32, 45, 64)
TRIALS, REPEATS, CORES = 8, 3, 2
TURNS, STEPS = 7, 6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--data-dir", default="data")
    options = parser.parse_args()
    torch.set_num_threads(1)
    dataset = splits.load(DataConfig(dir=options.data_dir), torch.device("cpu"))
    rows = [row for batch in (8, 64) for row in steps(dataset, batch)]
    for row in rows:
        print("  ".join(f"{key} {value}" for key, value in row.items()))
    minutes = {family: round(grid(family), 1) for family in GRIDS}
    print(f"predicted minutes of a grid on {CORES} cores: {minutes}")
    if options.json:
        options.json.write_text(json.dumps({"steps": rows, "minutes": minutes}, indent=1) + "\n")


def built(family: str, shape: dict[str, Any]) -> config.ModelConfig:
    return config.model_config(family)(**shape)


def steps(dataset: splits.Dataset, batch: int) -> list[dict[str, Any]]:
    """Microseconds per step of every shape, in turns, beside what `Family.pace` predicts."""
    stream = torch.Generator().manual_seed(0)
    optim = OptimConfig(batch_size=batch)
    engines = []
    for family, shape in SHAPES:
        model = models.build(built(family, shape), dataset.image_shape, dataset.classes).train()
        engines.append(engine.build_engine(model, optimizers.build(model, optim), dataset.train))
    times: list[list[float]] = [[] for _ in engines]
    for _ in range(TURNS):
        for found, stepper in zip(times, engines, strict=True):
            chosen = torch.randint(len(dataset.train), (STEPS, batch), generator=stream)
            start = time.process_time()
            for rows in chosen:
                stepper.step(rows, 1e-3)
            found.append((time.process_time() - start) / STEPS)
    medians = [statistics.median(found) for found in times]
    rows = []
    for (family, shape), seconds in zip(SHAPES, medians, strict=True):
        run = RunConfig(model=built(family, shape), optim=optim)
        size = model_size.measure(run.model, dataset.image_shape, dataset.classes)
        pace = engine.pace(run, dataset.image_shape, size.training)
        rows.append(
            {"family": family, **shape, "batch": batch, "n_params": size.n_params, "flops": size.training,
             "us": round(1e6 * seconds), "over_cnn8": round(seconds / medians[0], 2),
             "predicted_us": round(1e6 * (pace.step + batch * pace.example)),
             "gflops": round(size.training * batch / seconds / 1e9, 1)}
        )  # fmt: skip
    return rows


def grid(family: str) -> float:
    """Predicted minutes of a family's 4 x 4 grid."""
    shape = {"attention_dropout": 0.1} if family == "transformer" else {}

    def seconds(width: int, fraction: float, batch: int, stage: str) -> float:
        return cost.cost(
            RunConfig(model=built(family, {"width": width, **shape}), data=DataConfig(fraction=fraction),
                      optim=OptimConfig(batch_size=batch), trial=TrialConfig(stage=stage))
        )  # fmt: skip

    total = 0.0
    for width in GRIDS[family]:
        for fraction in FRACTIONS:
            total += TRIALS * statistics.mean(seconds(width, fraction, batch, "trial") for batch in BATCHES)
            total += REPEATS * seconds(width, fraction, BATCHES[0], "repeat")
    return total / CORES / 60


if __name__ == "__main__":
    main()
