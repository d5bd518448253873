"""The decorator that opens the door: `mnist_scaling.cell_task`.

@hydra.main(config_path="conf", config_name="train", version_base=None)
@cell_task
def main(cfg, report):
    ...
    return {"val_loss": …, "test_loss": …, "n_params": …, "n_seen": …, "flops": …}
"""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

import yaml
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from mnist_scaling import cli
from mnist_scaling.app.application import AppTask
from mnist_scaling.app.measured import NUMBERS, Reports
from mnist_scaling.study import layout
from mnist_scaling.tuning.task import tunes
from mnist_scaling.tuning.workers import rounds


@functools.cache
def offer_configs() -> None:
    """Let `hydra/sweeper=cells` and our launchers be found by the application that is about to start."""
    root, store = Path(cli.conf_dir()), ConfigStore.instance()
    for path in sorted((root / "hydra").rglob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        package = re.match(r"# @package (\S+)", text)
        node = yaml.safe_load(text)
        group = path.parent.relative_to(root).as_posix()
        if (group, path.stem) == ("hydra/sweeper", "cells"):
            node["defaults"].append({"/hydra/study@_global_": "by_name"})
        store.store(path.stem, node, group, package[1] if package else None, "mnist_scaling", replace=True)
    named = {"name": "${hydra:job.name}", "hydra": {"sweep": {"dir": f"{layout.MULTIRUN}/${{name}}"}}}
    store.store("by_name", named, "hydra/study", "_global_", "mnist_scaling", replace=True)


def cell_task(function: Any = None, **options: Any) -> Any:
    """Decorator that lets `hydra/sweeper=cells` tune an application cell by cell; ``hydra.main`` goes outside it.

    Parameters
    ----------
    function : callable
        ``main(cfg, report)``, which returns its validation loss, or a dict of numbers with it: ``test_loss``,
        ``n_params``, ``n_seen`` and ``flops`` are what `fit` looks for, and further ones become columns.
        ``report(share, loss)`` says how a run goes, so that a pruner may stop it; it may be ignored.
    **options
        loss, seed, cost and columns, as `AppTask` has them.
    """
    if function is None:
        return functools.partial(cell_task, **options)
    offer_configs()
    task = AppTask(function, **options)

    @functools.wraps(function)
    def main(cfg: DictConfig) -> float | None:
        folder = Path(HydraConfig.get().runtime.output_dir)
        if rounds.has_job(folder):
            rounds.run_from(folder, task)
            return None
        with task.errors():
            found = task.once(cfg, Reports())
            shown = {name: getattr(found, name) for name in NUMBERS} | found.further
            told = ", ".join(f"{name}={value:.6g}" for name, value in shown.items() if value is not None)
            print(f"{found.state}: {told}" if told else found.state)
            return found.val_loss

    return tunes(task)(main)
