"""What was tried for a faster step, each against what is used: python benchmarks/training.py --tried"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import loops
import torch
from rich.console import Console
from rich.table import Table as Grid
from torch import Tensor

from mnist_scaling.training import small_cnn
from mnist_scaling.training.data import splits
from mnist_scaling.training.small_cnn import Dropout
from training import alternate, ratio, text

Case = tuple[str, str, loops.Step, loops.Step]
"""What, instead of what, its step, the step in use."""


def floats(part: splits.Examples) -> tuple[Tensor, Tensor]:
    return part.pictures(part.rows).flatten(1), part.labels


def dropout_of_torch(mask: Tensor) -> None:
    mask.bernoulli_(0.9).mul_(1 / 0.9)


def masks(shape: tuple[int, ...]) -> Case:
    mask, dropout = torch.empty(1, *shape), Dropout(0.1)
    return (
        "bernoulli_ for dropout's masks", "sixteen random bits an entry",
        lambda: dropout_of_torch(mask), lambda: dropout.fill(mask),
    )  # fmt: skip


def plain(
    part: splits.Examples, width: int, batch: int, change: Callable[[torch.nn.Module], torch.nn.Module]
) -> loops.Step:
    return loops.tensors(part, width, batch, change(loops.build(width)))


def input_pipelines(part: splits.Examples, batch: int) -> list[Case]:
    """From row numbers to the first layer's patches, in three ways."""
    model = small_cnn.forward(loops.build(8), part)
    at = small_cnn._Buffers(model, batch)
    order = loops.shuffled(len(part), batch)
    values, _ = floats(part)
    patches = torch.randint(0, 256, (len(part), 1764), dtype=torch.uint8)
    into, gathered = torch.empty(1764, batch), torch.empty(batch, 1764, dtype=torch.uint8)

    def used() -> None:
        torch.index_select(model.pixels, 0, part.rows[next(order)], out=at.bytes)
        at.image.copy_(at.bytes_by_pixel)
        part.standardise(at.image)
        torch.index_select(at.rows, 0, at.patch_rows, out=at.patches_flat)

    def from_floats() -> None:
        at.image.copy_(values[next(order)].T)
        torch.index_select(at.rows, 0, at.patch_rows, out=at.patches_flat)

    def precomputed() -> None:
        torch.index_select(patches, 0, next(order), out=gathered)
        into.copy_(gathered.T)
        part.standardise(into)

    return [
        (f"float32 images in memory (157 MB), batch {batch}", "bytes, converted", from_floats, used),
        (f"patches of the first layer precomputed (88 MB), batch {batch}", "gathered", precomputed, used),
    ]


@contextmanager
def setting(change: Callable[[], object], back: Callable[[], object]) -> Iterator[None]:
    change()
    try:
        yield
    finally:
        back()


def under(step: loops.Step, change: Callable[[], object], back: Callable[[], object]) -> loops.Step:
    """A step under a changed setting."""

    def run() -> None:
        with setting(change, back):
            step()

    return run


def main(dataset: splits.Dataset, root: str) -> None:
    del root
    part = dataset.train
    threads = (lambda: torch.set_num_threads(2), lambda: torch.set_num_threads(1))
    onednn = small_cnn.ONEDNN
    mkl = (lambda: setattr(small_cnn, "ONEDNN", None), lambda: setattr(small_cnn, "ONEDNN", onednn))
    denormals = (lambda: torch.set_flush_denormal(True), lambda: torch.set_flush_denormal(False))
    cases: list[Case] = [masks((784, 64)), *input_pipelines(part, 64), *input_pipelines(part, 8)]
    for width, batch in ((8, 64), (32, 64)):
        name, used = f", width {width}, batch {batch}", loops.ours(part, width, batch)
        same = loops.tensors(part, width, batch)
        channels_last = lambda model: model.to(memory_format=torch.channels_last)  # noqa: E731
        cases += [
            ("autograd and a flat Adam" + name, "by hand", loops.ours(part, width, batch, by_hand=False), used),
            ("channels_last, plain loop" + name, "contiguous", plain(part, width, batch, channels_last), same),
            ("MKL for every product" + name, "oneDNN for the large ones", under(used, *mkl), used),
            ("two threads" + name, "one", under(used, *threads), used),
            ("denormals flushed" + name, "kept", under(used, *denormals), used),
        ]
    start = time.perf_counter()
    compiled = plain(part, 8, 64, lambda model: torch.compile(model))  # type: ignore[arg-type,return-value]
    compiled()
    seconds = time.perf_counter() - start
    name = f"torch.compile, plain loop, width 8, batch 64 ({seconds:.0f} s to compile)"
    cases.append((name, "eager", compiled, loops.tensors(part, 8, 64)))
    table = Grid(title="Tried: time over that of what is used", title_justify="left")
    for column in ("tried", "instead of", "time, times as long"):
        table.add_column(column)
    for tried, instead, its, used in cases:
        times = alternate({"tried": its, "used": used}, 0.1, 7)
        table.add_row(tried, instead, text(ratio(times["tried"], times["used"])))
    Console(width=140).print(table)
