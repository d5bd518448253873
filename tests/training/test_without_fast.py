"""training/fast/ is speed and nothing else: without the folder runs come out the same to rounding."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import mnist_scaling
from mnist_scaling.config import DataConfig, ModelConfig, OptimConfig, RegimeConfig, RunConfig
from mnist_scaling.training.together import train_models


def runs(data_dir: str) -> list[RunConfig]:
    """Both kinds of step, every optimiser, two seeds that would make a stack; no dropout, whose masks differ."""
    base = RunConfig(
        device="cpu",
        model=ModelConfig(width=4),
        data=DataConfig(fraction=1 / 64, dir=data_dir, max_eval=500),
        optim=OptimConfig(lr=5e-3, batch_size=16),
    )
    return [
        base,
        replace(base, seed=1),
        replace(base, optim=OptimConfig("sgd", 0.05, 32, weight_decay=1e-3)),
        replace(base, optim=OptimConfig("adamw", 3e-3, 32), model=ModelConfig(width=8, parametrization="mup")),
        replace(base, model=ModelConfig(width=4, depth=3)),
        replace(
            base,
            regime=RegimeConfig("early_stopping", patience=1, max_epochs=2),
            optim=replace(base.optim, schedule="constant"),
        ),
    ]


SCRIPT = """
import json, sys
from mnist_scaling.training.together import train_models
from tests.training.test_without_fast import losses
found = losses(sys.argv[1])
assert not any(name.startswith("mnist_scaling.training.fast") for name in sys.modules)
print(json.dumps(found))
"""


def losses(data_dir: str) -> list[list[float | int | None]]:
    return [[r.val_loss, r.test_loss, r.train_loss, r.steps, r.flops] for r in train_models(runs(data_dir))]


def test_without_the_folder_losses_are_the_same_to_rounding(data_dir: str, tmp_path: Path) -> None:
    package = Path(mnist_scaling.__file__).parent
    ignored = shutil.ignore_patterns("__pycache__", "fast")
    shutil.copytree(package, tmp_path / "mnist_scaling", ignore=ignored)
    assert not (tmp_path / "mnist_scaling" / "training" / "fast").exists()
    root = Path(__file__).resolve().parents[2]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(tmp_path), str(root)])}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, data_dir], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    for plain, chosen in zip(json.loads(done.stdout), losses(data_dir), strict=True):
        assert plain == pytest.approx(chosen, rel=1e-4)
