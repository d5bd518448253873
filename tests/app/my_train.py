"""An application of a person who knows nothing of this project but `cell_task`."""

from __future__ import annotations

import math
import random

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from mnist_scaling import cell_task


@hydra.main(config_path="conf", config_name="train")
@cell_task(columns={"accuracy": "share that is right"})
def main(cfg: DictConfig, report: object) -> dict[str, float]:
    """A loss in closed form: 0.05 + w^-1 + n^(-1/2), times a bowl in the learning rate."""
    print("writes into", HydraConfig.get().runtime.output_dir, cfg.twice)
    luck = random.Random(f"{cfg.seed} {cfg.optim.lr}").gauss(0, 1)
    bowl = 1 + 0.3 * (math.log10(cfg.optim.lr) + 2.5) ** 2
    width, n = cfg.model.width, cfg.data.n
    loss = 0.05 + (1 / width + n**-0.5) * bowl * (1 + 0.02 * luck)
    for done in range(1, 11):
        report(done / 10, loss * (2 - done / 10))  # type: ignore[operator]
    sizes = {"n_params": 10 * width**2, "n_seen": n, "flops": 60 * width**2 * n}
    return {"val_loss": loss, "test_loss": 1.02 * loss, "accuracy": 1 - loss, **sizes}


if __name__ == "__main__":
    main()
