"""The training loops that ours is compared with: those that people copy, over the same model and batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, stack_module_state, vmap
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, Subset
from torchvision import datasets, transforms

from mnist_scaling.config import ModelConfig, OptimConfig, RunConfig
from mnist_scaling.training import models, optimizers, scoring, seeding, small_cnn
from mnist_scaling.training.data import splits
from mnist_scaling.training.engine import build_engine
from mnist_scaling.training.models.cnn import CNN
from mnist_scaling.training.regimes.passes import factor

Step = Callable[[], None]
"""Takes one step on a batch of its own choosing."""

RATE = 1e-3


def build(width: int, dropout: float = 0.0) -> CNN:
    with seeding.global_stream(0, "init", torch.device("cpu")):
        return models.build(ModelConfig(width=width, dropout=dropout), (1, 28, 28), 10)


def shuffled(n: int, batch: int) -> Iterator[Tensor]:
    """Row numbers, epoch after epoch, full batches."""
    stream = torch.Generator().manual_seed(1)
    while True:
        yield from torch.randperm(n, generator=stream)[: n // batch * batch].split(batch)


def dataloader(root: str, width: int, batch: int) -> Step:
    """The loop of PyTorch's MNIST example (examples/mnist/main.py), with Adam and this model.

    ToTensor and Normalize on PIL images, one at a time, in the training process, as it has it on a CPU; its
    log line every 10 steps reads the loss.
    """
    loader = DataLoader(_pictures(root), batch_size=batch, shuffle=True)
    model = build(width).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)

    def steps() -> Iterator[None]:
        while True:
            for index, (images, target) in enumerate(loader):
                optimizer.zero_grad()
                loss = cross_entropy(model(images), target)
                loss.backward()
                optimizer.step()
                if index % 10 == 0:
                    loss.item()
                yield

    running = steps()
    return lambda: next(running)


def _pictures(root: str) -> datasets.MNIST:
    """The example's data set: 60,000 PIL images and its transforms."""
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))])
    return datasets.MNIST(root, train=True, transform=transform)


def example(run: RunConfig) -> float:
    """Validation loss of one epoch by the same example.

    The model, its initial weights, the split, the subset, the optimiser's settings and the schedule are those
    of `train_model`; the training and the evaluation (1,000 images at a time) are the example's.
    """
    torch.set_num_threads(1)
    optim, dataset = run.optim, splits.load(run.data, torch.device("cpu"))
    chosen = splits.subset(dataset.train.labels, splits.n_train(run.data), run.seed)
    training, validation = (
        Subset(_pictures(run.data.dir), rows.tolist()) for rows in (dataset.train.rows[chosen], dataset.validation.rows)
    )
    loader = DataLoader(training, optim.batch_size, shuffle=True)
    with seeding.global_stream(run.seed, "init", torch.device("cpu")):
        model = models.build(run.model, dataset.image_shape, dataset.classes).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=optim.lr, betas=(optim.momentum, optim.beta2))
    last = len(loader) - 0.5  # the scheduler looks one step beyond the end
    scheduler = LambdaLR(
        optimizer, lambda step: factor(optim.schedule, min(step + 0.5, last) / len(loader), optim.warmup)
    )
    for index, (images, target) in enumerate(loader):
        optimizer.zero_grad()
        loss = cross_entropy(model(images), target)
        loss.backward()
        optimizer.step()
        scheduler.step()
        if index % 10 == 0:
            loss.item()
    model.eval()
    with torch.no_grad():
        losses = [cross_entropy(model(x), y, reduction="sum").item() for x, y in DataLoader(validation, 1000)]
    return sum(losses) / len(validation)


def tensors(part: splits.Examples, width: int, batch: int, model: nn.Module | None = None) -> Step:
    """The plain loop over float tensors in memory: index, forward, backward, torch.optim.Adam as it comes."""
    images, labels = _floats(part)
    model = (build(width) if model is None else model).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
    rows = shuffled(len(labels), batch)

    def step() -> None:
        chosen = next(rows)
        optimizer.zero_grad()
        loss = cross_entropy(model(images[chosen]), labels[chosen])
        loss.backward()
        optimizer.step()

    return step


_FLOATS: dict[int, tuple[Tensor, Tensor]] = {}


def _floats(part: splits.Examples) -> tuple[Tensor, Tensor]:
    if id(part) not in _FLOATS:
        _FLOATS[id(part)] = part.pictures(part.rows), part.labels
    return _FLOATS[id(part)]


def ours(part: splits.Examples, width: int, batch: int, dropout: float = 0.0, by_hand: bool = True) -> Step:
    """Our engine; without hand-written gradients it is autograd with a flat optimiser."""
    widest = small_cnn.WIDEST
    small_cnn.WIDEST = widest if by_hand else 0
    model = build(width, dropout).train()
    engine = build_engine(model, optimizers.build(model, OptimConfig(lr=RATE, batch_size=batch)), part)
    small_cnn.WIDEST = widest
    rows = shuffled(len(part), batch)
    taken = 0

    def step() -> None:
        nonlocal taken
        engine.step(next(rows), RATE)
        taken += 1
        if taken % 25 == 0:  # as often as a run looks at its loss
            engine.mean_loss()

    return step


def stacked(part: splits.Examples, width: int, batch: int, count: int) -> Step:
    """`count` models at once, each on batches of its own: torch.func.vmap over autograd, then Adam on all weights."""
    images, labels = _floats(part)
    members = [build(width) for _ in range(count)]
    weights, _ = stack_module_state(members)  # type: ignore[arg-type]

    def loss(own: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return cross_entropy(functional_call(members[0], (own, {}), (x,)), y)

    gradients = vmap(grad_and_value(loss))
    optimizer = torch.optim.Adam(weights.values(), lr=RATE, fused=True)
    orders = [shuffled(len(part), batch) for _ in range(count)]
    taken = 0

    def step() -> None:
        nonlocal taken
        rows = torch.stack([next(order) for order in orders])
        found, losses = gradients(dict(weights), images[rows], labels[rows])
        for name, weight in weights.items():
            weight.grad = found[name].detach()
        optimizer.step()
        taken += 1
        if taken % 25 == 0:
            losses.tolist()

    return step


def evaluations(part: splits.Examples, width: int) -> dict[str, Step]:
    """A pass over a part: ours, and torch's layers over floats in memory, 1,000 at a time."""
    model = build(width).eval()
    images, labels = _floats(part)

    def plain() -> None:
        with torch.inference_mode():
            for x, y in zip(images.split(1000), labels.split(1000), strict=True):
                cross_entropy(model(x), y, reduction="sum").item()

    return {"ours": lambda: ignore(scoring.evaluate(model, part)), "plain": plain}


def ignore(_: object) -> None:
    """A step gives nothing back."""
