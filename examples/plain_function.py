"""A plain function, without Hydra: polynomials fitted to noisy points, whose ridge penalty is tuned in every cell.

python examples/plain_function.py
python -m mnist_scaling.fit name=plain_function
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mnist_scaling import Study

NOISE = 0.1


def points(n: int, seed: int, noise: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Places in [-1, 1], and a kink seen there."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, n)
    return x, np.abs(x) + noise * rng.standard_normal(n)


def ridge(cfg: Any, report: Any) -> dict[str, float]:
    """Mean squared errors of a polynomial with so many coefficients, fitted to n noisy points."""
    del report

    def features(x: np.ndarray) -> np.ndarray:
        return np.polynomial.chebyshev.chebvander(x, cfg.terms - 1)

    x, y = points(cfg.n, 1000 + cfg.seed, NOISE)
    a = features(x)
    weights = np.linalg.solve(a.T @ a / cfg.n + cfg.penalty * np.eye(cfg.terms), a.T @ y / cfg.n)
    held_out = {name: points(20_000, seed) for name, seed in (("val_loss", 1), ("test_loss", 2))}
    losses = {name: float(np.mean((features(x) @ weights - y) ** 2)) for name, (x, y) in held_out.items()}
    return {**losses, "n_params": cfg.terms, "n_seen": cfg.n}


def study() -> Study:
    """The study: its axes, and what is tuned in every cell."""
    return Study(
        "plain_function",
        axes={"terms": [4, 6, 8, 12], "n": [100, 200, 400, 800]},
        tuned={"penalty": "tag(log,limit_low,interval(1e-6,1e-1))"},
        task=ridge,
        n_trials=8,
        n_repeats=3,
    )


if __name__ == "__main__":
    print(study().run(workers=2)[["terms", "n", "penalty", "test_loss", "test_loss_se"]])
