"""One run from a config to a `TrainResult`."""

from __future__ import annotations

from math import ceil, isfinite, log

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from mnist_scaling.config import OptimConfig, RunConfig
from mnist_scaling.results import COMPLETE, DIVERGED, TrainResult
from mnist_scaling.training import compute, data, models, parametrization, regimes, schedules, seeding

EVAL_BATCH = 1000
"""Images per forward pass of an evaluation; the loss does not depend on it beyond rounding."""

CHECK_EVERY = 25
"""Steps between looks at the loss; each look waits for the device."""

DIVERGED_AT = 2.0
"""A mean loss above this many times ln(classes), that of a uniform guess, is a diverged run."""


def train_model(config: RunConfig) -> TrainResult:
    """Train one model as `config` says and score it.

    The same config gives bit-identical losses on the same machine and number of threads: the subset,
    the initial weights, the order and the dropout masks each have their own stream of `config.seed`.

    Parameters
    ----------
    config : RunConfig
        One run. Its stage decides what is scored: a trial of the tuner sees the validation images
        only, a repeat or a run by hand also the test and the training images.

    Returns
    -------
    TrainResult
        ``state`` is DIVERGED, and the losses are empty, when the training loss stops being finite or
        a mean of it, or the validation loss, rises above `DIVERGED_AT` times chance.
    """
    torch.set_num_threads(config.threads)
    device = pick_device(config.device)
    dataset = data.load(config.data.name, config.data.dir, device)
    part = dataset.train.take(data.subset(dataset.train.labels, data.n_train(config.data), config.seed))
    regime = regimes.build(config.regime)
    with seeding.global_stream(config.seed, "init", torch.device("cpu")):
        model = models.build(config.model, dataset.image_shape, dataset.classes).to(device)

    with seeding.global_stream(config.seed, "dropout", device):
        steps, seen, diverged = _train(model, part, regime, config, chance=log(dataset.classes))
    scores: dict[str, float] = {}
    if not diverged:
        scores = _score(model, dataset, part, config)
        diverged = not scores["val_loss"] <= DIVERGED_AT * log(dataset.classes)

    size = compute.measure(config.model, dataset.image_shape, dataset.classes)
    return TrainResult(
        state=DIVERGED if diverged else COMPLETE,
        n_params=size.n_params,
        n_params_input=size.n_params_input,
        n_params_hidden=size.n_params_hidden,
        n_params_output=size.n_params_output,
        n_train=len(part),
        n_seen=seen,
        epochs=seen / len(part),
        steps=steps,
        flops=seen * size.training,
        flops_forward=seen * size.forward,
        flops_output=seen * size.output,
        **({} if diverged else scores),
    )


def pick_device(name: str) -> torch.device:
    """The device of that name; auto takes cuda, then mps, then cpu."""
    if name != "auto":
        return torch.device(name)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


@torch.inference_mode()
def evaluate(model: nn.Module, part: data.Part) -> tuple[float, float]:
    """Mean cross-entropy and error rate of a model on a part, dropout off.

    Sums are kept in float64 on the device, so the mean is exact to rounding whatever the batch.
    """
    model.eval()
    loss = torch.zeros((), dtype=torch.float64, device=part.labels.device)
    wrong = torch.zeros((), dtype=torch.int64, device=part.labels.device)
    for images, labels in zip(part.images.split(EVAL_BATCH), part.labels.split(EVAL_BATCH), strict=True):
        logits = model(images)
        loss += cross_entropy(logits, labels, reduction="sum")
        wrong += (logits.argmax(1) != labels).sum()
    return loss.item() / len(part), wrong.item() / len(part)


def build_optimizer(model: nn.Module, config: OptimConfig) -> torch.optim.Optimizer:
    """The optimiser of `config` over all parameters of a model, in the groups its parametrization makes."""
    # One kernel a step instead of one a tensor, where torch has it.
    fused = next(model.parameters()).device.type in ("cpu", "cuda")
    groups = parametrization.groups(model, config)
    if config.name == "sgd":
        return torch.optim.SGD(groups, config.lr, momentum=config.momentum, fused=fused)
    betas = (config.momentum, config.beta2)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[config.name]
    return kind(groups, config.lr, betas=betas, fused=fused)


def _train(
    model: nn.Module, part: data.Part, regime: regimes.Regime, config: RunConfig, chance: float
) -> tuple[int, int, bool]:
    """Steps taken, examples seen, and whether the run diverged; stops at the first look that shows it."""
    optimizer = build_optimizer(model, config.optim)
    batch_size = min(config.optim.batch_size, len(part))
    order = seeding.generator(config.seed, "order")
    total = ceil(regime.n_seen(len(part)) / batch_size)
    model.train()
    seen, window = 0, []
    step = 0
    for step, rows in enumerate(regime.batches(len(part), batch_size, order), start=1):
        rate = config.optim.lr * schedules.factor(config.optim.schedule, (step - 0.5) / total, config.optim.warmup)
        loss = _step(model, optimizer, rate, part.take(rows.to(part.labels.device)))
        seen += len(rows)
        window.append(loss)
        if step % CHECK_EVERY == 0 or step == total:
            mean = torch.stack(window).mean().item()
            window.clear()
            if not isfinite(mean) or mean > DIVERGED_AT * chance:
                return step, seen, True
    return step, seen, False


def _step(model: nn.Module, optimizer: torch.optim.Optimizer, rate: float, batch: data.Part) -> Tensor:
    for group in optimizer.param_groups:
        group["lr"] = rate * group["lr_factor"]
    loss = cross_entropy(model(batch.images), batch.labels)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    return loss.detach()


def _score(model: nn.Module, dataset: data.Dataset, part: data.Part, config: RunConfig) -> dict[str, float]:
    limit = config.data.max_eval
    scores = dict(zip(("val_loss", "val_error"), evaluate(model, dataset.validation.head(limit)), strict=True))
    if config.trial.stage != "trial":
        scores |= zip(("test_loss", "test_error"), evaluate(model, dataset.test.head(limit)), strict=True)
        scores["train_loss"] = evaluate(model, part.head(data.N_VALIDATION))[0]
    return scores
