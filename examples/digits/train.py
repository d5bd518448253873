"""scikit-learn's MLP on its 1,797 digits, 8 by 8 pixels each.

    python examples/digits/train.py -m hydra/sweeper=cells name=digits units=4,8,16,32 n=100,200,400,800 \
        'lr=tag(nuisance,log,interval(1e-3,1e-1))' 'alpha=tag(nuisance,log,interval(1e-5,1))' hydra.sweeper.n_trials=6
    python -m mnist_scaling.fit name=digits
"""

from __future__ import annotations

import warnings

import hydra
from omegaconf import DictConfig
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

from mnist_scaling import cell_task


@hydra.main(config_path="conf", config_name="train")
@cell_task(cost=lambda cfg: float(cfg.n * cfg.units), columns={"test_error": "share of test digits in a wrong class"})
def main(cfg: DictConfig, report) -> dict[str, float]:
    """Fit once; `report` is not used, so nothing is pruned."""
    x, y = load_digits(return_X_y=True)
    rest, x_test, of_rest, y_test = train_test_split(x / 16, y, test_size=400, random_state=0, stratify=y)
    pool, x_val, of_pool, y_val = train_test_split(rest, of_rest, test_size=400, random_state=0, stratify=of_rest)
    x_train, _, y_train, _ = train_test_split(pool, of_pool, train_size=cfg.n, random_state=cfg.seed, stratify=of_pool)
    net = MLPClassifier((cfg.units,), alpha=cfg.alpha, learning_rate_init=cfg.lr, max_iter=60, random_state=cfg.seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # 60 passes are what a run is
        net.fit(x_train, y_train)
    n_params = sum(w.size for w in (*net.coefs_, *net.intercepts_))
    return {
        "val_loss": log_loss(y_val, net.predict_proba(x_val)),
        "test_loss": log_loss(y_test, net.predict_proba(x_test)),
        "test_error": 1 - net.score(x_test, y_test),
        "n_params": n_params,
        "n_seen": cfg.n,
        "flops": 6 * n_params * cfg.n * net.n_iter_,
    }


if __name__ == "__main__":
    main()
