"""One run as most people write it, as a Hydra job for `whole_study.py` to compare with: PyTorch's MNIST example.

python benchmarks/usual_train.py -m hydra/sweeper=optuna hydra/launcher=joblib …
"""

from __future__ import annotations

import hydra
import loops
from omegaconf import DictConfig

from mnist_scaling import cli, config
from mnist_scaling.config import RunConfig


@hydra.main(config_path=cli.conf_dir(), config_name="train")
def main(cfg: DictConfig) -> float:
    """Train once; the validation loss, which the stock sweeper minimises."""
    return loops.example(config.build(RunConfig, cfg))


if __name__ == "__main__":
    main()
