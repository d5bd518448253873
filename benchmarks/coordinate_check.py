"""Coordinate check: do activations, and what a few steps change in them, keep their scale as width grows?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from mnist_scaling.config import RunConfig
from mnist_scaling.training import models, optimizers, parametrization, seeding
from mnist_scaling.training.data import splits

COLUMNS = ("parametrization", "optimizer", "width", "seed", "step", "layer", "scale", "change")
"""Columns of the table: `scale` = mean |x_t|, `change` = mean |x_t - x_0|, over units and probe images."""


def coordinate_check(run: RunConfig, widths: Sequence[int], seeds: Sequence[int], steps: int = 4) -> pd.DataFrame:
    """Scale of every layer's activations at initialisation and after each of a few steps.

        scale = mean |x_t|,   change = mean |x_t - x_0|

    over the units of a layer and a fixed batch of probe images; x is a layer's output before its ReLU.
    Under µP `change` is asymptotically independent of width in every layer, and so is `scale`, but for
    the logits at step 0, which shrink as width^-.5. All widths see the same batches at the constant rate
    `optim.lr`, dropout off; a decay or a warm-up over 4 steps would say nothing.

    Parameters
    ----------
    run : RunConfig
        Model, data, optimiser and batch size; its width and seed are replaced.
    widths, seeds : sequence of int
        Every pair is one training of `steps` steps.
    steps : int
        Optimiser steps, each on a batch of its own.

    Returns
    -------
    pandas.DataFrame
        `COLUMNS`, a row for each width, seed, step from 0 and layer, in the order of the forward pass.

    Source
    ------
    Yang et al. 2022 (arXiv 2203.03466), appendix D.1.
    """
    dataset = splits.load(run.data, torch.device("cpu"))
    rows = []
    for width in widths:
        for seed in seeds:
            one = replace(run, seed=seed, model=replace(run.model, width=width))
            states = list(_trajectory(one, dataset, steps))
            for step, state in enumerate(states):
                for layer, x in state.items():
                    change = (x - states[0][layer]).abs().mean().item() if step else np.nan
                    rows.append((width, seed, step, layer, x.abs().mean().item(), change))
    table = pd.DataFrame(rows, columns=COLUMNS[2:])
    table.insert(0, "optimizer", run.optim.name)
    table.insert(0, "parametrization", run.model.parametrization)
    return table


def _trajectory(run: RunConfig, dataset: splits.Dataset, steps: int) -> Iterator[dict[str, Tensor]]:
    """Activations on the probe batch at steps 0 to `steps`; the probe is a batch that is not trained on."""
    with seeding.global_stream(run.seed, "init", torch.device("cpu")):
        model = models.build(run.model, dataset.image_shape, dataset.classes).eval()  # dropout off
    optimizer = optimizers.TorchOptimizer(model, run.optim)
    order = torch.randperm(len(dataset.train), generator=seeding.generator(run.seed, "order"))
    probe, *batches = (dataset.train.take(rows) for rows in order.split(run.optim.batch_size)[: steps + 1])
    yield activations(model, probe.pictures(probe.rows))
    for batch in batches:
        loss = cross_entropy(model(batch.pictures(batch.rows)), batch.labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step(run.peak_lr)
        yield activations(model, probe.pictures(probe.rows))


@torch.no_grad()
def activations(model: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """Output of every layer that has labelled weights, by its name, in the order of the forward pass."""
    found: dict[str, Tensor] = {}
    names = dict.fromkeys(name.rpartition(".")[0] for name in parametrization.labels(model))

    def keep(name: str) -> None:
        def hook(_: nn.Module, __: tuple[Tensor, ...], output: Tensor) -> None:
            found[name] = output.detach().clone()

        handles.append(model.get_submodule(name).register_forward_hook(hook))

    handles: list[torch.utils.hooks.RemovableHandle] = []
    for name in names:
        keep(name)
    try:
        model(images)
    finally:
        for handle in handles:
            handle.remove()
    return found


def slopes(table: pd.DataFrame) -> pd.DataFrame:
    """Slope of log scale and of log change in log width: 0 where a layer keeps its scale.

    Least squares over the widths, on the geometric mean over seeds.

    Parameters
    ----------
    table : pandas.DataFrame
        What `coordinate_check` returns; several may be stacked.

    Returns
    -------
    pandas.DataFrame
        One row for each parametrization, optimizer, layer and step, with `scale` and `change`; the
        change at step 0 is empty.
    """
    keys = ["parametrization", "optimizer", "layer", "step"]
    rows = []
    for key, part in table.groupby(keys, sort=False):
        logs = np.log(part.groupby("width")[["scale", "change"]].agg(lambda x: np.exp(np.log(x).mean())))
        x = np.log(logs.index.to_numpy(float))
        rows.append((*key, *(np.polyfit(x, logs[name], 1)[0] for name in ("scale", "change"))))
    return pd.DataFrame(rows, columns=[*keys, "scale", "change"])
