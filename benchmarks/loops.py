"""The training loops that ours is compared with: those that people copy, over the same model and batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from stacked_seeds import Stack
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, Subset
from torchvision import datasets, transforms

from mnist_scaling.config import ModelConfig, OptimConfig, RunConfig
from mnist_scaling.training import models, seeding
from mnist_scaling.training.data import splits
from mnist_scaling.training.models.cnn import CNN
from mnist_scaling.training.run import scoring
from mnist_scaling.training.step import schedules, small_cnn
from mnist_scaling.training.step.fastest import build_engine
from mnist_scaling.training.step.masks import Dropout

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
        optimizer, lambda step: schedules.factor(optim.schedule, min(step + 0.5, last) / len(loader), optim.warmup)
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


def tensors(part: splits.Part, width: int, batch: int, model: nn.Module | None = None) -> Step:
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


def _floats(part: splits.Part) -> tuple[Tensor, Tensor]:
    if id(part) not in _FLOATS:
        _FLOATS[id(part)] = part.images, part.labels
    return _FLOATS[id(part)]


def ours(part: splits.Part, width: int, batch: int, dropout: float = 0.0, by_hand: bool = True) -> Step:
    """Our engine; without hand-written gradients it is autograd with a flat optimiser."""
    widest = small_cnn.WIDEST
    small_cnn.WIDEST = widest if by_hand else 0
    engine = build_engine(build(width, dropout).train(), part, OptimConfig(lr=RATE, batch_size=batch))
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


def stacked(part: splits.Part, width: int, batch: int, count: int, dropout: float = 0.0) -> Step:
    """`count` models at once, each on batches of its own."""
    streams = [torch.Generator().manual_seed(s) for s in range(count)]
    members = [build(width, dropout).train() for _ in range(count)]
    stack = Stack(members, [part] * count, OptimConfig(lr=RATE, batch_size=batch), Dropout([dropout] * count, streams))
    orders = [shuffled(len(part), batch) for _ in range(count)]
    taken = 0

    def step() -> None:
        nonlocal taken
        stack.step(torch.stack([next(rows) for rows in orders]), [RATE] * count)
        taken += 1
        if taken % 25 == 0:
            stack.mean_losses()

    return step


def evaluations(part: splits.Part, width: int) -> dict[str, Step]:
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
